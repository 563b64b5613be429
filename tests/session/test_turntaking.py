"""Turn-taking through a whole session: reopening, waiting to be sure, what handlers ask for, volume, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from tests.session.test_session import Numbers, Talk, sound
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, ticks
from voiceloop.core.policy import Policy
from voiceloop.ports import Capture, TurnView
from voiceloop.session.workers import Workers
from voiceloop.testing import FakeHandler, FakePort, FakeTranscriber, script

pytestmark = pytest.mark.virtual

P = Policy(reopen=ticks(1))
GOES_ON = (-0.5, 1.0, -0.9, 1.0, -8.0)
"""A person who pauses long enough for the reply to begin, and goes on."""


class Doing(FakeHandler):
    """A handler whose reply is a generator of the test's own. `done` holds what it got to."""

    def __init__(self, reply, *, early: bool = True) -> None:
        super().__init__(early=early)
        self._do = reply
        self.done: list[tuple[str, float]] = []

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        self.asked.append(turn)
        async for delta in self._do(self, turn):
            yield delta

    def note(self, what: str) -> None:
        self.done.append((what, round(asyncio.get_running_loop().time(), 2)))


class Inputs:
    """A tap that keeps what the core was fed."""

    def __init__(self) -> None:
        self.fed: list[ev.Input] = []

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        pass

    def mic(self, pcm: Pcm) -> None:
        pass

    def out(self, reply: int, pcm: Pcm) -> None:
        pass

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        self.fed.append(event)


class Stutters(FakePort):
    """A device that delivers nothing for a while. `pauses`: after which frame, and for how many seconds."""

    pauses: tuple[tuple[int, float], ...] = ()

    async def frames(self) -> AsyncGenerator[Capture, None]:
        n, pauses = 0, dict(self.pauses)
        async with aclosing(super().frames()) as frames:
            async for capture in frames:
                yield capture
                n += 1
                await asyncio.sleep(pauses.get(n, 0.0))


def times(*kinds: type) -> tuple[list[tuple[type, float]], Callable[[object], None]]:
    """An observer of when news of these kinds came."""
    seen = list[tuple[type, float]]()

    def observe(event: object) -> None:
        if isinstance(event, kinds):
            seen.append((type(event), round(asyncio.get_running_loop().time(), 2)))

    return seen, observe


async def test_a_person_who_goes_on_is_answered_once_and_nobody_knows_of_the_first_answer() -> None:
    stt = FakeTranscriber(listen=lambda pcm: "the light" if pcm.size < 1.6 * RATE else "the light in the hall")
    talk = await Talk(*GOES_ON, stt=stt, tts=Numbers(), policy=P).run()
    (news,) = talk.of(ev.Reopened)
    assert news.turn == 1
    assert talk.heard == ["the light", "the light in the hall"]
    withdrawn, told = talk.of(ev.ReplyEnded)
    assert (withdrawn.ending, told.ending) == ("withdrawn", "completed")
    assert [t.text for t in talk.handler.asked][-1] == "the light in the hall"
    assert talk.history(-1) == []
    first = talk.port.played[withdrawn.reply]
    assert first > 0
    played = sound(talk.port)
    pieces = np.flatnonzero(np.diff(played.astype(np.int32)) != 1) + 1
    assert pieces[0] == first, "no sample of it after the hush"
    assert played.size == first + talk.port.played[told.reply]


async def test_a_handler_waits_until_the_turn_is_sure() -> None:
    async def pays(handler, turn):
        handler.note("asked")
        await turn.sure()
        handler.note("sure")
        yield "Paid."

    talk = await Talk(-0.5, 1.0, -8.0, handler=Doing(pays), policy=P).run()
    (asked, _), (sure, at) = talk.handler.done
    assert (asked, sure) == ("asked", "sure")
    decided = 0.5 + 1.0 + 0.6
    assert at == pytest.approx(decided + 1.0, abs=0.05)
    assert talk.endings == [("completed", "Paid.")]


async def test_a_handler_that_waits_is_cancelled_when_the_person_goes_on() -> None:
    async def pays(handler, turn):
        try:
            await turn.sure()
            handler.note(turn.text)
            yield "Paid."
        finally:
            handler.cancelled += 1

    stt = FakeTranscriber(listen=lambda pcm: "ten" if pcm.size < 1.6 * RATE else "ten thousand")
    talk = await Talk(*GOES_ON, stt=stt, handler=Doing(pays), policy=P).run()
    assert [what for what, _ in talk.handler.done] == ["ten thousand"]
    assert len(talk.handler.asked) >= 2
    assert talk.handler.cancelled == len(talk.handler.asked)
    assert len(talk.of(ev.Reopened)) == 1


async def test_a_handler_that_cannot_wait_makes_the_turn_sure() -> None:
    async def pays(handler, turn):
        await turn.sure(now=True)
        handler.note(turn.text)
        yield "Paid."

    talk = await Talk(*GOES_ON, handler=Doing(pays), policy=P).run()
    assert talk.handler.done[0] == ("hello", pytest.approx(2.1, abs=0.05))
    assert talk.of(ev.Reopened) == []
    assert {e.turn for e in talk.of(ev.SpeechStarted)} == {1, 2}


