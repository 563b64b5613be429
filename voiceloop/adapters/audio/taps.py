"""The device threads' side of the sound port, and what the loop makes of their blocks.

`Tap` is called by PortAudio's threads and only copies. `Framer` runs on the loop: 16 kHz frames with their echo
reference, which `Follower` brings to the microphone's clock when the loudspeaker has another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import floor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.audio.outlet import Source
from voiceloop.adapters.audio.playback import Playback
from voiceloop.core.audio import FRAME, RATE, Pcm, Rechunker, silence
from voiceloop.ports import Capture, Progress, Resampler

REACH, STEPS = 8, 256
"""Samples on either side from which one in between is read, and places in between."""


def _taps() -> NDArray[np.float32]:
    """For each place between two samples a windowed sinc: `np.convolve` with it reads there."""
    off = np.arange(STEPS + 1)[:, None] / STEPS + np.arange(-REACH, REACH)
    taps = np.sinc(off) * np.cos(np.pi * off / (2 * REACH + 1)) ** 2
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)


TAPS = _taps()

KEPT = 100
"""Blocks that wait for the loop before the oldest are dropped: 2 s of 20 ms each."""


class Times(Protocol):
    """PortAudio's time info, seconds on the stream's clock; zero where a host API does not know."""

    currentTime: float
    outputBufferDacTime: float


class Status(Protocol):
    """`sounddevice.CallbackFlags`."""

    def __bool__(self) -> bool: ...
    @property
    def input_overflow(self) -> bool: ...
    @property
    def output_underflow(self) -> bool: ...


class Buffer(Protocol):
    """A cffi buffer to write to."""

    def __len__(self) -> int: ...
    def __setitem__(self, key: slice, value: Pcm) -> None: ...


@dataclass(slots=True)
class Block:
    """What one callback brought. at: position of its first microphone sample; refs: what was played since the one
    before; heard: the position on the output that the loudspeaker has reached."""

    at: int
    mic: bytearray
    refs: tuple[Pcm, ...]
    heard: int


class Tap:
    """Callbacks for one duplex stream or two single ones. Attributes are written by one thread each."""

    def __init__(self) -> None:
        self.lost = 0
        self.late = 0
        self.ended = False
        self.closing = False
        self.waking = False
        self._playback: Source = Playback(0)
        self._delay_s = self._extra_s = 0.0
        self._wake: Callable[[], object] = bool
        self._ring: deque[Block] = deque(maxlen=KEPT)
        self._played: deque[Pcm] = deque(maxlen=KEPT)
        self._ends = _Ends()

    def connect(self, playback: Source, delay_s: float, wake: Callable[[], object], *, extra_s: float = 0.0) -> None:
        """Before the streams start. delay_s: used where the callback's times are unknown. extra_s: on top of either.
        wake: called from the device's thread after a block, again only when `waking` has been cleared."""
        self._playback, self._delay_s, self._wake, self._extra_s = playback, delay_s, wake, extra_s
        self._ends.start = self._ends.heard = playback.pulled

    @property
    def beats(self) -> tuple[int, int]:
        """Blocks so far, (recorded, played)."""
        return self._ends.recorded, self._ends.played

    @property
    def heard(self) -> int:
        """The position on the output that the loudspeaker has reached."""
        return self._ends.heard

    @property
    def waiting(self) -> bool:
        """True if a block is there to be taken."""
        return bool(self._ring)

    def blocks(self) -> Iterator[Block]:
        """Takes the blocks that wait."""
        while self._ring:
            with suppress(IndexError):  # a full ring may lose its oldest in between
                yield self._ring.popleft()

    def forget(self) -> None:
        """Drops what came before anyone listened."""
        self._ring.clear()

    def duplex(self, indata: bytes, outdata: Buffer, frames: int, time: Times, status: Status) -> None:
        """Callback of a duplex stream."""
        self.play(outdata, frames, time, status)
        self.record(indata, frames, time, status)

    def play(self, outdata: Buffer, frames: int, time: Times, status: Status) -> None:
        """Callback of the loudspeaker."""
        if self.closing:  # nothing that is handed over now would be heard
            outdata[:] = silence(frames)
            return
        if status and status.output_underflow:
            self.late += 1
        playback, ends = self._playback, self._ends
        ends.played += 1
        ahead_s = time.outputBufferDacTime - time.currentTime
        # Some host APIs give zeros or another clock; no device is two seconds away.
        ahead_s = ahead_s if 0.0 < ahead_s < 2.0 else self._delay_s
        late = round(max(0.0, ahead_s + self._extra_s) * playback.rate)
        ends.heard = max(ends.start, playback.pulled - late)
        block = playback.pull(frames)
        outdata[:] = block
        self._played.append(block)

    def record(self, indata: bytes, frames: int, time: Times, status: Status) -> None:
        """Callback of the microphone."""
        if status and status.input_overflow:
            self.lost += 1
        ends, refs = self._ends, list[Pcm]()
        with suppress(IndexError):
            while True:
                refs.append(self._played.popleft())
        self._ring.append(Block(ends.at, bytearray(indata), tuple(refs), ends.heard))
        ends.recorded += 1
        ends.at += frames
        self._alert()

    def finished(self) -> None:
        """A stream has ended. Must return None: anything else makes cffi print a TypeError."""
        if not self.closing:
            self.ended = True
            self.waking = False
            self._alert()

    def _alert(self) -> None:
        if not self.waking:
            self.waking = True
            with suppress(RuntimeError):  # the loop is closed
                self._wake()


@dataclass(slots=True)
class _Ends:
    """How far the device's two ends are. start: what another device had played before. heard: see Block."""

    at: int = 0
    start: int = 0
    heard: int = 0
    recorded: int = 0
    played: int = 0


