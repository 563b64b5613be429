"""One scene on virtual time: a real session at a port that notes which sample of a reply was heard when.

The port is a duplex device without any latency of its own: every 20 ms it hands over what the microphone heard and
takes what the loudspeaker is to play in the next 20 ms; what it has taken is heard, whatever comes then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from engines import Handler, Recall, Recognizer, Synthesizer, Transcriber, silero_engine, voice
from scenes import Scene

from voiceloop import build
from voiceloop.config import load_config, override
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, seconds, silence, ticks
from voiceloop.core.policy import Policy
from voiceloop.ports import Capture, EndOfTurn, Progress, Vad
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakeResampler, VirtualLoop

_REST = ticks(1.5)
"""After the last sound, a session with nothing left to do is believed to be done."""

_LIMIT = ticks(20)
"""After the last sound, one that is not done is stuck: 5 s for an answer, 5 s to say it, 10 s of silence."""

_HIGH_WATER = 2 * RATE


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples [first, first + pcm.size) of a reply, heard from microphone sample `at` on."""

    at: int
    reply: int
    first: int
    pcm: Pcm


@dataclass(slots=True)
class Speaker:
    """What waits to be played, what was played, and what was asked of the port: (at, what, reply)."""

    queue: deque[tuple[int, Pcm]] = field(default_factory=lambda: deque[tuple[int, Pcm]]())
    held: bool = False
    flushed: set[int] = field(default_factory=lambda: set[int]())
    taken: dict[int, int] = field(default_factory=lambda: dict[int, int]())
    pieces: list[Piece] = field(default_factory=lambda: list[Piece]())
    orders: list[tuple[int, str, int]] = field(default_factory=lambda: list[tuple[int, str, int]]())
    news: list[Progress] = field(default_factory=lambda: list[Progress]())
    room: asyncio.Event = field(default_factory=asyncio.Event)


class Port:
    """An `AudioPort` for one scene. over_at: where the sound over the reply began. timed_out: it had to be ended."""

    out_rate = RATE
    stepped = False
    xruns = (0, 0)

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.heard: list[Pcm] = []
        self.speaker = Speaker()
        self.over_at: int | None = None
        self.timed_out = False
        self._start = 0.0
        self._at = 0

    async def open(self) -> None:
        """Nothing to take."""

    async def close(self) -> None:
        """Nothing to give back."""

    @property
    def done_at(self) -> int | None:
        """Where the last sound of the scene ends; None while that is not known."""
        scene = self.scene
        if scene.over is None:
            return scene.mic.size
        return None if self.over_at is None else max(scene.mic.size, self.over_at + scene.over.size)

    @property
    def exhausted(self) -> bool:
        """Whether a session that has nothing left to do may end."""
        return self.done_at is not None and self._at >= self.done_at + _REST

    @property
    def now(self) -> int:
        """Ticks since the first frame began."""
        return round((asyncio.get_running_loop().time() - self._start) * RATE)

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """A frame every 20 ms."""
        loop = asyncio.get_running_loop()
        self._start = loop.time()
        while True:
            end = self._at + FRAME
            await asyncio.sleep(self._start + end / RATE - loop.time())
            mic = self._sound(self._at)
            news, self.speaker.news = tuple(self.speaker.news), []
            self._at = end
            self._take(end)
            self.heard.append(mic)
            yield Capture(mic, None, news)
            if self._at > (self.done_at or self.scene.mic.size) + _LIMIT:
                self.timed_out = True
                return

    def _sound(self, at: int) -> Pcm:
        scene = self.scene
        frame = scene.mic[at : at + FRAME]
        if frame.size < FRAME:
            rest = np.arange(at + frame.size - scene.mic.size, at + FRAME - scene.mic.size) % scene.room.size
            frame = np.concatenate((frame, scene.room[rest]))
        if scene.over is None or self.over_at is None or not self.over_at - FRAME < at < self.over_at + scene.over.size:
            return frame
        mixed = frame.astype(np.int32)
        begin = max(0, self.over_at - at)
        piece = scene.over[max(0, at - self.over_at) :][: FRAME - begin]
        mixed[begin : begin + piece.size] += piece
        return np.clip(mixed, -32768, 32767).astype(np.int16)

    def _take(self, at: int) -> None:
        speaker, n = self.speaker, FRAME
        while n and speaker.queue and not speaker.held:
            reply, pcm = speaker.queue.popleft()
            piece, rest = pcm[:n], pcm[n:]
            if rest.size:
                speaker.queue.appendleft((reply, rest))
            first = speaker.taken.get(reply, 0)
            if self.over_at is None and self.scene.over is not None and at >= self.scene.end:
                self.over_at = at + self.scene.over_after
            speaker.pieces.append(Piece(at + FRAME - n, reply, first, piece))
            speaker.taken[reply] = first + piece.size
            speaker.news.append(Progress(reply, speaker.taken[reply]))
            n -= piece.size
        speaker.room.set()

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Waits while two seconds are queued."""
        speaker = self.speaker
        while sum(queued.size for _, queued in speaker.queue) > _HIGH_WATER and reply not in speaker.flushed:
            speaker.room.clear()
            await speaker.room.wait()
        if reply not in speaker.flushed:
            speaker.queue.append((reply, pcm))

    def hold(self, reply: int) -> int:
        """Stops after what was taken."""
        self.speaker.held = True
        self.speaker.orders.append((self.now, "hold", reply))
        return self.speaker.taken.get(reply, 0)

    def resume(self, reply: int) -> None:
        """Goes on."""
        self.speaker.held = False
        self.speaker.orders.append((self.now, "resume", reply))

    def flush(self, reply: int) -> int:
        """Drops the rest."""
        speaker = self.speaker
        speaker.held = False
        speaker.flushed.add(reply)
        speaker.queue = deque((r, pcm) for r, pcm in speaker.queue if r != reply)
        speaker.room.set()
        speaker.orders.append((self.now, "flush", reply))
        n = speaker.taken.get(reply, 0)
        speaker.news.append(Progress(reply, n, final=True))
        return n

    def gain(self, factor: float) -> None:
        """Noted only."""
        self.speaker.orders.append((self.now, f"gain {factor:g}", 0))


@dataclass(slots=True)
class Take:
    """What came of a scene: the port, the engines with their counts, and the session's news with their time."""

    scene: Scene
    port: Port
    stt: Transcriber
    llm: Handler
    tts: Synthesizer
    news: list[tuple[int, object]] = field(default_factory=lambda: list[tuple[int, object]]())

    def of(self, *types: type) -> list[tuple[int, object]]:
        """The news of some types."""
        return [(at, event) for at, event in self.news if isinstance(event, types)]

    @property
    def pieces(self) -> list[Piece]:
        """What was heard of replies."""
        return self.port.speaker.pieces

    def reply(self, number: int) -> tuple[Pcm, Pcm]:
        """What was heard of a reply, and what its sentences sound like, as far as they were begun."""
        heard = [piece.pcm for piece in self.pieces if piece.reply == number]
        said = [event.text for _, event in self.of(ev.ReplySaid) if event.reply == number]  # pyright: ignore
        sound = [voice(text) for text in said]
        return np.concatenate([silence(0), *heard]), np.concatenate([silence(0), *sound])

    def stereo(self) -> Pcm:
        """Microphone and loudspeaker, shape (n, 2)."""
        mic = np.concatenate(self.port.heard)
        both = np.zeros((mic.size + FRAME, 2), np.int16)
        both[: mic.size, 0] = mic
        for piece in self.pieces:
            both[piece.at : piece.at + piece.pcm.size, 1] = piece.pcm[: max(0, both.shape[0] - piece.at)]
        return both


