"""Fakes of every port and a clock that jumps: conversations of seconds tested in milliseconds.

For the tests here, and for authors of plug-ins. Everything is deterministic: delays pass on `VirtualLoop`, sound is
a script of loud and quiet stretches, engines answer what they are told to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.errors import DeviceError
from voiceloop.journal.replay import Comparison
from voiceloop.ports import Capture, Manner, Progress, Transcript, TurnView
from voiceloop.virtual import VirtualLoop as VirtualLoop  # part of this module's interface


def tone(n_s: float, *, rate: int = RATE, hz: float = 220.0, level: float = 0.3) -> Pcm:
    """A sine of n_s seconds; stands for speech where only loudness matters."""
    t = np.arange(round(n_s * rate)) / rate
    return (np.sin(2 * np.pi * hz * t) * level * 32767).astype(np.int16)


def script(*parts: float) -> Pcm:
    """Microphone audio: seconds of sound (positive) and of silence (negative), in order."""
    return np.concatenate([silence(0), *(tone(p) if p > 0 else silence(round(-p * RATE)) for p in parts)])


class FakeVad:
    """Speech is what is louder than `threshold_db`."""

    def __init__(self, threshold_db: float = -40.0) -> None:
        self._threshold_db = threshold_db

    def probability(self, frame: Pcm) -> float:
        """0.95 or 0.05."""
        if frame.shape != (FRAME,):
            raise ValueError(f"a frame has shape ({FRAME},), not {frame.shape}")
        return 0.95 if level_db(frame) > self._threshold_db else 0.05

    def reset(self) -> None:
        """Keeps nothing."""


class FakeEcho:
    """Takes the reference away sample by sample: right when the echo is exact."""

    doubt = 0.0

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic - ref."""
        return np.clip(mic.astype(np.int32) - ref, -32768, 32767).astype(np.int16)


class FakeResampler:
    """Nearest sample; enough where only lengths matter. The rates must divide evenly in one direction."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._ratio = target_hz / source_hz

    def process(self, pcm: Pcm) -> Pcm:
        """All of it."""
        index = (np.arange(round(pcm.size * self._ratio)) / self._ratio).astype(np.int64)
        return pcm[index]

    def flush(self) -> Pcm:
        """Nothing is held back."""
        return silence(0)


class FakeTranscriber:
    """Answers after `delay_s` with the next of `texts`, then with "words"; or with what `listen` makes of the audio.

    An exception among the texts is raised. `heard` holds the seconds of audio of each call.
    """

    def __init__(
        self,
        texts: Iterable[str | Exception] = (),
        *,
        delay_s: float = 0.2,
        listen: Callable[[Pcm], str] | None = None,
        longest: int | None = None,
    ) -> None:
        self._texts = deque(texts)
        self._delay_s = delay_s
        self._listen = listen
        self.longest = longest
        self.heard: list[float] = []

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The next text."""
        self.heard.append(round(pcm.size / RATE, 3))
        await asyncio.sleep(self._delay_s)
        if self._listen:
            return Transcript(self._listen(pcm))
        text = self._texts.popleft() if self._texts else "words"
        if isinstance(text, Exception):
            raise text
        return Transcript(text)

    async def aclose(self) -> None:
        """Nothing to give back."""


class FakeHandler:
    """Answers with `replies[text]` or "You said TEXT.", a word every `word_s` after `delay_s`.

    `asked` holds each TurnView; `cancelled` counts replies that were not read to their end.
    """

    def __init__(
        self,
        replies: Mapping[str, str | Exception] | None = None,
        *,
        delay_s: float = 0.2,
        word_s: float = 0.01,
        early: bool = True,
    ) -> None:
        self._replies = dict(replies or {})
        self._delay_s = delay_s
        self._word_s = word_s
        self.early = early
        self.asked: list[TurnView] = []
        self.cancelled = 0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """The words of the answer."""
        self.asked.append(turn)
        done = False
        try:
            await asyncio.sleep(self._delay_s)
            answer = self._replies.get(turn.text, f"You said {turn.text}.")
            if isinstance(answer, Exception):
                raise answer
            for word in answer.split(" "):
                await asyncio.sleep(self._word_s)
                yield word + " "
            done = True
        finally:
            self.cancelled += not done

    async def aclose(self) -> None:
        """Nothing to give back."""


