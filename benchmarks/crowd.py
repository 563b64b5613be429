"""People who talk to a server over `/ws`: what their microphones hear, what their loudspeakers play, and when.

All in one process and on real sockets, without voiceloop's own client: a generator must cost less than what it loads.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from material import likelihood, trim
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from voiceloop import build
from voiceloop.core.audio import FRAME, RATE, Pcm, to_pcm

FRAME_S = FRAME / RATE
FRAME_BYTES = 2 * FRAME
OUT_HZ = 24_000
HISS_DB = -60.0
PREBUFFER_S = 0.08
"""What a page keeps before it begins to play."""

_REPORT, _PING = 10, 50
"""Frames between two reports of what was played (200 ms), and between two pings (1 s)."""

OVER = 125
"""Frames (2.5 s) from the end of a question to the voice over its answer, which has begun by then."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Whole frames of somebody who speaks; sound: raw s16le. Speech fills it but for the end of its last frame."""

    name: str
    sound: bytes
    size: int
    """Samples of speech."""

    @property
    def n(self) -> int:
        """Frames."""
        return len(self.sound) // FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Said:
    """Speech in what a microphone heard: samples [start, end). over: it was to begin over a reply."""

    name: str
    over: bool
    start: int
    end: int


Plan = Iterator["int | tuple[Utterance, bool]"]
"""What a microphone hears: so many frames of hiss, or an utterance, and whether it is meant to interrupt."""


def hiss(seconds: float, seed: int = 0) -> Pcm:
    """What a microphone gives while nobody speaks."""
    level = 10 ** (HISS_DB / 20)
    return to_pcm(np.random.default_rng(seed).normal(0, level, round(seconds * RATE)))


def utterances(directory: Path, shortest_s: float, longest_s: float) -> list[Utterance]:
    """The speech of the recordings there, as long as it takes so long, without the silence around it."""
    found: list[Utterance] = []
    for path in sorted(directory.glob("*.flac")):
        pcm = np.concatenate(list(build.recording(path)))
        if pcm.size < shortest_s * RATE or pcm.size > 3 * longest_s * RATE:
            continue
        start, end = trim(pcm, likelihood(pcm))
        if shortest_s <= (end - start) / RATE <= longest_s:
            found.append(utterance(path.name, pcm[start:end]))
    return found


def utterance(name: str, speech: Pcm) -> Utterance:
    """Speech in the hiss of the microphone, its edges softened over 5 ms."""
    ramp = (np.arange(80) + 0.5) / 80
    own = speech / 32768
    own[:80] *= ramp
    own[-80:] *= ramp[::-1]
    sound = hiss((speech.size + -speech.size % FRAME) / RATE, len(name)) / 32768
    sound[: own.size] += own
    return Utterance(name, to_pcm(sound).astype("<i2").tobytes(), speech.size)


