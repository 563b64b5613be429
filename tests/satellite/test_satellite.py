"""A satellite and a real server with fake engines, on virtual time: nothing is lost and nothing said twice."""

from __future__ import annotations

import asyncio
from itertools import groupby

import numpy as np
import pytest

from tests.satellite.network import STORY, House, Running, living, network
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, silence, ticks
from voiceloop.errors import LineError
from voiceloop.ports import Capture
from voiceloop.satellite.news import ServerBack, ServerLost
from voiceloop.satellite.satellite import Room
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Level, Ready, Volume
from voiceloop.testing import FakePort, script
from voiceloop.wire import bridge

pytestmark = pytest.mark.virtual

QUESTION = (-0.5, 1.0, -12.0)
FADE = 130
"""Samples that a fade changes, 5 ms, and a little."""


def loud(port: FakePort) -> Pcm:
    """What was played, without silence."""
    out = np.concatenate(port.out)
    return out[out != 0]


def check_whole(me: Running, port: FakePort, stops: int = 0) -> None:
    """That a reply was played from its beginning to its end, each sample once: they count up. stops: how often it may
    have been stopped on its way, each of which is faded."""
    clauses = [event.text for event in me.of(ev.ReplySaid)]
    assert " ".join(clauses) == STORY
    played = loud(port).astype(int)
    n = sum(round(len(clause) * 0.06 * 24_000) for clause in clauses)
    assert n - 2 * stops <= played.size <= n, "a fade may make the one or other sample zero"
    jumps = np.count_nonzero(~np.isin(np.diff(played), (1, -29_999)))
    assert jumps <= len(clauses) + stops * FADE


async def test_a_question_is_answered_through_it() -> None:
    port = FakePort(script(*QUESTION))
    async with network() as joined, living(joined, port) as me:
        assert (await me.until(Ready)).session
        assert (await me.until(ev.Heard)) == ev.Heard(1, 0, "tell me a story")
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard, ended.said) == ("completed", STORY, STORY)
        assert [event.state for event in me.of(ev.StateChanged)][:4] == ["hearing", "thinking", "speaking", "listening"]
        (latency,) = me.of(Latency)
        assert (latency.turn, latency.reply) == (1, ended.reply)
        assert latency.heard_ms > latency.decided_ms > 0
        assert me.of(Level)
        check_whole(me, port)
    assert me.failed is None
    assert (port.opened, port.closed) == (1, 1)


async def test_a_voice_over_the_reply_stops_it_at_the_sample_that_the_server_learns() -> None:
    port = FakePort(script(-0.5, 1.0, -3.0, 1.5, -10.0))
    house = House()
    async with network(house) as joined, living(joined, port) as me:
        first = await me.until(ev.ReplyEnded, ending="interrupted")
        played = loud(port)
        await me.until(ev.ReplyEnded, ending="completed")
        assert STORY.startswith(first.heard)
        assert 5 < len(first.heard) < len(STORY)
        last = [e.heard for e in me.of(ev.ReplyEnded, ev.Amend) if e.reply == first.reply][-1]
        assert abs(len(last) - played.size / (0.06 * 24_000)) < 8, "within a word of what was really heard"
        assert len(me.of(ev.Heard)) == 2


async def test_a_noise_over_the_reply_pauses_it_and_no_sample_is_lost() -> None:
    port = FakePort(script(-0.5, 1.0, -3.0, 0.4, -12.0))
    async with (
        network(House(lambda pcm: "tell me a story" if pcm.size > 0.9 * RATE else "")) as joined,
        living(joined, port) as me,
    ):
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard) == ("completed", STORY)
        assert [event.state for event in me.of(ev.StateChanged)].count("speaking") == 2
        assert '"type":"played"' in "".join(f for f in joined.sent if isinstance(f, str))
        check_whole(me, port, stops=1)


