"""One conversation: feeds the core what happens, and carries out what it says in the same step."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.policy import Policy
from voiceloop.core.turns import Turns
from voiceloop.errors import DeviceError
from voiceloop.ports import AudioPort, EchoCanceller, Handler, Observer, Resampler, Synthesizer, Transcriber, Vad
from voiceloop.session.clock import Clock
from voiceloop.session.ears import Ears
from voiceloop.session.mind import Deadlines, Mind
from voiceloop.session.mouth import Mouth
from voiceloop.session.observe import News
from voiceloop.session.runs import Runs


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session is made of. Engines may be shared between sessions; the port, VAD and echo canceller may not."""

    port: AudioPort
    vad: Vad
    transcriber: Transcriber
    handler: Handler
    synthesizer: Synthesizer
    resampler: Callable[[int, int], Resampler]
    echo: EchoCanceller | None = None
    policy: Policy = field(default_factory=Policy)
    deadlines: Deadlines = field(default_factory=Deadlines)


class Session:
    """Runs one conversation on the current event loop. Not thread-safe; see `Assistant` for other threads.

    observers: told every news event of `core.events`, `Level` and `Latency`, in order, within the step.
    strict: a bug in an engine ends the session instead of its turn only.
    """

    def __init__(self, parts: Parts, observers: Sequence[Observer] = (), *, strict: bool = False) -> None:
        policy = parts.policy
        self.id = secrets.token_hex(8)
        self.news = News(observers, strict=strict)
        self._parts = parts
        self._turns = Turns(policy)
        self._clock = Clock(lambda: self._turns.at, stepped=parts.port.stepped)
        self._inbox: deque[ev.Input] = deque()
        self._runs = Runs(self.id, self.feed, strict=strict)
        self._ears = Ears(parts.vad, parts.echo, self.feed, capacity=policy.max_turn + policy.pre_roll + 10 * RATE)
        self._mind = Mind(parts.transcriber, parts.handler, self.feed, session=self.id, deadlines=parts.deadlines)
        self._mouth = Mouth(
            parts.synthesizer,
            parts.port,
            parts.resampler,
            self.feed,
            spawn=self._runs.spawn,
            waiting=self._runs.waiting,
            timeout_s=parts.deadlines.tts_s,
        )
        self._effects = self._table()
        self._life = _Life()

    async def run(self) -> None:
        """Listens until `close`, or until the input has ended and all is said. May be called once.

        Raises DeviceError when the port cannot be opened or is lost, ProviderError when an engine cannot start.
        """
        if self._life.stop is not None:
            raise RuntimeError("a session runs once")
        stop = self._life.stop = asyncio.Event()
        port = self._parts.port
        try:
            await self._warm_up()
            await port.open()
            self._clock.start()
            async with asyncio.TaskGroup() as group:
                self._runs.attach(group)
                listening = group.create_task(self._listen(stop), name="ears")
                await stop.wait()
                self._shut()
                listening.cancel()
        finally:
            self._life.closed = True
            await port.close()
        if self._life.lost is not None:
            raise self._life.lost

    def close(self) -> None:
        """Ends `run` soon: what is said is cut off, all tasks are joined. Idempotent."""
        if self._life.stop is not None:
            self._life.stop.set()
        else:
            self._life.closed = True

    def say(self, text: str) -> int:
        """Speaks a text when the floor is free; the id of the reply, as in its events."""
        self._life.said += 1
        self.feed(ev.Say(-self._life.said, text))
        return -self._life.said

    @property
    def lost(self) -> int:
        """Microphone samples lost so far because the session was too slow to fetch them."""
        return self._ears.lost

    def feed(self, event: ev.Input) -> None:
        """One input to the core, and all that it causes, now. Inputs that arise meanwhile follow in order.

        After `close` inputs are ignored.
        """
        if self._life.closed:
            return
        self._inbox.append(event)
        if len(self._inbox) > 1:
            return
        while self._inbox:
            try:
                self._step(self._inbox[0])
            finally:
                self._inbox.popleft()

    def _step(self, event: ev.Input) -> None:
        now = self._clock.now()
        actions = self._turns.feed(event, now=now)
        for action in actions:
            if effect := self._effects.get(type(action)):
                effect(action)
        self.news.see(now, event, actions)

    async def _warm_up(self) -> None:
        parts = self._parts
        try:
            async with asyncio.TaskGroup() as group:
                for engine in (parts.transcriber, parts.synthesizer, parts.handler):
                    group.create_task(engine.warm_up())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _listen(self, stop: asyncio.Event) -> None:
        port = self._parts.port
        try:
            async with aclosing(port.frames()) as frames:
                async for capture in frames:
                    self._ears.hear(capture)
                    if port.stepped:
                        await self._runs.settled()
                    if port.exhausted and self._turns.idle and not self._runs.busy:
                        break
        except DeviceError as exc:
            self._life.lost = exc
        finally:
            stop.set()

    def _shut(self) -> None:
        """The last step: whatever is being said ends, and nothing is fed any more."""
        self.feed(ev.Interrupt())
        self._life.closed = True
        self._clock.stop()
        self._runs.drop_all()
        self._mouth.forget_all()

    # --- actions ---

    def _table(self) -> dict[type, Callable[[Any], object]]:
        port, runs, mouth = self._parts.port, self._runs, self._mouth
        return {
            ev.Transcribe: self._transcribe,
            ev.Answer: self._answer,
            ev.Synthesize: lambda a: runs.start(a.run, "tts", a.turn, mouth.synthesize(a)),
            ev.Drop: lambda a: runs.drop(a.run),
            ev.Forget: lambda a: mouth.forget(a.reply),
            ev.Release: lambda a: mouth.release(a.reply),
            ev.Hold: lambda a: self.feed(ev.Played(a.reply, port.hold(a.reply))),
            ev.Resume: lambda a: port.resume(a.reply),
            ev.Hush: self._hush,
            ev.ReplyEnded: lambda a: mouth.forget(a.reply),
            ev.Listen: lambda a: self._ears.believe(a.on),
            ev.Wake: lambda a: self._clock.wake(a.now, lambda: self.feed(ev.Tick())),
        }

    def _transcribe(self, order: ev.Transcribe) -> None:
        pcm = self._ears.read(order.context, order.end)
        self._runs.start(order.run, "stt", order.turn, self._mind.transcribe(order, pcm))

    def _answer(self, order: ev.Answer) -> None:
        history = self._turns.history.view(order.turn)
        self._runs.start(order.run, "handler", order.turn, self._mind.answer(order, history))

    def _hush(self, order: ev.Hush) -> None:
        n = self._parts.port.flush(order.reply)
        self._mouth.forget(order.reply)
        self.feed(ev.Flushed(order.reply, n, exact=False))


@dataclass(slots=True)
class _Life:
    """How far a session is. lost: why its port ended."""

    stop: asyncio.Event | None = None
    closed: bool = False
    lost: DeviceError | None = None
    said: int = 0
