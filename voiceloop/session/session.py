"""One conversation: feeds the core what happens, and carries out what it says in the same step."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.policy import BargeIn, Policy
from voiceloop.core.turns import Turns
from voiceloop.ports import (
    AudioPort,
    Capture,
    EchoCanceller,
    EndOfTurn,
    Handler,
    Observer,
    OtherSound,
    Progress,
    Resampler,
    Synthesizer,
    Tap,
    Transcriber,
    Vad,
)
from voiceloop.session.clock import Clock
from voiceloop.session.ears import Ears
from voiceloop.session.judgement import Language
from voiceloop.session.mind import Deadlines, Mind
from voiceloop.session.mouth import Mouth
from voiceloop.session.observe import News, Ready, Volume, Whole
from voiceloop.session.runs import Runs

_EARLY = 64
"""Inputs that wait while the session does not listen yet."""


log = logging.getLogger("voiceloop.session")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session is made of. Engines may be shared between sessions; port, VAD, echo canceller and taps may not.
    observers: come before those that the session is given."""

    port: AudioPort
    vad: Vad
    transcriber: Transcriber
    handler: Handler
    synthesizer: Synthesizer
    resampler: Callable[[int, int], Resampler]
    echo: EchoCanceller | None = None
    policy: Policy = field(default_factory=Policy)
    deadlines: Deadlines = field(default_factory=Deadlines)
    volume: float = 1.0
    language: Language = field(default_factory=Language)
    end_of_turn: EndOfTurn | None = None
    taps: tuple[Tap, ...] = ()
    observers: tuple[Observer, ...] = ()
    others: OtherSound | None = None


