"""A device that is lost and comes back, as the core sees it: the conversation waits, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core import test_trials
from tests.core.test_trials import talking
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.core.silence import CHIME

LOST, BACK = ev.PortLost("The cable is out."), ev.PortBack("USB Audio")
SURE = replace(test_trials.SURE, back="")
TELLING = replace(SURE, back=CHIME)


def away(it, seconds: float):
    """The device is gone for a while: no frame comes."""
    it.feed(LOST)
    for _ in range(round(seconds)):
        it.now += ticks(1)
        it.feed(ev.Tick())
    return it.feed(BACK)


def test_it_is_told_with_the_time_that_it_took(world) -> None:
    it = world(SURE)
    it.quiet(1)
    assert it.feed(LOST) == [ev.DeviceLost("The cable is out.")]
    it.now += ticks(3)
    assert it.feed(BACK) == [ev.DeviceBack("USB Audio", ticks(3))]


def test_twice_is_once(world) -> None:
    it = world(SURE)
    assert it.feed(BACK) == []
    it.feed(LOST)
    assert it.feed(ev.PortLost("And again.")) == []
    it.feed(BACK)
    assert it.feed(BACK) == []


def test_what_was_said_until_then_is_answered_when_it_is_back(world, only) -> None:
    it = world(SURE)
    it.speak(1.0)
    at = it.core.at
    (stopped,) = only(it.feed(LOST), ev.SpeechStopped)
    assert (stopped.end, stopped.cause) == (at, "stalled")
    it.words("what time is it")
    it.text("It is ten.")
    it.audio(1.0)
    it.now += ticks(60)
    it.feed(ev.Tick())
    assert not it.all(ev.Release), "nobody would hear it"
    assert it.core.at == at
    assert only(it.feed(BACK), ev.Release)
    it.finish()
    (ended,) = it.all(ev.ReplyEnded)
    assert (ended.ending, ended.heard) == ("completed", "It is ten.")
    assert it.history() == [("user", "what time is it"), ("assistant", "It is ten.")]


def test_who_speaks_while_the_network_is_away_is_one_turn_with_what_comes_late(world, only) -> None:
    it = world(SURE)
    it.speak(1.0)
    assert only(it.feed(replace(LOST, late=True)), ev.SpeechStopped) == []
    for _ in range(5):
        it.now += ticks(1)
        assert it.feed(ev.Tick()) == []
    it.speak(1.5)  # all of it comes at once, and is heard before the connection counts as back
    it.feed(BACK)
    it.quiet(1.5)
    it.words("what time is it on the moon")
    it.finish()
    assert [stopped.cause for stopped in it.all(ev.SpeechStopped)] == ["silence"]
    assert it.history()[0] == ("user", "what time is it on the moon")


def test_who_is_silent_after_the_network_was_away_is_waited_for_as_ever(world, only) -> None:
    it = world(SURE)
    it.speak(1.0)
    it.feed(replace(LOST, late=True))
    it.now += ticks(9)
    it.feed(BACK)
    it.now += ticks(9)
    assert [stopped.cause for stopped in only(it.feed(ev.Tick()), ev.SpeechStopped)] == ["stalled"]


def test_a_reply_is_held_and_goes_on_where_it_was(world, only) -> None:
    it = talking(world, SURE)
    (reply,) = {a.reply for a in it.all(ev.Release)}
    before = it.played[reply]
    done = it.feed(LOST)
    assert only(done, ev.Hold, ev.StateChanged) == [ev.Hold(reply), ev.StateChanged("paused")]
    assert [t.because for t in it.traces("paused")] == ["device lost"]
    it.now += ticks(60)
    assert it.feed(ev.Tick()) == []
    assert it.played[reply] == before
    assert only(it.feed(BACK), ev.Resume, ev.Release) == [ev.Resume(reply)]
    assert [t.because for t in it.traces("resumed")] == ["device back"]
    it.finish()
    (ended,) = it.all(ev.ReplyEnded)
    assert (ended.ending, ended.cut_at) == ("completed", None)


def test_a_reply_that_was_lowered_is_held_at_its_own_volume(world, only) -> None:
    it = talking(world, replace(SURE, duck=0.3))
    (reply,) = {a.reply for a in it.all(ev.Release)}
    it.speak(0.4)
    assert only(it.feed(LOST), ev.Gain, ev.Hold) == [ev.Gain(1.0), ev.Hold(reply)]
    it.words("mm-hm", "backchannel")
    assert not it.all(ev.Resume)
    assert only(it.feed(BACK), ev.Gain, ev.Resume) == [ev.Resume(reply)]


def test_a_reply_held_for_a_voice_stays_held_until_both_are_settled(world, only) -> None:
    it = talking(world, SURE)
    it.speak(0.4)
    assert len(it.all(ev.Hold)) == 1
    assert not only(it.feed(LOST), ev.Hold), "it is held already"
    assert not only(it.feed(BACK), ev.Resume), "what was said over it is not known yet"
    it.words("mm-hm", "backchannel")
    assert len(it.all(ev.Resume)) == 1


def test_what_was_said_over_a_reply_before_the_loss_still_stops_it(world) -> None:
    it = talking(world, SURE)
    it.speak(0.4)
    it.feed(LOST)
    it.words("and the queen")
    assert [a.ending for a in it.all(ev.ReplyEnded)] == ["interrupted"]
    it.feed(BACK)
    it.text("She was old.")
    it.finish()
    assert it.history()[-1] == ("assistant", "She was old.")


@pytest.mark.parametrize(
    "policy",
    [replace(SURE, reprompt_after=ticks(2)), replace(SURE, end_after=ticks(2))],
    ids=["reprompt", "end"],
)
def test_nobody_is_asked_who_cannot_be_heard(world, policy: Policy) -> None:
    it = world(policy)
    it.ask(seconds=0.5)
    it.quiet(0.5)
    away(it, 60)
    assert not it.traces("silence")
    it.quiet(1.5)
    assert not it.traces("silence"), "the silence begins anew"
    it.quiet(2)
    assert len(it.traces("silence")) == 1


def test_nobody_is_asked_to_wait_for_an_answer_that_he_could_not_hear(world) -> None:
    it = world(replace(SURE, slow_after=ticks(2)))
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.quiet(0.7)
    away(it, 30)
    assert not it.traces("silence")


def test_a_sound_tells_that_it_is_back(world) -> None:
    it = world(TELLING)
    it.quiet(1)
    away(it, 3)
    assert [a.text for a in it.all(ev.Synthesize)] == [CHIME]
    it.finish()
    assert it.history() == []


def test_a_reply_that_goes_on_tells_it_itself(world) -> None:
    it = talking(world, TELLING)
    away(it, 3)
    assert CHIME not in [a.text for a in it.all(ev.Synthesize)]


def test_an_announcement_waits_for_the_device(world, only) -> None:
    it = world(SURE)
    it.feed(LOST)
    it.say("The train is late.")
    it.audio(1.0)
    assert not it.all(ev.Release)
    assert only(it.feed(BACK), ev.Release) == [ev.Release(-1)]


def test_it_can_be_closed_meanwhile(world) -> None:
    it = talking(world, SURE)
    it.feed(LOST)
    it.feed(ev.Close())
    assert it.core.idle
    assert [a.ending for a in it.all(ev.ReplyEnded)] == ["interrupted"]


def test_who_goes_on_right_after_it_goes_on_with_the_same_turn(world) -> None:
    it = world(replace(SURE, reopen=ticks(1)))
    it.speak(1.0)
    it.feed(LOST)
    it.now += ticks(0.3)
    it.feed(BACK)
    it.speak(1.2)
    assert [a.turn for a in it.all(ev.SpeechStarted)] == [1, 1]


def test_pre_roll_reaches_back_over_the_gap(world) -> None:
    it = world(SURE)
    it.quiet(2)
    away(it, 3)
    it.speak(0.5)
    it.quiet(0.2)
    (order,) = it.all(ev.Transcribe)
    assert order.start - order.context == SURE.pre_roll
    assert order.start == ticks(2), "the clock of the microphone stood still"
