"""Mute and push-to-talk: what the host's switches do to the floor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.test_trials import talking
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy

PLAIN = Policy()
PRESSED = Policy(push_to_talk=True)
DOWN, UP = ev.PushToTalk(True), ev.PushToTalk(False)


def kinds(actions) -> list[str]:
    return [type(action).__name__ for action in actions]


# --- mute ---


def test_a_turn_ends_where_it_is_muted_and_is_answered(world) -> None:
    it = world()
    it.speak(1.0)
    out = it.feed(ev.Mute(True))
    assert kinds(out)[:4] == ["Listen", "Muted", "SpeechStopped", "Decided"]
    assert [a.cause for a in out if isinstance(a, ev.SpeechStopped)] == ["muted"]
    assert it.quiet(1.0) == [], "the hangover begins nothing"
    assert [a.text for a in it.words("hello") if isinstance(a, ev.Answer)] == ["hello"]


@pytest.mark.parametrize("duck", [0.0, 0.3])
def test_a_voice_over_a_reply_does_not_count_when_it_is_muted(world, duck: float) -> None:
    it = talking(world, Policy(duck=duck))
    it.speak(0.3)
    out = it.feed(ev.Mute(True))
    assert ev.SpeechRejected(2, "muted") in out
    assert (ev.Gain(1.0) if duck else ev.Resume(1)) in out
    assert not [a for a in out if isinstance(a, ev.Hush)]


def test_a_voice_that_stopped_the_reply_is_a_turn_when_it_is_muted(world) -> None:
    it = talking(world, replace(PLAIN, barge_in="stop"))
    it.speak(0.4)
    out = it.feed(ev.Mute(True))
    assert [a.cause for a in out if isinstance(a, ev.SpeechStopped)] == ["muted"]


def test_a_voice_soon_after_the_decision_is_judged_by_its_words_when_it_is_muted(world) -> None:
    it = world(Policy(reopen=ticks(1)))
    it.speak(1.0)
    it.quiet(0.7)
    it.words("turn on the light")
    it.speak(0.3)
    assert not [a for a in it.feed(ev.Mute(True)) if isinstance(a, ev.SpeechRejected)]
    assert ev.Reopened in [type(a) for a in it.words("in the kitchen")]


def test_a_voice_that_goes_on_and_is_not_understood_yet_counts_when_the_key_goes_up(world) -> None:
    it = world(Policy(reopen=ticks(1)))
    it.speak(1.0)
    it.quiet(0.7)
    it.words("turn on the light")
    it.feed(DOWN)
    it.speak(0.3)
    assert ev.Reopened in [type(a) for a in it.feed(UP)]


def test_a_sound_too_short_is_none_when_it_is_muted(world) -> None:
    it = world()
    it.speak(0.08)
    assert ev.SpeechRejected(1, "too short") in it.feed(ev.Mute(True))


def test_muting_does_not_undo_a_reply_that_ignores_voices(world) -> None:
    it = talking(world, replace(PLAIN, barge_in="ignore"))
    it.feed(ev.Mute(True))
    it.feed(ev.Mute(False))
    assert it.speak(0.5) == []


# --- push-to-talk ---


def test_nothing_is_heard_while_the_key_is_up(world) -> None:
    it = world(PRESSED)
    assert it.speak(2.0) == []
    assert it.quiet(1.0) == []


def test_the_key_opens_the_ears_and_no_silence_ends_the_turn(world) -> None:
    it = world(PRESSED)
    assert it.feed(DOWN) == [ev.Pressed(True), ev.StateChanged("hearing")]
    assert it.feed(DOWN) == []
    assert kinds(it.speak(1.0)) == ["SpeechStarted"]
    assert kinds(it.quiet(5.0)) == ["Transcribe"]
    assert it.words("well", finished=0.99) == [ev.Answer(2, 1, 1, 0, "well", speculative=True)]
    it.quiet(1.0)
    it.speak(0.5)
    out = it.feed(UP)
    assert kinds(out)[:4] == ["Pressed", "SpeechStopped", "Decided", "Transcribe"]
    (stopped,) = (a for a in out if isinstance(a, ev.SpeechStopped))
    assert stopped.cause == "key"
    assert it.speak(1.0) == [], "who speaks on has let go of it"


def test_the_turn_ends_at_once_with_what_ran_ahead(world) -> None:
    it = world(PRESSED)
    it.feed(DOWN)
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi.")
    it.audio(0.5)
    out = it.feed(UP)
    assert ev.Decided(1, 0, 3200, ready=True) in out
    assert ev.Release(1) in out


def test_sound_from_before_the_press_is_context(world) -> None:
    it = world(PRESSED)
    it.speak(1.0)
    it.feed(DOWN)
    it.speak(1.0)
    (order,) = (a for a in it.feed(UP) if isinstance(a, ev.Transcribe))
    assert order.start == 16000, "the turn begins with the key"
    assert order.context == 16000 - PRESSED.pre_roll


def test_a_key_without_a_voice_is_nothing(world) -> None:
    it = world(PRESSED)
    it.feed(DOWN)
    it.quiet(2.0)
    assert it.feed(UP) == [ev.Pressed(False), ev.StateChanged("listening")]


def test_a_turn_with_the_key_down_still_has_a_longest_length(world) -> None:
    it = world(replace(PRESSED, max_turn=ticks(2)))
    it.feed(DOWN)
    it.speak(1.0)
    assert ev.SpeechStopped(1, 17600, "cap") in it.quiet(1.2)


@pytest.mark.parametrize("barge_in", ["pause", "ignore"])
def test_the_key_holds_the_reply_and_a_voice_then_stops_it(world, barge_in: str) -> None:
    it = talking(world, replace(PLAIN, barge_in=barge_in))
    assert it.feed(DOWN) == [ev.Pressed(True), ev.Hold(1), ev.StateChanged("hearing")]
    out = it.speak(0.5)
    assert kinds(out)[:2] == ["SpeechStarted", "Hush"]
    it.feed(UP)
    assert [a.text for a in it.words("yeah", "backchannel") if isinstance(a, ev.Heard)] == ["yeah"]


def test_a_key_that_is_let_go_in_silence_lets_the_reply_go_on(world) -> None:
    it = talking(world, PLAIN)
    it.feed(DOWN)
    assert it.quiet(1.0) == []
    assert it.feed(UP) == [ev.Pressed(False), ev.Resume(1), ev.StateChanged("speaking")]


def test_the_key_stops_a_reply_where_the_policy_stops(world) -> None:
    it = talking(world, replace(PLAIN, barge_in="stop"))
    assert kinds(it.feed(DOWN))[:2] == ["Pressed", "Hush"]


def test_the_key_leaves_a_reply_alone_that_must_be_heard(world) -> None:
    it = talking(world, replace(PLAIN, barge_in="finish_reply"))
    assert it.feed(DOWN) == [ev.Pressed(True), ev.StateChanged("hearing")]


def test_the_key_joins_a_voice_that_has_the_reply_on_hold(world) -> None:
    it = talking(world, PLAIN)
    it.speak(0.3)
    out = it.feed(DOWN)
    assert ev.Hush(1) in out, "the voice on trial wants the floor: so the key says"


def test_no_reply_begins_while_the_key_is_down(world) -> None:
    it = world(PRESSED)
    it.feed(DOWN)
    assert "Synthesize" in kinds(it.say("Attention please."))
    assert it.audio(1.0) == []
    assert ev.Release(-1) in it.feed(UP)


def test_closing_lets_go_of_the_key(world) -> None:
    it = world(PRESSED)
    it.feed(DOWN)
    it.speak(1.0)
    assert it.feed(ev.Close())[-1] == ev.StateChanged("listening")


@pytest.mark.parametrize("told", [UP, ev.Commit()], ids=["key", "commit"])
def test_who_went_on_and_sounds_like_us_so_far_is_heard_when_told_to_end(world, only, told) -> None:
    """What sounded like our own voice may turn out to be words of a person, and he has said that this is all of it."""
    it = world(Policy(reopen=ticks(1)))
    it.feed(DOWN)
    it.speak(0.4)
    it.quiet(0.2)
    it.feed(ev.PortLost("Gone."))
    it.speak(0.6, echo=0.8)
    it.quiet(0.2)
    assert it.traces("ignored")[-1].because == "own voice"
    did = it.feed(told)
    assert [a.turn for a in only(did, ev.SpeechStopped)] == [1]
    assert [a.turn for a in only(did, ev.Reopened)] == [1]
    assert only(did, ev.SpeechRejected) == []