class Player:
    """Plays scenes one after the other."""

    def __init__(
        self, recognizer: Recognizer, vad: Callable[[], Vad] = silero_engine, model: EndOfTurn | None = None
    ) -> None:
        self._recognizer = recognizer
        self._model = model
        self._vad = vad()
        self._parts = asyncio.run(_parts())

    def play(self, scene: Scene, policies: Sequence[Policy]) -> list[Take]:
        """The scene once under each policy."""
        vad = Recall(self._vad)
        takes: list[Take] = []
        for policy in policies:
            vad.reset()
            take = Take(scene, Port(scene), Transcriber(self._recognizer), Handler(scene.sentences), Synthesizer())
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(self._run(take, vad, policy))
            takes.append(take)
        return takes

    async def _run(self, take: Take, vad: Vad, policy: Policy) -> None:
        port = take.port
        parts = replace(
            self._parts,
            port=port,
            vad=vad,
            transcriber=take.stt,
            handler=take.llm,
            synthesizer=take.tts,
            resampler=FakeResampler,
            policy=policy if self._model is None else replace(policy, score=True),
            end_of_turn=self._model,
        )
        await Session(parts, [lambda event: take.news.append((port.now, event))], strict=True).run()


async def _parts() -> Parts:
    """What a session is made of besides: as configured, so that nothing that belongs to it is forgotten here."""
    config = override(load_config(environ={}), {"offline": True, "vad.engine": "webrtc", "stt.engine": "moonshine"})
    async with build.assemble(config, port=build.file_port([], None, paced=False)) as assembled:
        return assembled.parts


def explain(take: Take) -> str:
    """What happened in a scene, a line each, with seconds."""
    skipped = ("Level", "StateChanged")
    lines = [(at, f"{type(event).__name__:14} {_fields(event)}") for at, event in take.news]
    lines = [(at, text) for at, text in lines if not text.startswith(skipped)]
    lines += [(at, f"port: {what} {reply or ''}") for at, what, reply in take.port.speaker.orders]
    last: Piece | None = None
    for piece in take.pieces:
        if last is None or piece.reply != last.reply or piece.at > last.at + last.pcm.size:
            lines.append((piece.at, f"port: reply {piece.reply} is heard from its sample {piece.first}"))
        last = piece
    lines += [(at, f"--- {what}") for at, what in take.scene.landmarks]
    if take.port.over_at is not None and take.scene.over is not None:
        lines.append((take.port.over_at, "--- the sound over the reply begins"))
        lines.append((take.port.over_at + take.scene.over.size, "--- the sound over the reply ends"))
    return "\n".join(f"{seconds(at):8.3f}  {text}" for at, text in sorted(lines, key=lambda line: line[0]))


def _fields(event: object) -> str:
    names = [name for name in getattr(event, "__slots__", ()) if name[0] != "_"]
    return " ".join(f"{name}={getattr(event, name)!r}" for name in names)