@pytest.mark.parametrize("when", [1.0, 2.0, 3.5, 5.0])
async def test_a_network_that_is_gone_for_3_s_costs_no_word_and_no_sample(when: float) -> None:
    """In the middle of the question, while it thinks, and in the reply."""
    port = FakePort(script(-0.5, 1.0, 0.5, -14.0))
    house = House()
    async with network(house) as joined, living(joined, port) as me:
        await me.until(Ready)
        await asyncio.sleep(when)
        joined.cut()
        lost = await me.until(ServerLost)
        assert lost.kept
        await asyncio.sleep(3.0)
        joined.down = False
        back = await me.until(ServerBack)
        assert back.again
        assert 3.0 <= back.away_s <= 9.0
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard) == ("completed", STORY)
        assert [e.text for e in me.of(ev.Heard)] == ["tell me a story"]
        assert len(me.of(Ready)) == 1
        check_whole(me, port, stops=3)
        (found,) = house.parts
        heard = sum(f.size for f in port.out) // 24_000
        assert heard - 1 <= found.port.n_heard / RATE <= heard + 1, "every sample of the microphone arrived"


async def test_a_line_that_stands_still_is_given_up() -> None:
    port = FakePort(script(*QUESTION))
    async with network() as joined, living(joined, port) as me:
        await me.until(ev.StateChanged, state="speaking")
        joined.pipes[0].still = True
        lost = await me.until(ServerLost)
        assert lost == ServerLost("The server does not answer.", kept=True)
        assert (await me.until(ServerBack)).again
        assert (await me.until(ev.ReplyEnded)).heard == STORY
        check_whole(me, port, stops=3)


async def test_a_session_that_is_gone_is_followed_by_another() -> None:
    port = FakePort(script(-0.5, 1.0, -40.0, 1.0, -10.0))
    async with network(keep_s=5.0) as joined, living(joined, port) as me:
        await me.until(ev.StateChanged, state="speaking")
        joined.cut()
        await asyncio.sleep(20)
        joined.down = False
        back = await me.until(ServerBack)
        assert not back.again
        await me.until(Ready, n=2)
        (ended,) = me.of(ev.ReplyEnded)
        assert (ended.reply, ended.ending, ended.heard) == (1, "interrupted", ""), "it has its end"
        assert STORY.startswith(ended.said)
        ended = await me.until(ev.ReplyEnded, n=2)
        assert (ended.reply, ended.ending) == (1, "completed")
        assert [e.turn for e in me.of(ev.Heard)] == [1, 1]


async def test_a_server_that_stops_is_waited_for() -> None:
    port = FakePort(silence(0))
    async with network() as joined, living(joined, port) as me:
        me.satellite.mute()
        await me.until(Ready)
        joined.known.stop()
        lost = await me.until(ServerLost)
        assert lost == ServerLost("The server has stopped.", kept=False)
        await me.until(Ready, n=2)
        assert [type(e) for e in me.of(ServerBack, Ready)] == [Ready, ServerBack, Ready]
        muted = [f for f in joined.sent if isinstance(f, str) and '"mute"' in f]
        await asyncio.sleep(1)
        assert len(muted) >= 1, "the new session is told"


async def test_a_server_that_is_not_there_is_an_error_at_first() -> None:
    port = FakePort(silence(0))
    async with network() as joined:
        joined.down = True
        async with living(joined, port) as me:
            await me.over.wait()
        assert str(me.failed) == "There is no server."
        assert joined.dialled == 1
        assert port.closed == 1


async def test_a_server_without_room_says_so_at_first_and_is_waited_for_later() -> None:
    async with network(sessions=1) as joined, living(joined, FakePort(silence(0))) as first:
        await first.until(Ready)
        async with living(joined, FakePort(silence(0))) as second:
            await second.over.wait()
        assert str(second.failed) == "All places are taken: try again in a while."


async def test_a_door_that_is_closed_meanwhile() -> None:
    async with network() as joined, living(joined, FakePort(silence(0))) as me:
        await me.until(Ready)
        joined.cut()
        await me.until(ServerLost)
        joined.refusal = LineError("It refuses.", retryable=False)
        await me.over.wait()
        assert str(me.failed) == "It refuses."