class FakeSynthesizer:
    """A tone of `letter_s` a letter, the first 100 ms of it after `delay_s`.

    `spoken` holds each text; `fail` raises for a text that contains one of its keys.
    """

    def __init__(
        self,
        *,
        rate: int = 24_000,
        delay_s: float = 0.1,
        letter_s: float = 0.06,
        fail: Mapping[str, Exception] | None = None,
    ) -> None:
        self.rate = rate
        self._delay_s = delay_s
        self._letter_s = letter_s
        self._fail = dict(fail or {})
        self.spoken: list[str] = []

    @property
    def voices(self) -> tuple[str, ...]:
        """One."""
        return ("tone",)

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """Chunks of 100 ms."""
        self.spoken.append(text)
        await asyncio.sleep(self._delay_s)
        for key, exc in self._fail.items():
            if key in text:
                raise exc
        pcm = tone(len(text) * self._letter_s, rate=self.rate)
        for at in range(0, pcm.size, self.rate // 10):
            yield pcm[at : at + self.rate // 10]
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Nothing to give back."""


@dataclass(slots=True)
class _Queued:
    reply: int
    pcm: Pcm


@dataclass(slots=True)
class _Speaker:
    """What waits to be played, is held or flushed, and what there is to tell of it. at: how far the microphone is."""

    at: int = 0
    queue: deque[_Queued] = field(default_factory=lambda: deque[_Queued]())
    held: bool = False
    flushed: set[int] = field(default_factory=lambda: set[int]())
    news: list[Progress] = field(default_factory=lambda: list[Progress]())
    room: asyncio.Event = field(default_factory=asyncio.Event)
    gains: list[float] = field(default_factory=lambda: list[float]())


@dataclass
class FakePort:
    """A microphone that hears `mic` and then silence, and a loudspeaker that keeps what it played.

    Paced on the loop's clock, or `stepped`. `echo`: what the loudspeaker plays is heard by the microphone, times this
    factor.
    `lost_after`: the device is lost for good after so many frames. `away`: it is lost after so many frames, for so many
    seconds. `played`: samples of each reply.
    """

    mic: Pcm
    out_rate: int = 24_000
    echo: float = 0.0
    lost_after: int | None = None
    away: Mapping[int, float] = field(default_factory=lambda: dict[int, float]())
    ends: bool = True
    stepped: bool = False
    out: list[Pcm] = field(default_factory=lambda: list[Pcm]())
    played: dict[int, int] = field(default_factory=lambda: dict[int, int]())
    opened: int = 0
    closed: int = 0
    _speaker: _Speaker = field(default_factory=_Speaker)

    @property
    def xruns(self) -> tuple[int, int]:
        """None."""
        return 0, 0

    @property
    def gains(self) -> list[float]:
        """Every volume that was set."""
        return self._speaker.gains

    @property
    def exhausted(self) -> bool:
        """True after the last sample of `mic`."""
        return self.ends and self._speaker.at >= self.mic.size

    async def open(self) -> None:
        """Counts."""
        self.opened += 1

    async def frames(self) -> AsyncGenerator[Capture | ev.PortLost | ev.PortBack, None]:
        """A frame every 20 ms."""
        loop = asyncio.get_running_loop()
        start, n = loop.time(), 0
        while True:
            n += 1
            if self.lost_after is not None and n > self.lost_after:
                raise DeviceError("The sound device was lost.")
            if (away_s := self.away.get(n)) is not None:
                yield ev.PortLost("The sound device was lost.")
                await asyncio.sleep(away_s)
                start += away_s
                yield ev.PortBack("fake")
            if not self.stepped:
                await asyncio.sleep(start + n * FRAME / RATE - loop.time())
            ref = self._play(self.out_rate * FRAME // RATE)
            frame = self.mic[self._speaker.at : self._speaker.at + FRAME]
            frame = np.concatenate((frame, silence(FRAME - frame.size)))
            self._speaker.at += FRAME
            heard = np.clip(frame + ref * self.echo, -32768, 32767).astype(np.int16)
            news, self._speaker.news = tuple(self._speaker.news), []
            yield Capture(heard, ref if self.echo else None, news)

    def _play(self, n: int) -> Pcm:
        pieces: list[Pcm] = []
        while n and self._speaker.queue and not self._speaker.held:
            head = self._speaker.queue[0]
            piece, head.pcm = head.pcm[:n], head.pcm[n:]
            n -= piece.size
            pieces.append(piece)
            self.played[head.reply] = self.played.get(head.reply, 0) + piece.size
            self._speaker.news.append(Progress(head.reply, self.played[head.reply]))
            if not head.pcm.size:
                self._speaker.queue.popleft()
        block = np.concatenate([*pieces, silence(n)])
        self.out.append(block)
        self._speaker.room.set()
        return FakeResampler(self.out_rate, RATE).process(block)

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Waits while two seconds are queued."""
        while sum(q.pcm.size for q in self._speaker.queue) > 2 * self.out_rate and reply not in self._speaker.flushed:
            self._speaker.room.clear()
            await self._speaker.room.wait()
        if reply not in self._speaker.flushed:
            self._speaker.queue.append(_Queued(reply, pcm))

    def hold(self, reply: int) -> int:
        """Stops."""
        self._speaker.held = True
        return self.played.get(reply, 0)

    def resume(self, reply: int) -> None:
        """Goes on."""
        self._speaker.held = False

    def flush(self, reply: int) -> int:
        """Drops the rest."""
        self._speaker.held = False
        self._speaker.flushed.add(reply)
        self._speaker.queue = deque(q for q in self._speaker.queue if q.reply != reply)
        self._speaker.room.set()
        self._speaker.news.append(Progress(reply, self.played.get(reply, 0), final=True))
        return self.played.get(reply, 0)

    def gain(self, factor: float) -> None:
        """Keeps it; what is played stays as it is."""
        self._speaker.gains.append(factor)

    async def close(self) -> None:
        """Counts."""
        self.closed += 1


@dataclass
class Recorder:
    """An observer that keeps every event."""

    events: list[object] = field(default_factory=lambda: list[object]())

    def __call__(self, event: object) -> None:
        self.events.append(event)

    def of(self, *types: type) -> Sequence[object]:
        """Those of the given types, in order."""
        return [event for event in self.events if isinstance(event, types)]


def replay(path: str | PathLike[str]) -> Comparison:
    """A recorded session fed through the core again; `assert replay(FILE).identical` makes a field bug a test.

    path: what `voiceloop run --record FILE` wrote, whole or cut off. Raises MediaError.
    """
    from voiceloop.journal.reader import read
    from voiceloop.journal.replay import replay

    return replay(read(path))
