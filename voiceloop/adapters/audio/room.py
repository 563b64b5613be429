"""A simulated room: people, noise, and a loudspeaker whose echo the microphone hears.

`Room` is arithmetic on frames and knows no event loop; `RoomPort` makes an `AudioPort` of it, for a session on virtual
time. All sound is 16 kHz mono int16. Levels in dBFS are of the RMS, 0 dBFS = 32768; the level of speech is that of its
active frames (`speech_db`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.taps import Follower
from voiceloop.core.audio import FRAME, RATE, Pcm, silence
from voiceloop.ports import Capture

Signal = NDArray[np.float64]

_ACTIVE_DB = 25.0
"""Frames so much below the loudest are pauses."""

_KERNEL = 16
"""Taps with which the echo is read between two samples: its error is 60 dB down up to 6 kHz."""

_LOOP = 10 * RATE
"""Length after which pink noise repeats."""


@dataclass(frozen=True, slots=True)
class Jump:
    """From at_s on (seconds of the microphone), the echo comes by_ms later, or earlier if negative."""

    at_s: float
    by_ms: float


@dataclass(frozen=True, slots=True)
class EchoPath:
    """From what was handed to the loudspeaker to what the microphone hears of it.

    level_db: of the echo of speech against what was played. delay_ms: until the direct sound, buffers included; at
    least 1. rt60_s: reverberation; 0: the direct sound alone. skew_ppm: how much faster the loudspeaker's clock runs
    than the microphone's. drive: a loudspeaker that distorts: tanh(drive * x) / drive, x = 1 at full scale; 0: none.
    band_hz: what the loudspeaker can give. seed: which room it is.
    """

    level_db: float = -12.0
    delay_ms: float = 60.0
    rt60_s: float = 0.3
    jumps: tuple[Jump, ...] = ()
    skew_ppm: float = 0.0
    drive: float = 0.0
    band_hz: tuple[float, float] | None = None
    seed: int = 0

    def response(self) -> Signal:
        """The impulse response without its delay: direct sound, early reflections, a decaying tail of noise."""
        rng = np.random.default_rng(self.seed)
        n = max(1, round(self.rt60_s * RATE))
        at = np.arange(n) / RATE
        taps = np.zeros(n)
        taps[0] = 1.0
        if self.rt60_s:
            decay = 10 ** (-3 * at / self.rt60_s)
            taps += rng.standard_normal(n) * decay * 0.05 * (at > 0.004)
            for ms in rng.uniform(1, 25, 6):
                taps[min(n - 1, round(ms * RATE / 1000))] += rng.choice((-1, 1)) * rng.uniform(0.15, 0.5)
        size = 1 << (n + 512).bit_length()
        hz = np.fft.rfftfreq(size, 1 / RATE)
        spectrum = np.fft.rfft(taps, size)
        if self.band_hz:
            low, high = self.band_hz
            spectrum *= 1 / np.sqrt((1 + (low / np.maximum(hz, 1)) ** 4) * (1 + (hz / high) ** 8))
        # Long-term speech: flat up to 500 Hz, 9 dB less per octave above (roughly ITU-T P.50).
        voice = np.maximum(hz, 500) ** -3.0 * (hz > 80)
        gain = np.sqrt((np.abs(spectrum) ** 2 * voice).sum() / voice.sum())
        whole: Signal = np.fft.irfft(spectrum / gain * 10 ** (self.level_db / 20), size)[: n + 512]
        return whole

    def delay(self, at_s: float) -> float:
        """Samples at that moment."""
        return (self.delay_ms + sum(jump.by_ms for jump in self.jumps if at_s >= jump.at_s)) * RATE / 1000


def speech_db(pcm: Pcm) -> float:
    """Level of the frames in which something is said."""
    frames = pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME) / 32768
    power = np.square(frames).mean(axis=1)
    if not power.size or not power.max() > 0:
        return -120.0
    return float(10 * np.log10(power[power > power.max() * 10 ** (-_ACTIVE_DB / 10)].mean()))


def at_level(pcm: Pcm, level_db: float) -> Pcm:
    """The same speech so loud, clipped where it does not fit."""
    scaled = pcm * 10 ** ((level_db - speech_db(pcm)) / 20)
    return np.rint(np.clip(scaled, -32768, 32767)).astype(np.int16)


class Noise:
    """Endless noise at a level: "white", "pink" (3 dB less per octave), or a recording over and over."""

    def __init__(self, level_db: float, colour: str | Pcm = "white", *, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._rms = 32768 * 10 ** (level_db / 20)
        self._loop: Signal | None = None
        if isinstance(colour, str):
            if colour not in ("white", "pink"):
                raise ValueError(f"noise is white, pink or a recording, not {colour!r}")
            if colour == "pink":
                spectrum = np.fft.rfft(self._rng.standard_normal(_LOOP))
                self._loop = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 20)), _LOOP)
        else:
            self._loop = colour.astype(np.float64)
        if self._loop is not None:
            self._loop *= self._rms / np.sqrt(np.mean(np.square(self._loop)))
        self._at = 0

    def take(self, n: int) -> Signal:
        """The next n samples."""
        self._at += n
        if self._loop is None:
            return self._rng.normal(0, self._rms, n)
        return self._loop[np.arange(self._at - n, self._at) % self._loop.size]


@dataclass(slots=True)
class _Sound:
    at: int
    pcm: Pcm


class Room:
    """What a microphone hears, frame by frame, from what the loudspeaker was given.

    path: None: nothing comes back, as with headphones. noise: None: digital silence.
    """

    def __init__(self, path: EchoPath | None = None, noise: Noise | None = None) -> None:
        self.at = 0
        """Microphone samples so far."""
        self._noise = noise
        self._speakers: list[_Sound] = []
        self._taken = 0
        self._follower = Follower(drifts=True) if path is not None and path.skew_ppm else None
        self._late = Echo(path) if path is not None else None
        self._skew = path.skew_ppm * 1e-6 if path is not None else 0.0

    @property
    def wants(self) -> int:
        """Samples that the loudspeaker takes during the next frame: 320, or one more or less if its clock is off."""
        return int((self.at + FRAME) * (1 + self._skew)) - self._taken

    def change(self, path: EchoPath | None) -> None:
        """Another path from the next frame on: somebody moved, or put headphones on. The clocks stay as they are."""
        if self._late is not None and path is not None:
            self._late.change(path)
        else:
            self._late = Echo(path) if path is not None else None
            if self._late is not None:
                self._late.start(self._taken)

    def say(self, pcm: Pcm, at: int | None = None) -> None:
        """Somebody makes that sound, from a sample of the microphone on; None: from the next one."""
        self._speakers.append(_Sound(self.at if at is None else at, pcm))

    def step(self, played: Pcm) -> tuple[Pcm, Pcm]:
        """One frame: (what the microphone heard, what was played meanwhile), 320 samples each.

        played: the next `wants` samples of the loudspeaker. As at a real port, the reference has no delay, and runs at
        the microphone's clock.
        """
        if played.size != self.wants:
            raise ValueError(f"the loudspeaker takes {self.wants} samples, not {played.size}")
        self._taken += played.size
        heard = self._noise.take(FRAME) if self._noise else np.zeros(FRAME)
        if self._late is not None:
            self._late.play(played)
            heard = heard + self._late.read(self.at, self._skew)
        for sound in self._speakers:
            begin = max(0, sound.at - self.at)
            piece = sound.pcm[max(0, self.at - sound.at) :][: max(0, FRAME - begin)]
            heard[begin : begin + piece.size] += piece
        self.at += FRAME
        self._speakers = [sound for sound in self._speakers if sound.at + sound.pcm.size > self.at]
        ref = played
        if self._follower is not None:
            self._follower.feed(played)
            ref = self._follower.take(FRAME)
        return np.rint(np.clip(heard, -32768, 32767)).astype(np.int16), ref

    def run(self, played: Pcm) -> tuple[Pcm, Pcm]:
        """`step` for all of a sound, as far as it fills frames: (microphone, reference)."""
        mics, refs, at = [silence(0)], [silence(0)], 0
        while at + (n := self.wants) <= played.size:
            mic, ref = self.step(played[at : at + n])
            mics.append(mic)
            refs.append(ref)
            at += n
        return np.concatenate(mics), np.concatenate(refs)


class Echo:
    """The echo of what is played, to be read at any place in time."""

    def __init__(self, path: EchoPath) -> None:
        self._played: Signal = np.zeros(0)
        self._echo: Signal = np.zeros(2 * RATE)
        self._end = 0
        self.change(path)

    def start(self, at: int) -> None:
        """Nothing was heard of what was played before."""
        self._end = at

    def change(self, path: EchoPath) -> None:
        """Another room from the next sample on."""
        self._path = path
        self._response = path.response()
        self._size = 1 << (self._response.size + 2 * FRAME).bit_length()
        self._spectrum = np.fft.rfft(self._response, self._size)
        kept = self._response.size - 1
        self._played = np.concatenate((np.zeros(max(0, kept - self._played.size)), self._played))[-kept or None :]

    def play(self, played: Pcm) -> None:
        """The loudspeaker's next samples."""
        drive, x = self._path.drive, played / 32768
        x = (np.tanh(drive * x) / drive if drive else x) * 32768
        whole = np.concatenate((self._played, x))
        found = np.fft.irfft(np.fft.rfft(whole, self._size) * self._spectrum, self._size)
        self._played = whole[x.size :]
        self._echo = np.concatenate((self._echo[x.size :], found[self._response.size - 1 : whole.size]))
        self._end += x.size

    def read(self, at: int, skew: float) -> Signal:
        """The frame that begins at a sample of the microphone."""
        delay = max(RATE / 1000, self._path.delay(at / RATE))
        where = np.arange(at, at + FRAME) * (1 + skew) - delay - (self._end - self._echo.size)
        index = np.floor(where).astype(int)
        part = where - index
        if not part.any():
            return self._echo[index]
        steps = np.arange(_KERNEL) - _KERNEL // 2 + 1
        off = part[:, None] - steps[None, :]
        taps = np.sinc(off) * np.cos(np.pi * off / (_KERNEL + 1)) ** 2
        frame: Signal = (self._echo[index[:, None] + steps[None, :]] * taps).sum(axis=1)
        return frame