@pytest.mark.parametrize(("code", "peaceful"), [(bridge.IDLE, True), (bridge.REPLACED, False), (1011, False)])
async def test_what_ends_a_conversation_ends_the_satellite(code: int, peaceful: bool) -> None:
    async with network() as joined, living(joined, FakePort(silence(0))) as me:
        await me.until(Ready)
        joined.pipes[0].end(code, "")
        await me.over.wait()
        assert (me.failed is None) == peaceful
        assert bool(me.of(ev.Notice)) == peaceful


async def test_the_server_is_told_the_end_and_its_session_is_over() -> None:
    async with network() as joined:
        async with living(joined, FakePort(silence(0))) as me:
            await me.until(Ready)
        assert joined.sent[-1] == '{"type":"end"}'
        await asyncio.sleep(0.1)
        assert joined.known.n == 0


async def test_muted_it_sends_silence_and_both_sides_say_so_once() -> None:
    port = FakePort(script(-0.5, 1.0, -3.0, 1.0, -10.0))
    async with network() as joined, living(joined, port) as me:
        await me.until(Ready)
        me.satellite.mute()
        await asyncio.sleep(3.0)
        sound = np.concatenate([np.frombuffer(f, "<i2") for f in joined.sent if isinstance(f, bytes)])
        assert sound.size > RATE
        assert not sound[FRAME * 5 :].any()
        assert me.of(ev.Muted) == [ev.Muted(True)]
        me.satellite.mute(False)
        assert (await me.until(ev.Heard)).text == "tell me a story"
        assert me.of(ev.Muted) == [ev.Muted(True), ev.Muted(False)]


async def test_push_to_talk_sends_only_what_is_said_while_the_key_is_down() -> None:
    port = FakePort(script(-0.5, 1.5, -1.0, 1.0, -30.0))
    async with network() as joined, living(joined, port, Room(keyed=True)) as me:
        await me.until(Ready)
        await asyncio.sleep(2.5)
        assert not me.of(ev.SpeechStarted, ev.Heard)
        me.satellite.push_to_talk(True)
        await asyncio.sleep(1.6)
        me.satellite.push_to_talk(False)
        assert (await me.until(ev.Heard)).text == "tell me a story"
        assert me.of(ev.Pressed) == [ev.Pressed(True), ev.Pressed(False)]
        assert (await me.until(ev.ReplyEnded)).heard == STORY


async def test_a_key_that_is_let_go_while_the_network_is_gone() -> None:
    port = FakePort(script(-1.0, 1.5, -30.0))
    async with network() as joined, living(joined, port, Room(keyed=True)) as me:
        await me.until(Ready)
        await asyncio.sleep(0.5)
        me.satellite.push_to_talk(True)
        await asyncio.sleep(1.0)
        joined.cut()
        await asyncio.sleep(1.0)
        me.satellite.push_to_talk(False)
        await asyncio.sleep(2.0)
        assert not me.of(ev.Heard)
        joined.down = False
        assert (await me.until(ev.Heard)).text == "tell me a story"
        assert [e.ending for e in [await me.until(ev.ReplyEnded)]] == ["completed"]


async def test_stop_is_heard_at_once_and_the_server_learns_it() -> None:
    port = FakePort(script(*QUESTION))
    async with network() as joined, living(joined, port) as me:
        await me.until(ev.StateChanged, state="speaking")
        await asyncio.sleep(1.0)
        me.satellite.feed(ev.Interrupt())
        n = loud(port).size
        await asyncio.sleep(0.5)
        assert loud(port).size == n
        assert (await me.until(ev.ReplyEnded)).ending == "interrupted"


async def test_volume_is_that_of_this_loudspeaker() -> None:
    port = FakePort(silence(0))
    async with network() as joined, living(joined, port, Room(volume=0.8)) as me:
        await me.until(Ready)
        me.satellite.volume = 2.0
        assert me.satellite.volume == 1.0
        assert port.gains == [0.8, 1.0]
        assert me.of(Volume) == [Volume(1.0)]


