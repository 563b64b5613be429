"""Mute, push-to-talk and volume through a whole session."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.session.test_session import Talk
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.session.observe import Volume
from voiceloop.testing import FakeHandler, FakePort, FakeTranscriber, script

PRESSED = Policy(push_to_talk=True)
LONG = FakeHandler({"hello": "One two three four five six seven eight nine ten."})


async def test_only_what_is_said_with_the_key_down_is_heard() -> None:
    talk = Talk(-0.5, 1.0, -1.0, 1.0, -2.0, policy=PRESSED)
    loop, session = asyncio.get_running_loop(), talk.session
    loop.call_later(2.3, session.push_to_talk, True)
    loop.call_later(3.6, session.push_to_talk, False)
    await talk.run()
    assert talk.heard == ["hello"]
    (stopped,) = talk.of(ev.SpeechStopped)
    assert stopped.cause == "key"
    assert ticks(3.5) <= stopped.end <= ticks(3.6)
    (decided,) = talk.of(ev.Decided)
    assert decided.waited <= ticks(0.1)
    assert [e.down for e in talk.of(ev.Pressed)] == [True, False]
    assert talk.endings == [("completed", "You said hello.")]


async def test_a_key_over_a_reply_holds_it_in_the_same_step() -> None:
    talk = Talk(-0.5, 1.0, -8.0, handler=LONG)
    session, held = talk.session, list[int]()

    def press() -> None:
        session.push_to_talk(True)
        held.append(sum(map(len, talk.port.out)))

    loop = asyncio.get_running_loop()
    loop.call_later(3.0, press)
    loop.call_later(4.0, session.push_to_talk, False)
    await talk.run()
    assert [e.state for e in talk.of(ev.StateChanged)][-4:] == ["speaking", "hearing", "speaking", "listening"]
    assert [ending for ending, _ in talk.endings] == ["completed"]


async def test_what_is_said_before_the_mute_is_answered_and_after_it_nothing_is_heard() -> None:
    stt = FakeTranscriber(["hello"])
    talk = Talk(-0.5, 3.0, -2.0, stt=stt)
    asyncio.get_running_loop().call_later(1.5, talk.session.mute)
    await talk.run()
    assert talk.heard == ["hello"]
    assert [e.on for e in talk.of(ev.Muted)] == [True]
    assert stt.heard[-1] == pytest.approx(1.3, abs=0.1)


async def test_the_users_volume_and_that_of_the_moment_go_together() -> None:
    stt = FakeTranscriber(["hello", *[""] * 8])
    port = FakePort(script(-0.5, 1.0, -1.8, 1.0, -8.0))
    talk = Talk(port=port, stt=stt, handler=LONG, policy=replace(Policy(), duck=0.2, judge=ticks(0.8)), volume=0.5)
    lowered: list[bool] = []

    def louder() -> None:
        lowered.append(talk.session.volume == 0.5 and len(port.gains) == 2)
        talk.session.volume = 1.0

    asyncio.get_running_loop().call_later(3.7, louder)
    await talk.run()
    assert lowered == [True]
    assert port.gains == [pytest.approx(gain) for gain in (0.5, 0.1, 0.2, 1.0)]
    assert [e.volume for e in talk.of(Volume)] == [1.0]


async def test_a_volume_is_cut_to_what_one_can_be() -> None:
    talk = Talk(-0.5)
    talk.session.volume = 3.0
    assert talk.session.volume == 1.0
    await talk.run()
    assert talk.port.gains[-1] == 1.0


class Neighbours:
    """Notes when they are lowered, restored, closed."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def lower(self) -> None:
        self.did.append("lower")

    def restore(self) -> None:
        self.did.append("restore")

    async def aclose(self) -> None:
        self.did.append("close")


async def test_others_are_lower_from_the_first_sound_to_the_end_of_the_reply() -> None:
    others = Neighbours()
    await Talk(-0.5, 1.0, -3.0, others=others).run()
    assert others.did[0] == "lower"
    assert others.did[-2:] == ["restore", "close"]
    assert others.did.count("restore") == 1