@dataclass(slots=True)
class _Stage:
    """Where a `RoomPort` stands. done_at: the microphone sample after which the input has ended."""

    done_at: int | None = None
    closed: bool = False
    refs: bool = True


class RoomPort:
    """An `AudioPort` in a simulated room, paced by the event loop's clock: use a `VirtualLoop`.

    cancels: as a peer that cancels its own echo: no reference is given. watch: called before each frame with the
    number of microphone samples so far; it may let people speak (`room.say`). `finish` ends the input.
    """

    out_rate = RATE
    stepped = False
    xruns = (0, 0)

    def __init__(self, room: Room, *, cancels: bool = False, watch: Callable[[int], None] | None = None) -> None:
        self.room = room
        self.playback = Playback(RATE)
        self._watch = watch
        self._stage = _Stage(refs=not cancels)

    @property
    def exhausted(self) -> bool:
        """True once the input has ended."""
        done_at = self._stage.done_at
        return done_at is not None and self.room.at >= done_at

    def finish(self, at: int | None = None) -> None:
        """The input ends at a microphone sample; None: now."""
        self._stage.done_at = self.room.at if at is None else at

    async def open(self) -> None:
        """There is nothing to open."""

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """A frame every 20 ms, until `close`."""
        loop, room = asyncio.get_running_loop(), self.room
        start = loop.time() - room.at / RATE
        while not self._stage.closed:
            await asyncio.sleep(max(0.0, start + (room.at + FRAME) / RATE - loop.time()))
            if self._watch is not None:
                self._watch(room.at)
            mic, ref = room.step(self.playback.pull(room.wants))
            capture = Capture(mic, ref, self.playback.news())
            yield capture if self._stage.refs else replace(capture, ref=None)

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Queues samples of a reply; waits above the high-water mark (2 s)."""
        await self.playback.write(reply, pcm)

    def hold(self, reply: int) -> int:
        """Stops before the next frame and keeps the rest. Returns samples played."""
        return self.playback.hold(reply)

    def resume(self, reply: int) -> None:
        """Goes on from the sample at which `hold` stopped, faded in over 5 ms."""
        self.playback.resume(reply)

    def flush(self, reply: int) -> int:
        """Stops before the next frame and drops the rest. The count is exact."""
        return self.playback.flush(reply)

    def gain(self, factor: float) -> None:
        """Volume of everything played, 0..1; its echo and the reference follow."""
        self.playback.gain(factor)

    async def close(self) -> None:
        """Ends the frames. Twice is legal."""
        self._stage.closed = True
        self.playback.close()