async def test_a_tool_on_a_thread_is_known_of() -> None:
    workers = Workers()

    async def searches(handler, turn):
        def search() -> str:
            with turn.tool("search"):
                return "Found it."

        yield await workers.call(search)

    try:
        inputs = Inputs()
        talk = await Talk(-0.5, 1.0, -4.0, handler=Doing(searches), policy=P, taps=(inputs,)).run()
    finally:
        workers.close()
    told = [(e.key, e.value) for e in inputs.fed if isinstance(e, ev.HandlerState)]
    assert told == [("tool", "search"), ("tool", "")]
    assert talk.endings == [("completed", "Found it.")]


async def test_what_was_said_before_the_device_stopped_delivering_is_answered() -> None:
    """It used to be an open turn, and silence, for as long as no frame came."""
    port = Stutters(script(-0.5, 1.0, -2.0))
    port.pauses = ((60, 9.0),)  # in the middle of the second word
    seen, observe = times(ev.SpeechStopped, ev.ReplyStarted)
    talk = await Talk(port=port, policy=P, observers=(observe,)).run()
    (stopped, at), (started, then) = seen[:2]
    assert (stopped, started) == (ev.SpeechStopped, ev.ReplyStarted)
    assert at == pytest.approx(1.2 + 2.0, abs=0.05)
    assert then < 1.2 + 9.0, "it does not wait for the next frame"
    assert talk.of(ev.SpeechStopped)[0].cause == "stalled"
    assert talk.heard[0] == "hello"


@pytest.mark.parametrize(("words", "ending"), [("", "completed"), ("no thanks", "interrupted")])
async def test_a_reply_that_is_held_when_the_device_stops_delivering_goes_on_or_ends(words, ending) -> None:
    port = Stutters(script(-0.5, 1.0, -1.8, 0.4, -12.0))
    port.pauses = ((175, 9.0),)
    long = FakeHandler({"hello": "One two three four five six seven eight nine ten."})
    seen, observe = times(ev.StateChanged)
    stt = FakeTranscriber(["hello", *[words] * 4])
    talk = await Talk(port=port, policy=P, stt=stt, handler=long, observers=(observe,)).run()
    states = [(event.state, at) for event, (_, at) in zip(talk.of(ev.StateChanged), seen, strict=True)]
    held = next(at for state, at in states if state == "hearing" and at > 2)
    free = next(at for state, at in states if state != "hearing" and at > held)
    assert held < 3.5 < free < 3.5 + 2.5, states
    assert talk.endings[0][0] == ending


@pytest.mark.parametrize("away_s", [0.5, 1.9])
async def test_a_short_gap_in_the_frames_is_no_end(away_s) -> None:
    port = Stutters(script(-0.5, 1.0, -4.0))
    port.pauses = ((50, away_s), (60, away_s))
    talk = await Talk(port=port, policy=P).run()
    assert [e.cause for e in talk.of(ev.SpeechStopped)] == ["silence"]
    assert talk.heard == ["hello"]


async def test_what_a_handler_expects_is_waited_for() -> None:
    async def asks(handler, turn):
        turn.expect("digits:4")
        yield "Your number?"

    talk = await Talk(-0.5, 1.0, -3.0, 1.0, -8.0, handler=Doing(asks), policy=P).run()
    first, second = talk.of(ev.Decided)
    assert (first.waited, second.waited) == (ticks(0.6), P.open_wait)


async def test_the_volume_follows() -> None:
    stt = FakeTranscriber(["hello", *[""] * 8])
    port = FakePort(script(-0.5, 1.0, -1.8, 0.3, -8.0))
    long = FakeHandler({"hello": "One two three four five six seven eight nine ten."})
    talk = await Talk(port=port, stt=stt, handler=long, policy=replace(P, duck=0.2), volume=0.5).run()
    assert port.gains == [0.5, pytest.approx(0.1), 0.5]
    assert [ending for ending, _ in talk.endings] == ["completed"]


async def test_a_session_in_which_nobody_speaks_ends() -> None:
    port = FakePort(script(-0.1), ends=False)
    talk = await Talk(port=port, policy=replace(P, end_after=ticks(5))).run()
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)
    assert talk.of(ev.ReplyStarted) == []


async def test_a_handler_with_side_effects_is_neither_asked_early_nor_reopened() -> None:
    talk = await Talk(*GOES_ON, handler=FakeHandler(early=False), policy=P).run()
    assert talk.of(ev.Reopened) == []
    assert [t.text for t in talk.handler.asked] == talk.heard
    assert len(talk.of(ev.Sure)) == len(talk.of(ev.Decided)) == 2


async def test_an_answer_out_of_band_need_not_wait() -> None:
    async def pays(handler, turn):
        await turn.sure()
        yield "Paid."

    talk = Talk(-2.0, handler=Doing(pays), policy=P)
    talk.session.feed(ev.Respond("aside", out_of_band=True))
    await talk.run()
    assert [e.text for e in talk.of(ev.ReplySaid)] == ["Paid."]