async def test_a_device_that_is_lost_in_a_sentence_and_comes_back() -> None:
    """The server hears nothing meanwhile, and takes it for a line that stands still."""
    port = FakePort(script(-0.5, 1.0, 1.0, -14.0), away={60: 4.0})
    async with network() as joined, living(joined, port) as me:
        lost = await me.until(ev.DeviceLost)
        assert lost.reason == "The sound device was lost."
        assert (await me.until(ev.DeviceBack)) == ev.DeviceBack("fake", ticks(4.0))
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard) == ("completed", STORY)
        assert not me.of(ServerLost)


async def test_a_device_that_is_lost_in_a_reply_goes_on_at_the_sample() -> None:
    port = FakePort(script(*QUESTION), away={200: 4.0})
    async with network() as joined, living(joined, port) as me:
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard) == ("completed", STORY)
        check_whole(me, port, stops=3)


class _Halving:
    """A canceller that leaves half of all there is."""

    def __init__(self, doubt: float = 0.0) -> None:
        self.doubt = doubt

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        return mic // 2


async def test_the_echo_is_cancelled_here() -> None:
    port = FakePort(script(-0.5, 1.0, -10.0), echo=0.001)
    async with network() as joined, living(joined, port, Room(echo=_Halving())) as me:
        assert (await me.until(ev.Heard)).text == "tell me a story"
        loudest = max(np.abs(np.frombuffer(f, "<i2")).max() for f in joined.sent if isinstance(f, bytes))
        assert loudest <= np.abs(script(-0.5, 1.0)).max() // 2 + 1


async def test_what_the_canceller_thinks_of_what_it_left_is_known_to_the_server() -> None:
    """Frame for frame: the core judges by it whether a voice is its own."""
    port = FakePort(script(-12.0), echo=0.001)
    house, canceller = House(), _Halving()
    async with network(house) as joined, living(joined, port, Room(echo=canceller)) as me:
        await me.until(Ready)
        for doubt, seconds in ((0.9, 0.5), (0.3, 0.2), (0.0, 0.5)):
            canceller.doubt = doubt
            await asyncio.sleep(seconds)
        joined.cut()
        canceller.doubt = 0.6
        await asyncio.sleep(0.4)
        joined.down, canceller.doubt = False, 0.0
        await me.until(ServerBack)
        await asyncio.sleep(1.0)
    doubts = [(doubt, len(list(same))) for doubt, same in groupby(house.tap.doubts)]
    assert [doubt for doubt, _ in doubts] == [0.0, 0.9, 0.3, 0.0, 0.6, 0.0]
    assert all(abs(n - wanted) <= 1 for (_, n), wanted in zip(doubts[1:5], (25, 10, 25, 20), strict=True))


async def test_without_a_canceller_the_microphone_does_not_count_while_something_plays() -> None:
    port = FakePort(script(-0.5, 1.0, -14.0), echo=0.5)
    async with network() as joined, living(joined, port, Room(open=False)) as me:
        ended = await me.until(ev.ReplyEnded)
        assert (ended.ending, ended.heard) == ("completed", STORY)
        assert [e.text for e in me.of(ev.Heard)] == ["tell me a story"]


class _Others:
    """Other programs: what was done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def lower(self) -> None:
        self.done.append("lower")

    def restore(self) -> None:
        self.done.append("restore")

    async def aclose(self) -> None:
        self.done.append("close")


async def test_other_programs_are_lower_while_somebody_speaks() -> None:
    others = _Others()
    async with network() as joined, living(joined, FakePort(script(*QUESTION)), Room(others=others)) as me:
        await me.until(ev.ReplyEnded)
        await me.until(ev.StateChanged, state="listening")
    assert others.done[0] == "lower"
    assert others.done[-2:] == ["restore", "close"]


async def test_a_microphone_that_ends_ends_it() -> None:
    class Short(FakePort):
        async def frames(self):
            yield Capture(silence(FRAME))

    async with network() as joined, living(joined, Short(silence(0))) as me:
        await me.over.wait()
    assert me.failed is None