class Session:
    """Runs one conversation on the current event loop. Not thread-safe; see `Assistant` for other threads.

    observers: told every news event of `core.events`, `Level` and `Latency`, in order, within the step.
    strict: a bug in an engine ends the session instead of its turn only.
    """

    def __init__(self, parts: Parts, observers: Sequence[Observer] = (), *, strict: bool = False) -> None:
        policy = _fit(parts.policy, parts)
        self.id = secrets.token_hex(8)
        self.news = News((*parts.observers, *observers), strict=strict)
        self._parts = parts
        self._turns = Turns(policy)
        self._clock = Clock(stepped=parts.port.stepped)
        self._inbox: deque[ev.Input] = deque()
        self._life = _Life()
        self._runs = Runs(self.id, self.feed, strict=strict, tell=self.news.tell)
        self._ears = Ears(parts.vad, parts.echo, self.feed, capacity=_reach(policy), taps=parts.taps, idle=self._idle)
        self._mind = Mind(
            parts.transcriber,
            parts.handler,
            self.feed,
            session=self.id,
            deadlines=parts.deadlines,
            language=parts.language,
            waiting=self._runs.waiting,
        )
        self._mouth = Mouth(
            parts.synthesizer,
            parts.port,
            parts.resampler,
            self.feed,
            spawn=self._runs.spawn,
            waiting=self._runs.waiting,
            timeout_s=parts.deadlines.tts_s,
            volume=parts.volume,
            taps=parts.taps,
        )
        self._effects = self._table()

    async def run(self) -> None:
        """Listens until `close`, or until the input has ended and all is said. May be called once.

        Raises DeviceError when the port cannot be opened, or is lost for good, ProviderError when an engine cannot
        start.
        """
        life, port = self._life, self._parts.port
        if life.begun:
            raise RuntimeError("a session runs once")
        life.begun = True
        try:
            async with asyncio.TaskGroup() as group:
                self._runs.attach(group)
                listening = group.create_task(self._listen(), name="ears")
                try:
                    await life.stop.wait()
                finally:
                    listening.cancel()
                    self._shut()
        except BaseExceptionGroup as several:
            first = _first(several)
            raise first from first.__cause__
        finally:
            life.closed = True
            lost, late = port.xruns
            if lost or late or self.lost:
                log.info("sound: %d blocks lost, %d late, %d samples not fetched in time", lost, late, self.lost)
            await port.close()
            if self._parts.others:
                await self._parts.others.aclose()

    def close(self) -> None:
        """Ends `run` soon: what is said is cut off, all tasks are joined. Idempotent."""
        self._life.stop.set()

    def say(self, text: str, *, barge_in: BargeIn | None = None, expect: str = "") -> int:
        """Speaks a text when the floor is free; the id of the reply, as in its events.

        barge_in: how it may be interrupted, None: as the policy says. expect: what the user will say then, as in
        `TurnView.expect`.
        """
        self._life.said += 1
        said = -self._life.said
        self.feed(ev.Say(said, text, barge_in, expect))
        return said

    def mute(self, on: bool = True) -> None:
        """Stops, or starts again, to believe the microphone."""
        self.feed(ev.Mute(on))

    def push_to_talk(self, down: bool) -> None:
        """The key went down: the user has the floor, and what plays is held. Up: what he said is answered at once."""
        self.feed(ev.PushToTalk(down))

    @property
    def volume(self) -> float:
        """Of everything that is said, 0..1; as loud as that from now on."""
        return self._mouth.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._mouth.volume = volume
        self.news.tell(Volume(self.volume))

    def words(self, reply: int) -> tuple[tuple[str, int], ...]:
        """The words of a reply as far as it is synthesized, each with the sample (at the port's rate) at which it has
        been said: for captions. Empty for a reply that has ended."""
        return self._turns.words(reply)

    def clauses(self, reply: int) -> tuple[tuple[str, int], ...]:
        """The clauses of a reply as far as it is synthesized, each with the sample at which it begins. As `words`."""
        return self._turns.clauses(reply)

    @property
    def lost(self) -> int:
        """Microphone samples lost so far because the session was too slow to fetch them."""
        return self._ears.lost

    def feed(self, event: ev.Input) -> None:
        """One input to the core, and all that it causes, now. Inputs that arise meanwhile follow in order.

        Before the session listens, inputs wait; RuntimeError if there are too many. After its end they are ignored.
        """
        life = self._life
        if life.closed:
            return
        if not life.live and len(self._inbox) >= _EARLY:
            raise RuntimeError("too much is asked of a session that does not listen yet")
        if isinstance(event, ev.Configure):
            event = ev.Configure(_fit(event.policy, self._parts))
            self._ears.keep(_reach(event.policy))
        self._inbox.append(event)
        if life.live and not life.stepping:
            self._work_off()

    def _work_off(self) -> None:
        self._life.stepping = True
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
        finally:
            self._life.stepping = False

    def _step(self, event: ev.Input) -> None:
        now = self._clock.now()
        actions: list[ev.Action] = []
        try:
            actions = self._turns.feed(event, now=now)
        finally:  # what the core failed on is what a recording is for
            troubles = [tap.step(now, self._turns.at, event, actions) for tap in self._parts.taps]
        for action in actions:
            if effect := self._effects.get(type(action)):
                effect(action)
        self.news.see(now, event, actions)
        if (actions or not isinstance(event, ev.Voice)) and (whole := self._turns.whole()) != self._life.whole:
            self._life.whole = whole
            if whole:
                self.news.tell(Whole(*whole))
        for trouble in filter(None, troubles):
            self.news.tell(ev.Notice("session", trouble))

    async def _warm_up(self) -> None:
        parts = self._parts
        async with asyncio.TaskGroup() as group:
            for engine in (parts.transcriber, parts.synthesizer, parts.handler, parts.end_of_turn):
                if engine is not None:
                    group.create_task(engine.warm_up())

    async def _listen(self) -> None:
        parts, life = self._parts, self._life
        port = parts.port
        try:
            await self._warm_up()
            await port.open()
            self._mouth.tune()
            self._clock.start()
            life.live = True
            for tap in parts.taps:
                tap.begin(self.id, _fit(parts.policy, parts), port.out_rate)
            self.news.tell(Ready(self.id))
            self._work_off()
            async with aclosing(port.frames()) as frames:
                async for capture in frames:
                    if (judged := self._take(capture)) is not None:
                        await judged
                    if port.stepped:
                        await self._runs.settled()
                    if port.exhausted and self._idle():
                        break
        finally:
            life.stop.set()

    def _take(self, what: Capture | Progress | ev.PortLost | ev.PortBack | ev.Notice) -> Awaitable[None] | None:
        """What the port tells; what it gives is to be awaited before more is taken."""
        match what:
            case Capture():
                self._clock.advance(what.mic.size)
                return self._ears.hear(what)
            case Progress():
                self._ears.learn(what)
            case ev.Notice():
                self.news.tell(what)
            case _:
                self._life.late = self._life.late if isinstance(what, ev.PortBack) else what.late
                if not self._life.late:
                    self._parts.vad.reset()  # what it heard last is not what comes next
                self.feed(what)
        return None

    def _idle(self) -> bool:
        return self._turns.idle and not self._runs.busy

    async def _tick(self) -> None:
        self.feed(ev.Tick())

    def _shut(self) -> None:
        """The last step: whatever is open gets its last word, and nothing is fed any more."""
        self._clock.stop()
        self._runs.close()
        if self._life.live:
            self.feed(ev.Close())
        self._life.closed = True
        self._mouth.forget_all()

    # --- actions ---

    def _table(self) -> dict[type, Callable[[Any], object]]:
        port, runs, mouth = self._parts.port, self._runs, self._mouth
        return {
            ev.Transcribe: self._transcribe,
            ev.Score: self._score,
            ev.Answer: self._answer,
            ev.Synthesize: lambda a: runs.start(a.run, "tts", a.turn, mouth.synthesize(a), reply=a.reply),
            ev.Drop: lambda a: runs.drop(a.run),
            ev.Forget: lambda a: mouth.forget(a.reply),
            ev.Release: lambda a: mouth.release(a.reply),
            ev.Hold: lambda a: self.feed(ev.Played(a.reply, port.hold(a.reply))),
            ev.Resume: lambda a: port.resume(a.reply),
            ev.Gain: lambda a: mouth.lower(a.factor),
            ev.Hush: self._hush,
            ev.Decided: lambda a: runs.decide(a.turn),
            ev.Reopened: lambda a: runs.decide(a.turn, False),
            ev.Sure: lambda a: self._mind.be_sure(a.turn),
            ev.End: lambda a: self.close(),
            ev.ReplyEnded: lambda a: mouth.forget(a.reply),
            ev.Listen: lambda a: self._ears.believe(a.on),
            ev.StateChanged: self._make_room,
            ev.Wake: lambda a: self._clock.wake(a.now, self._due),
        }

    def _transcribe(self, order: ev.Transcribe) -> None:
        pcm = self._ears.read(order.context, order.end)
        self._runs.start(order.run, "stt", order.turn, self._mind.transcribe(order, pcm))

    def _score(self, order: ev.Score) -> None:
        pcm = self._ears.read(order.start, order.end)
        self._runs.start(order.run, "score", order.turn, self._mind.score(order, pcm, self._parts.end_of_turn))

    def _answer(self, order: ev.Answer) -> None:
        history = self._turns.history.view(order.turn)
        self._runs.start(order.run, "handler", order.turn, self._mind.answer(order, history, self._parts.port.out_rate))

    def _make_room(self, news: ev.StateChanged) -> None:
        """Other programs are lower while somebody speaks or is to speak."""
        if others := self._parts.others:
            others.restore() if news.state == "listening" else others.lower()

    def _due(self) -> None:
        self._runs.spawn(self._tick(), "tick")  # a task, so that a bug in what follows ends the session

    def _hush(self, order: ev.Hush) -> None:
        n = self._parts.port.flush(order.reply)
        self._mouth.forget(order.reply)
        self.feed(ev.Flushed(order.reply, n, exact=False))


@dataclass(slots=True)
class _Life:
    """How far a session is. live: it listens. stepping: an input is being worked off. said: announcements so far. late:
    what is said while the port is lost comes before it is back. whole: as was told last."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False
    live: bool = False
    stepping: bool = False
    closed: bool = False
    said: int = 0
    late: bool = False
    whole: tuple[int, int] | None = None


def _fit(policy: Policy, parts: Parts) -> Policy:
    """The policy as far as the parts go along. A handler with side effects is not asked before the turn is decided,
    and what it did cannot be undone by reopening the turn."""
    policy = replace(policy, score=parts.end_of_turn is not None)
    if parts.handler.early:
        return policy
    return replace(policy, run_ahead="stt" if policy.reaches("handler") else policy.run_ahead, reopen=0)


def _reach(policy: Policy) -> int:
    """How many microphone samples may be asked for again."""
    longest = max(policy.wait, policy.open_wait, policy.late, *(wait for _, wait in policy.waits)) * 2
    return policy.max_turn + policy.pre_roll + longest + policy.reopen + policy.guard_most + 10 * RATE


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    first = several.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", first)) if isinstance(first, BaseExceptionGroup) else first