class Framer:
    """Frames from blocks: both directions resampled to 16 kHz, cut to 20 ms, gaps counted.

    one_clock: both ends run on one clock, so each block has its reference; else that is made to follow.
    """

    def __init__(
        self, in_rate: int, out_rate: int, resampler: Callable[[int, int], Resampler], *, one_clock: bool
    ) -> None:
        self._in_rate = in_rate
        self._mic = resampler(in_rate, RATE) if in_rate != RATE else None
        self._ref = resampler(out_rate, RATE) if out_rate != RATE else None
        self._mics = Rechunker(FRAME)
        self._refs = Follower(drifts=not one_clock)
        self._expected: int | None = None
        self._news: tuple[Progress, ...] = ()
        self._lost = 0

    def feed(self, block: Block, news: tuple[Progress, ...]) -> Iterator[Capture]:
        """Each frame that is complete now; the next one tells the news and what was lost before this block."""
        mic = np.frombuffer(block.mic, dtype=np.int16)
        if self._expected is not None:
            self._lost += (block.at - self._expected) * RATE // self._in_rate
        self._expected = block.at + mic.size
        self._news += news
        for ref in block.refs:
            self._refs.feed(self._ref.process(ref) if self._ref else ref)
        for frame in self._mics.feed(self._mic.process(mic) if self._mic else mic):
            news, self._news, lost, self._lost = self._news, (), self._lost, 0
            yield Capture(frame, self._refs.take(FRAME), news, lost)


class Follower:
    """A stream of played samples, given out at the pace of the microphone. All at 16 kHz.

    What is given keeps its place against the microphone as long as the reserve stays within bounds: two streams of
    one sound server share a clock, and a canceller that sees the delay move loses 10 to 20 dB (measured here). A
    reserve that drifts out of bounds is led back by fractions of a sample, the faster the further it is out, at most
    390 ppm, while cards differ by less than 200: so it comes to rest, and with it the delay. (One whole sample at a
    time cost 15 dB for each of them.) One that is further out than that explains has seen a stall: it is set anew as
    soon as nothing is played, at once if it is out by a block and more.
    """

    RESERVE = FRAME * 3 // 2
    FLOOR = FRAME * 5 // 4
    """The reserve swings by a block, as either end may call first, so its mean must not sink to one."""
    CEILING = 2 * FRAME
    """The reference must come before its echo, which takes 80 to 100 ms."""
    LIMIT = RATE // 2
    FASTEST = 1 / 8
    """Samples in a frame."""
    HASTE = 0.003
    """Share of what is beyond the bounds that is made good in a frame; 100 ppm are reached at 11 samples."""
    SLIPPED = 4 * int(FASTEST / HASTE) // 3
    """Samples beyond the bounds that no clocks explain, 3.4 ms."""
    HALF = 15
    """Frames to wait after a start, when blocks come in heaps, and then to look before the reserve is judged."""

    def __init__(self, *, drifts: bool) -> None:
        self._drifts = drifts
        self._data = silence(0)
        self._settling = 2 * self.HALF
        self._mean = 0.0
        self._part = 0.0
        self._rest = 0
        self._before = silence(REACH)

    def feed(self, pcm: Pcm) -> None:
        """Adds what was played."""
        self._data = np.concatenate((self._data, pcm)) if self._data.size else pcm

    def take(self, n: int) -> Pcm:
        """The next n samples; silence where the loudspeaker has stopped."""
        self._part += self._step(self._data.size - n) if self._drifts else 0.0
        if whole := floor(self._part):
            self._part -= whole
            self._data = self._data[1:] if whole > 0 else np.concatenate((self._before[-1:], self._data))
        given, ahead = self._data[:n], self._data[n : n + REACH]
        self._data = self._data[n:]
        if given.size < n:
            given = np.concatenate((given, silence(n - given.size)))
        self._rest = 0 if given.any() else self._rest + 1
        before, self._before = self._before, given[-REACH:]
        if self._part < 0.5 / STEPS:
            return given
        piece = np.concatenate((before, given, ahead, silence(REACH - ahead.size)))[1:]
        between = np.asarray(np.convolve(piece, TAPS[round(self._part * STEPS)], "valid"), np.float32)
        return np.rint(np.clip(between, -32768, 32767)).astype(np.int16)

    def _step(self, left: int) -> float:
        """How many samples more than asked to take; `left` are in reserve after what was asked."""
        if left < 0 or left > self.LIMIT:
            self._settling = 2 * self.HALF
        if self._settling:
            self._settle(left)
            return 0.0
        self._mean += (left - self._mean) / 50
        beyond = self._mean - min(max(self._mean, self.FLOOR), self.CEILING)
        if abs(beyond) > FRAME:
            self._settling = 2 * self.HALF
        elif abs(beyond) > self.SLIPPED and self._rest > self.HALF and not self._data.any():
            self._skip(round(self._mean) - self.RESERVE)
            self._mean = self.RESERVE
            return 0.0
        return min(max(beyond * self.HASTE, -self.FASTEST), self.FASTEST)

    def _settle(self, left: int) -> None:
        """Sets the reserve at once, and again when its mean turns out to be another."""
        if self._settling == 2 * self.HALF:
            self._skip(left - self.RESERVE)
            self._mean = 0.0
        self._settling -= 1
        if self._settling < self.HALF:
            self._mean += left / self.HALF
        if self._settling == 0 and not self.FLOOR <= self._mean <= 2 * FRAME:
            self._skip(round(self._mean) - self.RESERVE)
            self._mean = self.RESERVE

    def _skip(self, n: int) -> None:
        """Drops n samples, or adds -n zeros."""
        self._data = self._data[n:] if n >= 0 else np.concatenate((silence(-n), self._data))