def asking(known: Sequence[Utterance]) -> Plan:
    """Each utterance once as a question, another one over the answer, and time to hear the second answer."""
    for i, question in enumerate(known):
        yield 50
        yield question, False
        yield OVER
        yield known[(i + len(known) // 2) % len(known)], True
        yield 400


def chatting(known: Sequence[Utterance], rng: random.Random) -> Plan:
    """For ever somebody who speaks a quarter of the time, and over every third answer."""
    yield rng.randrange(700)
    while True:
        question = rng.choice(known)
        yield question, False
        n, quiet = question.n, 0
        if rng.random() < 1 / 3:
            more = rng.choice(known)
            yield OVER
            yield more, True
            n, quiet = n + more.n, OVER
        yield max(400, 3 * n - quiet)


class Microphone:
    """The frames of a plan, and what was said so far."""

    def __init__(self, plan: Plan, at: int = 0) -> None:
        """at: where the hiss begins, so that no two microphones hear the same."""
        self._plan = plan
        self._hiss = hiss(10.0, 1).astype("<i2").tobytes()
        self._at = at * FRAME_BYTES % len(self._hiss)
        self.said: list[Said] = []

    def frames(self) -> Iterator[bytes]:
        """Each of FRAME samples, until the plan ends."""
        n = 0
        for what in self._plan:
            if isinstance(what, int):
                for _ in range(what):
                    yield self._hiss[self._at : self._at + FRAME_BYTES]
                    self._at = (self._at + FRAME_BYTES) % len(self._hiss)
                n += what
                continue
            spoken, over = what
            self.said.append(Said(spoken.name, over, n * FRAME, n * FRAME + spoken.size))
            for at in range(0, len(spoken.sound), FRAME_BYTES):
                yield spoken.sound[at : at + FRAME_BYTES]
            n += spoken.n


class Loudspeaker:
    """Plays what comes, in the order in which it comes; seconds of any clock."""

    def __init__(self) -> None:
        self.reply, self.start = 0, 0
        self.n = 0
        """Samples of this stretch of a reply that came."""
        self.underruns = 0
        self._since = 0.0

    def begin(self, reply: int, start: int, now: float) -> None:
        """What comes next is of this reply, from that sample on."""
        ahead = max(0.0, self._since + self.n / OUT_HZ - now) if self.n else 0.0
        self.reply, self.start, self.n = reply, start, 0
        self._since = now + (ahead or PREBUFFER_S)

    def sound(self, n: int, now: float) -> None:
        """n samples more."""
        late = now - (self._since + self.n / OUT_HZ)
        if self.n and late > 0:
            self.underruns += 1
            self._since += late
        self.n += n

    def clear(self, now: float) -> int:
        """Stops. Returns how far it was in the reply."""
        played = self.played(now)
        self.n = played - self.start
        self._since = now - self.n / OUT_HZ
        return played

    def played(self, now: float) -> int:
        """Samples of the reply that were heard."""
        return self.start + min(self.n, max(0, round((now - self._since) * OUT_HZ)))

    def playing(self, now: float) -> bool:
        """Whether something is heard now, and will be for another 0.2 s."""
        return bool(self.n) and self._since <= now < self._since + self.n / OUT_HZ - 0.2


@dataclass(slots=True)
class Noted:
    """What a person saw; times are those of the event loop.

    replies: when the first sound of each came. clears: when they came. busy: by number of what was said, whether a
    reply was heard when it began. late: how late frames were sent. pings: round trips. behind: samples that were sent
    when the server said how many it had, less those.
    """

    began: float = 0.0
    replies: list[float] = field(default_factory=list[float])
    clears: list[float] = field(default_factory=list[float])
    busy: list[bool] = field(default_factory=list[bool])
    late: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    pings: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    behind: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    troubles: list[str] = field(default_factory=list[str])


class Person:
    """One who talks over `/ws` and reports what was played."""

    def __init__(self, url: str, microphone: Microphone) -> None:
        self._url = url
        self.microphone = microphone
        self.speaker = Loudspeaker()
        self.noted = Noted()
        self._sent = 0
        self._ready = asyncio.Event()
        self._last: tuple[int, int] = (0, 0)

    async def talk(self) -> None:
        """Until the plan has ended, or cancelled."""
        async with connect(self._url, compression=None, ping_interval=None, max_queue=None) as socket:
            start = {"type": "start", "sample_rate": RATE, "agent_sample_rate": OUT_HZ, "reports": True}
            await socket.send(json.dumps(start))
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._hear(socket))
                await self._ready.wait()
                try:
                    await self._speak(socket)
                    await socket.send('{"type":"end"}')  # or the session would wait for another connection
                except ConnectionClosed as exc:
                    self.noted.troubles.append(f"closed: {exc}")
                hearing.cancel()

    async def _speak(self, socket: ClientConnection) -> None:
        loop, noted, said = asyncio.get_running_loop(), self.noted, self.microphone.said
        noted.began = loop.time()
        for n, frame in enumerate(self.microphone.frames(), 1):
            due = noted.began + n * FRAME_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = loop.time()
            noted.late.append((now, now - due))
            await socket.send(frame)
            self._sent += FRAME
            if len(said) > len(noted.busy):
                noted.busy.append(self.speaker.playing(due - FRAME_S))
            if n % _REPORT == 0:
                await self._report(socket, self.speaker.played(now))
            if n % _PING == 0:
                (await socket.ping()).add_done_callback(self._pong)

    def _pong(self, future: asyncio.Future[float]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.noted.pings.append((asyncio.get_running_loop().time(), future.result()))

    async def _report(self, socket: ClientConnection, played: int) -> None:
        what = self.speaker.reply, played
        if what != self._last:
            self._last = what
            message = {"type": "played", "reply": what[0], "samples": played, "underruns": self.speaker.underruns}
            await socket.send(json.dumps(message))

    async def _hear(self, socket: ClientConnection) -> None:
        loop, noted, speaker, known = asyncio.get_running_loop(), self.noted, self.speaker, -(2**60)
        async for message in socket:
            now = loop.time()
            if isinstance(message, bytes):
                speaker.sound(len(message) // 2, now)
                if speaker.reply != known:
                    known = speaker.reply
                    noted.replies.append(now)
                continue
            match json.loads(message):
                case {"type": "audio", "reply": reply, "from": start}:
                    speaker.begin(reply, start, now)
                case {"type": "clear"}:
                    noted.clears.append(now)
                    await self._report(socket, speaker.clear(now))
                case {"type": "ack", "mic": mic}:
                    noted.behind.append((now, self._sent - mic))
                case {"type": "ready"}:
                    self._ready.set()
                case {"type": "error" | "notice", **rest}:
                    noted.troubles.append(str(rest.get("message") or rest.get("text")))
                case _:
                    pass


def first_after(times: Iterable[float], begin: float, end: float) -> float | None:
    """The first of the times in [begin, end)."""
    return next((at for at in times if begin <= at < end), None)
