"""Inputs and the actions that they cause, situation by situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.history import Item
from voiceloop.core.policy import Policy, preset
from voiceloop.core.turns import Turns

LATE = Policy(run_ahead="none")


def kinds(actions) -> list[str]:
    return [type(action).__name__ for action in actions]


# --- question and answer ---


def test_a_question_with_nothing_run_ahead(world) -> None:
    it = world(LATE)
    assert it.speak(1.0) == [ev.SpeechStarted(1, 0), ev.StateChanged("hearing")]
    assert it.quiet(0.6) == [
        ev.SpeechStopped(1, 17600, "silence"),
        ev.Decided(1, 0, 9600, ready=False),
        ev.Transcribe(1, 1, 0, context=0, start=0, end=17600),
        ev.StateChanged("thinking"),
    ]
    assert it.words(" hello ") == [ev.Heard(1, 0, "hello"), ev.Answer(2, 1, 1, 0, "hello", speculative=False)]
    assert it.text("Hi there. And ", final=False) == [
        ev.Synthesize(3, 1, 1, 0, "Hi there."),
        ev.Release(1),
        ev.ReplyStarted(1, 1),
        ev.ReplySaid(1, 0, "Hi there."),
    ]
    assert it.text("more.") == []
    assert it.audio(0.5, final=False) == [ev.StateChanged("speaking")]
    assert it.audio(1.0) == [ev.Synthesize(4, 1, 1, 1, "And more.")]
    assert it.quiet(0.98) == []
    assert it.audio(0.5) == []
    assert it.quiet(0.02) == [ev.ReplySaid(1, 1, "And more.")]
    assert it.quiet(0.5) == [
        ev.ReplyEnded(1, 1, "completed", "Hi there. And more.", "Hi there. And more."),
        ev.StateChanged("listening"),
    ]
    assert it.history() == [("user", "hello"), ("assistant", "Hi there. And more.")]
    assert it.core.idle


def test_what_ran_ahead_is_released_in_the_step_of_the_decision(world) -> None:
    it = world()
    it.speak(1.0)
    assert it.quiet(0.1) == [ev.Transcribe(1, 1, 0, 0, 0, 17600)]
    assert it.words("hello") == [ev.Answer(2, 1, 1, 0, "hello", speculative=True)]
    assert it.text("Hi there. More. Even more.") == [ev.Synthesize(3, 1, 1, 0, "Hi there.")]
    assert it.audio(1.0) == []
    assert it.quiet(0.48) == []
    assert it.quiet(0.02) == [
        ev.SpeechStopped(1, 17600, "silence"),
        ev.Decided(1, 0, 9600, ready=True),
        ev.Heard(1, 0, "hello"),
        ev.Synthesize(4, 1, 1, 1, "More."),
        ev.Release(1),
        ev.ReplyStarted(1, 1),
        ev.ReplySaid(1, 0, "Hi there."),
        ev.StateChanged("speaking"),
    ]


@pytest.mark.parametrize(
    ("run_ahead", "early"),
    [
        ("none", []),
        ("stt", ["Transcribe"]),
        ("handler", ["Transcribe", "Answer"]),
        ("speech", ["Transcribe", "Answer", "Synthesize"]),
    ],
)
def test_work_runs_ahead_as_far_as_the_policy_reaches(run_ahead, early, world) -> None:
    it = world(Policy(run_ahead=run_ahead))
    out = it.speak(1.0) + it.quiet(0.2)
    for step in (lambda: it.words("hello"), lambda: it.text("Hi. Ho.")):
        if it.runs:
            out += step()
    assert kinds(out) == ["SpeechStarted", "StateChanged", *early]


def test_speech_that_goes_on_drops_what_ran_ahead_unseen(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi.", final=False)
    it.text(" Ho.", final=False)
    assert it.speak(0.06) == [ev.Drop(2), ev.Drop(3), ev.Forget(1)]
    assert it.quiet(0.1) == [ev.Transcribe(4, 1, 1, 0, 0, 17600 + 1600 + 960 + 1600)]
    assert it.speak(0.06) == [ev.Drop(4)]
    it.quiet(0.1)
    assert it.words("hello again") == [ev.Answer(6, 2, 1, 2, "hello again", speculative=True)]


def test_after_some_tries_work_runs_ahead_only_where_silence_lasts_and_at_last_not_at_all(world) -> None:
    it = world(Policy(tries=1))
    it.speak(1.0)
    assert kinds(it.quiet(0.2)) == ["Transcribe"]
    it.speak(0.2)
    assert it.quiet(0.2) == []
    assert kinds(it.quiet(0.1)) == ["Transcribe"]
    it.speak(0.2)
    assert it.quiet(0.5) == []
    assert "Transcribe" in kinds(it.quiet(0.2))


def test_words_known_early_are_answered_late_if_the_policy_says_so(world) -> None:
    it = world(Policy(run_ahead="stt"))
    it.speak(1.0)
    it.quiet(0.2)
    assert it.words("hello") == []
    assert ev.Answer(2, 1, 1, 0, "hello", speculative=False) in it.quiet(0.6)


def test_no_words_no_reply(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    assert it.words("  ") == []
    assert it.quiet(0.5) == [
        ev.SpeechStopped(1, 17600, "silence"),
        ev.Decided(1, 0, 9600, ready=False),
        ev.TurnDropped(1, "no words"),
        ev.StateChanged("listening"),
    ]
    assert it.core.idle


def test_a_noise_is_no_turn(world) -> None:
    it = world()
    assert it.speak(0.08) == [ev.SpeechStarted(1, 0), ev.StateChanged("hearing")]
    assert it.quiet(0.7) == [ev.SpeechRejected(1, "too short"), ev.StateChanged("listening")]


# --- stages that fail ---


def test_early_transcription_that_fails_is_tried_again_when_decided(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    assert it.fail("stt") == []
    assert it.quiet(0.3) == []
    assert ev.Transcribe(2, 1, 0, 0, 0, 17600) in it.quiet(0.2)
    assert it.fail("stt") == [
        ev.Notice("stt", "It broke."),
        ev.TurnDropped(1, "failed"),
        ev.Synthesize(3, 1, None, 0, it.policy.sorry_stt),
        ev.Release(1),
        ev.ReplyStarted(1, None),
        ev.ReplySaid(1, 0, it.policy.sorry_stt),
    ]
    it.audio(1.0)
    assert kinds(it.quiet(1.1)) == ["ReplyEnded", "StateChanged"]
    assert it.history() == []


def test_failures_do_not_queue_apologies(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.7)
    it.fail("stt")
    it.speak(1.0)
    it.quiet(0.7)
    it.fail("stt")
    assert len(only(it.finish(), ev.ReplyEnded)) == 1


@pytest.mark.parametrize("stage", ["handler", "tts"])
def test_an_early_answer_that_fails_is_asked_for_again_when_decided(stage, world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    if stage == "tts":
        it.text("Hi. Ho.", final=False)
    dropped = [ev.Drop(2)] if stage == "tts" else []
    assert it.fail(stage) == [*dropped, ev.Forget(1)]
    out = it.quiet(0.5)
    assert [a for a in out if isinstance(a, ev.Answer)] == [ev.Answer(max(it.runs), 2, 1, 0, "hello", False)]


def test_a_handler_that_fails_is_excused(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("Well, I", final=False)
    out = it.fail("handler", "Too busy.")
    assert out[0] == ev.Notice("handler", "Too busy.")
    (ended,) = only(it.finish(), ev.ReplyEnded)
    assert ended.ending == "failed"
    assert ended.heard == f"Well, I {it.policy.sorry_handler}"


def test_a_voice_that_fails_leaves_what_was_played(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("One two three. Four five six. Seven.", final=False)
    it.audio(1.0)
    assert it.fail("tts") == [ev.Notice("tts", "It broke."), ev.Drop(2)]
    (ended,) = only(it.finish(), ev.ReplyEnded)
    assert (ended.ending, ended.heard) == ("failed", "One two three.")
    assert it.history()[-1] == ("assistant", "One two three.")


def test_a_voice_that_fails_in_mid_clause_is_heard_as_far_as_it_came(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("One two three. Four five six.")
    it.audio(1.4)
    it.audio(0.9, final=False)
    it.fail("tts")
    (ended,) = only(it.finish(), ev.ReplyEnded)
    assert (ended.ending, ended.heard) == ("failed", "One two three. Four five")


def test_a_voice_that_fails_at_once_ends_the_reply(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("Hi.")
    assert it.fail("tts") == [
        ev.Notice("tts", "It broke."),
        ev.ReplyEnded(1, 1, "failed", "", ""),
        ev.StateChanged("listening"),
    ]


def test_a_clause_that_fails_while_the_reply_is_held_is_not_told(world, only) -> None:
    """It was asked for, but never made known; telling it used to look for a clause that was gone."""
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("One. Two. Three.")
    it.audio(1.0)
    it.speak(0.2)
    it.fail("tts")
    it.quiet(0.7)
    it.words("")
    assert [a.text for a in only(it.finish(), ev.ReplyEnded, ev.ReplySaid) if isinstance(a, ev.ReplySaid)] == []
    assert it.history()[-1] == ("assistant", "One.")


def test_a_handler_that_gives_nothing_is_told_of(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    assert it.text(" ") == [
        ev.Notice("handler", "The handler gave no answer."),
        ev.ReplyEnded(1, 1, "empty", "", ""),
        ev.StateChanged("listening"),
    ]


def test_a_voice_that_gives_nothing_is_told_of(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("Hi.")
    assert it.audio(0.0)[:2] == [
        ev.Notice("tts", "Speech synthesis made no sound of the reply."),
        ev.ReplyEnded(1, 1, "empty", "Hi.", ""),
    ]


@pytest.mark.parametrize("policy", [LATE, Policy()])
def test_a_reply_without_end_is_cut(policy, world, only) -> None:
    it = world(replace(policy, max_reply_chars=100))
    it.speak(1.0)
    it.quiet(0.65 if policy is LATE else 0.2)
    it.words("hello")
    run = it.run("handler")
    out = it.text("So it goes. " * 8, final=False)
    assert ev.Drop(run) not in out
    out = it.text("So it goes. ", final=False)
    assert ev.Drop(run) in out
    out = it.finish()
    assert only(out, ev.Notice) == [ev.Notice("handler", "The reply was too long; the rest of it was dropped.")]
    (ended,) = only(out, ev.ReplyEnded)
    assert ended.said == "So it goes. " * 8 + "So i"


def test_a_long_announcement_is_cut(world, only) -> None:
    it = world(Policy(max_reply_chars=10))
    it.say("0123456789abc")
    assert only(it.finish(), ev.Notice, ev.ReplyEnded) == [
        ev.Notice("session", "The reply was too long; the rest of it was dropped."),
        ev.ReplyEnded(-1, None, "completed", "0123456789", "0123456789"),
    ]


# --- barge-in ---


def test_a_noise_holds_the_reply_and_it_goes_on(world) -> None:
    it = world()
    it.ask(seconds=4)
    assert it.speak(0.08) == [ev.SpeechStarted(2, it.core.at - 320 - 960), ev.Hold(1), ev.StateChanged("hearing")]
    played = it.played[1]
    assert it.quiet(0.7) == [ev.Resume(1), ev.StateChanged("speaking"), ev.SpeechRejected(2, "too short")]
    assert it.played[1] > played
    it.finish()
    assert it.history() == [("user", "hello"), ("assistant", "Hi there.")]


def test_words_without_meaning_hold_the_reply_until_they_are_known_to_be_none(world) -> None:
    it = world()
    it.ask(seconds=4)
    it.speak(0.5)
    out = it.quiet(0.65)
    assert kinds(out) == ["Drop", "Drop", "Transcribe", "SpeechStopped", "Decided", "StateChanged"]
    assert out[-1] == ev.StateChanged("paused")
    assert it.words("") == [ev.Resume(1), ev.TurnDropped(2, "no words"), ev.StateChanged("speaking")]


def test_a_reply_that_goes_on_over_a_voice_stops_when_there_are_words_after_all(world) -> None:
    it = world()
    it.ask(seconds=4)
    it.speak(0.4)
    it.words("")
    it.speak(0.3)
    it.words("")
    out = it.speak(0.3)
    assert ev.Resume(1) in out
    it.quiet(0.1)
    assert ev.Hush(1) in it.words("but what about tomorrow")


def test_words_stop_the_reply_and_the_handler_knows_what_was_heard(world) -> None:
    it = world()
    it.ask(reply="Once upon a time there was a king.", seconds=4)
    it.quiet(0.8)
    it.speak(0.5)
    it.quiet(0.1)
    assert it.words("stop") == [
        ev.Hush(1),
        ev.ReplyEnded(1, 1, "interrupted", "Once upon a time there was a king.", "Once upon", 18560),
        ev.Answer(7, 2, 2, 0, "stop", speculative=True),
    ]
    assert it.history() == [("user", "hello"), ("assistant", "Once upon")]
    said = "Once upon a time there was a king."
    assert it.core.history.view()[-1] == Item("assistant", "Once upon", 1, 1, said, 18560)


def test_what_was_heard_stands_before_the_words_that_stopped_it(world) -> None:
    """The words come after the decision: they used to be put in front of the reply that they interrupted."""
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("Once upon a time.")
    it.audio(4)
    it.quiet(2)
    it.speak(0.5)
    it.quiet(0.7)
    assert kinds(it.words("stop")) == ["Hush", "StateChanged", "ReplyEnded", "Heard", "Answer"]
    assert it.history() == [("user", "hello"), ("assistant", "Once upon"), ("user", "stop")]


def test_flush_stops_at_the_first_sound(world) -> None:
    it = world(Policy(barge_in="stop"))
    it.ask(seconds=4)
    out = it.speak(0.06)
    assert kinds(out) == ["SpeechStarted", "Hush", "StateChanged", "ReplyEnded"]


def test_off_hears_nothing_until_a_while_after_the_reply(world) -> None:
    it = world(Policy(barge_in="ignore"))
    it.ask(seconds=2)
    assert it.speak(1.5) == []
    out = it.speak(0.44)
    assert kinds(out) == ["ReplyEnded", "StateChanged"]
    assert kinds(it.speak(0.2)) == ["SpeechStarted", "StateChanged"]


def test_off_closes_a_segment_that_went_on_when_the_reply_began(world) -> None:
    it = world(Policy(barge_in="ignore", max_turn=ticks(2)))
    it.speak(2.2)
    it.words("and so on")
    it.text("Yes.")
    it.audio(0.5)
    out = it.speak(0.56)
    assert "Transcribe" in kinds(out)
    assert "ReplyEnded" in kinds(out)
    assert "SpeechStopped" not in kinds(out)
    assert "SpeechStopped" in kinds(it.speak(0.16)), "the tail of the reply is not believed either"


def test_a_reply_is_not_released_over_a_person(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.speak(0.2)
    assert kinds(it.text("Hi.")) == ["Synthesize"]
    assert it.audio(0.5) == []
    out = it.quiet(0.7)
    assert "Release" not in kinds(out), "it may be that more was said"
    assert kinds(it.words("")) == ["TurnDropped", "Release", "ReplyStarted", "ReplySaid", "StateChanged"]


def test_an_answer_not_begun_is_withdrawn_when_there_are_newer_words(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.speak(0.3)
    it.text("Hi.")
    it.quiet(0.7)
    out = it.words("wait")
    assert out == [
        ev.Heard(2, 0, "wait"),
        ev.Drop(3),
        ev.Forget(1),
        ev.ReplyEnded(1, 1, "withdrawn", "Hi.", ""),
        ev.Answer(5, 2, 2, 0, "wait", speculative=False),
    ]
    assert it.history() == [("user", "hello"), ("user", "wait")]


def test_words_that_ended_before_an_announcement_do_not_stop_it(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    assert kinds(it.say("The train is late.")) == ["Synthesize", "Release", "ReplyStarted", "ReplySaid"]
    it.audio(2)
    assert kinds(it.words("hello")) == ["Heard", "Answer"]
    it.text("Hi.")
    it.finish()
    assert it.history() == [("user", "hello"), ("assistant", "The train is late."), ("assistant", "Hi.")]


# --- long and cut turns ---


def test_a_turn_that_is_too_long_is_cut_where_it_is_quiet(world) -> None:
    it = world(Policy(max_turn=ticks(3)))
    it.speak(2.0)
    it.now += FRAME
    it.feed(ev.Voice(FRAME, 0.9, -50.0))
    cut = it.core.at
    out = it.speak(1.1)
    assert out == [
        ev.SpeechStopped(1, cut, "cap"),
        ev.Decided(1, 0, 0, ready=False),
        ev.Transcribe(1, 1, 0, 0, 0, cut),
        ev.StateChanged("thinking"),
        ev.SpeechStarted(2, cut, continues=True),
    ]
    it.words("a long story")
    assert ev.Release(1) in it.text("I see."), "the rest of it does not silence the reply"
    it.audio(0.4)
    assert it.quiet(0.2)[-1] == ev.Transcribe(4, 2, 0, cut, cut, 51520)
    assert ev.Hush(1) in it.words("and its end"), "but its words do"


def test_a_turn_that_is_too_long_may_end_in_a_pause(world) -> None:
    it = world(Policy(max_turn=ticks(1.2), wait=ticks(2)))
    it.speak(1.0)
    assert ev.SpeechStopped(1, 17600, "cap") in it.quiet(0.3)
    assert it.speak(0.06)[0] == ev.SpeechStarted(2, 20800)


def test_speech_that_goes_on_after_a_pause_counts_again(world) -> None:
    it = world(Policy(max_turn=ticks(2)))
    it.speak(2.1)
    it.quiet(0.2)
    assert it.core.feed(ev.Tick(), now=it.now) == []
    assert ev.StateChanged("hearing") in it.speak(0.2)


def test_a_cut_turn_loses_no_sample_when_the_policy_changes(world) -> None:
    it = world(Policy(max_turn=ticks(2)))
    it.speak(1.0)
    it.feed(ev.Configure(Policy(onset=ticks(0.3))))
    started = [a for a in it.speak(1.1) if isinstance(a, ev.SpeechStarted | ev.SpeechStopped)]
    assert started[1] == ev.SpeechStarted(2, started[0].end, continues=True)


def test_commit_ends_the_turn_at_once(world) -> None:
    it = world()
    assert it.feed(ev.Commit()) == []
    it.speak(1.0)
    assert kinds(it.feed(ev.Commit())) == ["SpeechStopped", "Decided", "Transcribe", "StateChanged"]
    assert it.quiet(0.1) == [ev.SpeechStarted(2, 16000, continues=True)], "the hangover"
    assert it.quiet(0.7) == [ev.SpeechRejected(2, "too short")]


def test_commit_in_a_pause_uses_what_ran_ahead(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi.")
    it.audio(0.5)
    out = it.feed(ev.Commit())
    assert out[:2] == [ev.SpeechStopped(1, 17600, "commit"), ev.Decided(1, 0, 3200, ready=True)]
    assert ev.Release(1) in out


def test_a_commit_too_early_loses_nothing(world) -> None:
    it = world()
    it.speak(0.06)
    assert it.feed(ev.Commit())[0] == ev.SpeechRejected(1, "too short")
    assert it.speak(0.02)[0] == ev.SpeechStarted(2, 0)


# --- commands ---


def test_interrupt_when_nothing_happens(world) -> None:
    it = world()
    assert it.feed(ev.Interrupt()) == []


def test_interrupt_while_hearing_changes_nothing_for_the_speaker(world) -> None:
    it = world()
    it.speak(1.0)
    assert it.feed(ev.Interrupt()) == []
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi.")
    assert it.feed(ev.Interrupt()) == [ev.Drop(3), ev.Forget(1)]
    assert ev.Answer(4, 2, 1, 0, "hello", speculative=False) in it.quiet(0.6)


def test_interrupt_while_thinking_keeps_the_words_only(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    assert it.feed(ev.Interrupt()) == [ev.StateChanged("listening")]
    assert it.words("hello") == [ev.Heard(1, 0, "hello"), ev.TurnDropped(1, "interrupted")]
    assert it.history() == [("user", "hello")]


def test_nobody_apologizes_for_words_that_are_not_wanted(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.feed(ev.Interrupt())
    assert it.fail("stt") == [ev.Notice("stt", "It broke."), ev.TurnDropped(1, "failed")]


def test_interrupt_while_the_handler_works(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    assert it.feed(ev.Interrupt()) == [
        ev.Drop(2),
        ev.Forget(1),
        ev.ReplyEnded(1, 1, "withdrawn", "", ""),
        ev.StateChanged("listening"),
    ]


@pytest.mark.parametrize("held", [False, True])
def test_interrupt_while_speaking_stops_and_does_not_begin_again(held, world) -> None:
    """The reply used to be released once more, because what was hushed had not ended yet."""
    it = world()
    it.ask(seconds=4)
    if held:
        it.speak(0.2)
    out = it.feed(ev.Interrupt())
    assert [k for k in kinds(out) if k != "StateChanged"] == ["Hush", "ReplyEnded"]
    it.finish()
    assert kinds(it.quiet(1)) == []


def test_interrupt_of_one_reply(world) -> None:
    """It stops if it is the one that is heard; what was asked for meanwhile is answered."""
    it = world()
    it.ask(seconds=4)
    assert it.feed(ev.Interrupt(7)) == []
    it.say("Dinner is ready.")
    out = it.feed(ev.Interrupt(1))
    assert [k for k in kinds(out) if k != "StateChanged"][:2] == ["Hush", "ReplyEnded"]
    assert "ReplyStarted" in kinds(out + it.finish())
    assert it.feed(ev.Interrupt(1)) == []


def test_interrupt_leaves_what_is_out_of_band(world) -> None:
    it = world()
    it.feed(ev.Respond("which topic?", out_of_band=True))
    assert it.feed(ev.Interrupt()) == []
    assert "completed" in [e.ending for e in it.finish() if isinstance(e, ev.ReplyEnded)]


def test_what_is_there_of_a_reply(world) -> None:
    it = world()
    it.ask(reply="One two three four five six. Seven.", seconds=1)
    assert it.core.whole() is None
    assert it.core.clauses(1) == (("One two three four five six.", 0),)
    it.audio(0.5)
    assert it.core.whole() == (1, ticks(1.5))
    assert it.core.clauses(1) == (("One two three four five six.", 0), ("Seven.", ticks(1)))
    it.finish()
    assert (it.core.whole(), it.core.clauses(1)) == (None, ())


def test_a_reply_that_failed_is_never_whole(world) -> None:
    it = world()
    it.ask(reply="One two three four five six. Seven.", seconds=1)
    it.fail("tts")
    assert it.core.whole() is None


def test_interrupt_between_hush_and_flushed(world) -> None:
    it = world()
    it.ask(seconds=4)
    core, now = it.core, it.now
    out = [action for action in core.feed(ev.Interrupt(), now=now) if not isinstance(action, ev.Trace)]
    assert out == [ev.Hush(1), ev.StateChanged("listening")]
    assert core.feed(ev.Interrupt(), now=now) == []
    core.feed(ev.Respond("typed"), now=now)
    assert kinds(core.feed(ev.Flushed(1, 3200, exact=True), now=now))[0] == "ReplyEnded"


def test_what_is_expected_comes_before_how_it_sounds(world) -> None:
    """Ten digits were there, and a second look at their sound kept the turn open."""
    for expect, looks in (("", 1), ("digits:10", 0)):
        it = world(replace(preset("balanced"), score=True))
        it.say("Go on.", expect=expect)
        it.audio(0.4)
        it.quiet(1.0)
        it.speak(1.0)
        it.quiet(0.2)
        it.words("555-123-4567", finished=0.97)
        it.quiet(0.3)
        assert len(it.all(ev.Score)) == looks


def test_say_speaks_when_the_floor_is_free(world) -> None:
    it = world()
    assert it.say("Attention.") == [
        ev.Synthesize(1, -1, None, 0, "Attention."),
        ev.Release(-1),
        ev.ReplyStarted(-1, None),
        ev.ReplySaid(-1, 0, "Attention."),
        ev.StateChanged("thinking"),
    ]
    assert kinds(it.say("And another.")) == ["Synthesize"]
    it.feed(ev.Prepared(1, 8000, final=True))
    assert it.quiet(0.5) == [
        ev.ReplyEnded(-1, None, "completed", "Attention.", "Attention."),
        ev.Release(-2),
        ev.ReplyStarted(-2, None),
        ev.ReplySaid(-2, 0, "And another."),
        ev.StateChanged("thinking"),
    ]
    it.finish()
    assert it.history() == [("assistant", "Attention."), ("assistant", "And another.")]


def test_say_waits_for_the_speaker_and_for_the_reply(world, only) -> None:
    it = world()
    it.speak(0.5)
    it.say("Attention.")
    out = it.quiet(0.7) + it.words("hello") + it.finish()
    order = [a.reply for a in only(out, ev.ReplyStarted)]
    assert order == [-1, 1], "the announcement is ready first"


def test_nothing_to_say(world) -> None:
    it = world()
    assert it.say(" ... ") == [ev.ReplyEnded(-1, None, "empty", "", "")]


def test_too_many_announcements(world) -> None:
    it = world(Policy(max_says=2))
    it.say("One.")
    it.say("Two.")
    assert it.say("Three.") == [
        ev.Notice("session", "Too many announcements are waiting; the newest one was dropped."),
        ev.Forget(-3),
        ev.ReplyEnded(-3, None, "withdrawn", "", ""),
    ]


@pytest.mark.parametrize("reply", [-1, 0, 7])
def test_an_announcement_needs_an_id_of_its_own(reply, world) -> None:
    it = world()
    it.say("One.")
    with pytest.raises(ValueError, match="not below"):
        it.feed(ev.Say(reply, "Two."))


def test_what_is_being_said_is_not_starved_by_what_waits(world, only) -> None:
    """An apology and an answer in front of it used to keep its next clause from being made, for ever."""
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.7)
    older = it.run("stt")
    it.speak(1.0)
    it.quiet(0.7)
    it.say("One. Two. Three. Four.")
    it.audio(2)
    it.feed(ev.Transcribed(older, "hello"))
    it.fail("stt")
    out = it.finish()
    assert [(a.reply, a.ending) for a in only(out, ev.ReplyEnded)] == [
        (-1, "completed"),
        (2, "completed"),
        (1, "completed"),
    ]


def test_a_typed_turn(world) -> None:
    it = world()
    assert it.feed(ev.Respond(" typed ")) == [
        ev.Heard(1, 0, "typed"),
        ev.Answer(1, 1, 1, 0, "typed", speculative=False),
        ev.StateChanged("thinking"),
    ]
    assert it.feed(ev.Respond("  ")) == [ev.TurnDropped(2, "no words")]
    it.finish()
    assert it.history() == [("user", "typed"), ("assistant", "A late answer.")]


def test_a_typed_turn_interrupts(world) -> None:
    it = world()
    it.ask(seconds=4)
    out = it.feed(ev.Respond("typed"))
    assert [k for k in kinds(out) if k != "StateChanged"] == ["Hush", "ReplyEnded", "Heard", "Answer"]
    assert it.history()[-1] == ("user", "typed")


def test_a_typed_turn_waits_for_the_speaker(world) -> None:
    it = world()
    it.speak(0.5)
    assert it.feed(ev.Respond("typed")) == []
    it.quiet(0.2)
    it.words("spoken")
    out = it.quiet(0.6)
    assert [a.text for a in out if isinstance(a, ev.Heard)] == ["spoken", "typed"]


def test_out_of_band_answers_are_text_only(world) -> None:
    it = world()
    it.ask(seconds=4)
    (asked,) = it.feed(ev.Respond("aside", out_of_band=True))
    assert asked == ev.Answer(4, 2, 2, 0, "aside", speculative=False)
    assert it.text("One. Two", final=False) == [ev.ReplySaid(2, 0, "One.")]
    assert it.text("") == [ev.ReplySaid(2, 1, "Two"), ev.ReplyEnded(2, 2, "completed", "One. Two", "")]
    assert it.history() == [("user", "hello")]


def test_an_out_of_band_answer_that_fails(world) -> None:
    it = world()
    it.feed(ev.Respond("aside", out_of_band=True))
    out = it.fail("handler")
    assert kinds(out) == ["Notice", "ReplySaid", "ReplyEnded"]
    assert out[-1].ending == "failed"


def test_mute_and_unmute(world) -> None:
    it = world()
    assert it.feed(ev.Mute(True)) == [ev.Listen(False), ev.Muted(True)]
    assert it.feed(ev.Mute(True)) == [ev.Listen(False)], "again: nothing new"
    assert it.feed(ev.Mute(False)) == [ev.Listen(True), ev.Muted(False)]


def test_a_new_policy_counts_from_the_next_turn_on(world) -> None:
    it = world(Policy(run_ahead="none"))
    it.speak(1.0)
    it.feed(ev.Configure(Policy(wait=ticks(0.3), sorry_stt="What?")))
    assert it.quiet(0.5) == []
    it.quiet(0.1)
    assert "Synthesize" in kinds(it.fail("stt"))
    assert it.policy.sorry_stt in [a.text for a in it.steps[-1].actions if isinstance(a, ev.ReplySaid)]
    it.finish()
    it.speak(1.0)
    assert "Decided" in kinds(it.quiet(0.3))


def test_a_reply_keeps_the_policy_of_its_turn(world, only) -> None:
    it = world(Policy(run_ahead="none", ahead=0))
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    it.text("One. Two. Three.")
    it.feed(ev.Configure(Policy(ahead=5)))
    it.audio(1.0)
    it.speak(0.08)
    assert only(it.quiet(0.7), ev.Synthesize) == []


def test_silence_gets_a_sign_of_life_once(world, only) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    assert it.quiet(4.98) == []
    assert it.quiet(0.02) == [
        ev.Synthesize(3, 2, None, 0, "One moment."),
        ev.Release(2),
        ev.ReplyStarted(2, None),
        ev.ReplySaid(2, 0, "One moment."),
    ]
    it.audio(0.5)
    assert len(only(it.quiet(20), ev.ReplyStarted)) == 0
    it.text("Here I am.")
    assert it.history() == [("user", "hello")], "and it is no part of the conversation"


def test_the_sign_of_life_needs_no_microphone(world) -> None:
    it = world()
    it.feed(ev.Respond("typed"))
    assert it.wake == 80000
    it.now = 80000
    assert "Release" in kinds(it.feed(ev.Tick()))


def test_no_sign_of_life_where_none_is_wanted(world) -> None:
    it = world(Policy(run_ahead="none", moment=""))
    it.speak(1.0)
    it.quiet(0.6)
    it.words("hello")
    assert it.quiet(20) == []


# --- results that come late, twice, in another order ---


def test_results_of_finished_and_dropped_runs_change_nothing(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi.")
    it.speak(0.2)
    for run in (1, 2, 3, 99):
        for late in (
            ev.Transcribed(run, "x"),
            ev.ReplyText(run, "x"),
            ev.Prepared(run, 1),
            ev.Failed(run, "tts", "x"),
        ):
            assert it.feed(late) == []


def test_a_newer_turn_waits_for_the_words_of_the_older_one(world) -> None:
    it = world(Policy(run_ahead="stt"))
    it.speak(1.0)
    it.quiet(0.7)
    older = it.run("stt")
    it.speak(1.0)
    it.quiet(0.2)
    assert it.words("second") == []
    assert kinds(it.quiet(0.6)) == ["SpeechStopped", "Decided", "StateChanged"]
    out = it.feed(ev.Transcribed(older, "first"))
    assert [k for k in kinds(out) if k not in ("Forget", "Drop")] == [
        "Heard",
        "Answer",
        "Heard",
        "ReplyEnded",
        "Answer",
    ]
    assert it.history() == [("user", "first"), ("user", "second")]


def test_an_older_turn_without_words_lets_the_newer_one_go_on(world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(0.7)
    older = it.run("stt")
    it.speak(1.0)
    it.quiet(0.2)
    assert it.words("second") == [], "not asked early: its history is not whole"
    assert kinds(it.feed(ev.Transcribed(older, ""))) == ["TurnDropped", "Answer"]


def test_played_counts_do_not_go_back(world) -> None:
    it = world()
    it.ask(reply="One two three four.", seconds=2)
    it.quiet(0.9)
    it.feed(ev.Played(1, 10))
    it.feed(ev.Played(99, 10))
    it.feed(ev.Interrupt())
    assert it.history()[-1] == ("assistant", "One two three")


def test_an_exact_count_amends_what_was_heard(world) -> None:
    it = world()
    it.ask(reply="One two three four.", seconds=2)
    it.quiet(0.9)
    it.feed(ev.Interrupt())
    assert it.history()[-1] == ("assistant", "One two three")
    n = 19200 + 480  # no other word, but another sample
    assert it.feed(ev.Flushed(1, n, exact=True)) == [ev.Amend(1, "One two three", n)]
    assert it.feed(ev.Flushed(1, 16000, exact=True)) == [ev.Amend(1, "One two", 16000)]
    assert it.feed(ev.Flushed(1, 16000, exact=True)) == []
    assert it.feed(ev.Flushed(1, 0, exact=False)) == []
    assert it.feed(ev.Flushed(77, 0, exact=True)) == []
    assert it.history()[-1] == ("assistant", "One two")
    it.feed(ev.Flushed(1, 0, exact=True))
    assert it.history() == [("user", "hello")]
    it.feed(ev.Flushed(1, 24000, exact=True))
    assert it.history()[-1] == ("assistant", "One two three")


def test_the_exact_count_of_an_old_reply_is_of_no_use(world) -> None:
    it = world()
    it.ask(seconds=2)
    it.feed(ev.Interrupt())
    for _ in range(10):
        it.say(".")
    assert it.feed(ev.Flushed(1, 16000, exact=True)) == []


# --- the end ---


def test_close_gives_everything_its_last_word(world) -> None:
    it = world(LATE)
    it.speak(1.0)
    it.quiet(0.7)
    it.feed(ev.Respond("typed"))
    it.say("Attention.")
    it.speak(0.5)
    out = it.feed(ev.Close())
    assert kinds(out) == [
        "SpeechRejected",
        "Drop",
        "TurnDropped",
        "Heard",
        "TurnDropped",
        "Hush",
        "Drop",
        "StateChanged",
        "ReplyEnded",
    ]
    assert it.runs == {}
    assert it.core.idle


def test_a_new_core_is_idle() -> None:
    core = Turns(Policy())
    assert core.idle
    assert core.at == 0


# --- a microphone that delivers nothing any more ---


def passes(it, seconds: float) -> list:
    """The session's clock goes on without a frame; its timer goes off when it is due."""
    end, out = it.now + ticks(seconds), []
    while it.wake is not None and it.now < it.wake <= end:
        it.now = it.wake
        out += it.feed(ev.Tick())
    it.now = end
    return out


@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_what_was_said_counts_when_frames_stop(pause, world) -> None:
    it = world()
    it.speak(1.0)
    it.quiet(pause)
    assert passes(it, 1.98) == []
    end = ticks(1.1) if pause else ticks(1.0)
    assert passes(it, 0.02)[:2] == [ev.SpeechStopped(1, end, "stalled"), ev.Decided(1, 0, ticks(pause), ready=False)]
    assert it.core.at == ticks(1.0 + pause)
    it.words("hello")
    it.text("Hi there.")
    assert it.all(ev.ReplyStarted) == [ev.ReplyStarted(1, 1)]
    it.finish()
    assert it.history() == [("user", "hello"), ("assistant", "Hi there.")]


@pytest.mark.parametrize(("text", "sense", "want"), [("", "none", ev.Resume(1)), ("no", "words", ev.Hush(1))])
def test_a_held_reply_goes_on_or_stops_when_frames_stop(text, sense, want, world) -> None:
    it = world()
    it.ask(seconds=4)
    assert ev.Hold(1) in it.speak(0.2)
    assert want not in passes(it, 2.0)
    assert want in it.words(text, sense)
    it.finish()


def test_a_noise_is_nothing_when_frames_stop(world) -> None:
    it = world()
    it.ask(seconds=4)
    assert ev.Hold(1) in it.speak(0.06)
    assert ev.Resume(1) in passes(it, 2.0)
    assert it.all(ev.SpeechRejected) == [ev.SpeechRejected(2, "too short")]


def test_who_is_heard_again_soon_after_frames_stopped_goes_on(world) -> None:
    it = world(Policy(reopen=ticks(1)))
    it.speak(1.0)
    passes(it, 2.5)
    it.speak(0.4)
    assert it.all(ev.SpeechStarted)[-1] == ev.SpeechStarted(1, ticks(1.0))
    it.words("turn on", oldest=True)
    it.words("the light")
    assert [a.rev for a in it.all(ev.Reopened)] == [1]
    it.finish()


def test_frames_that_stop_while_a_reopened_turn_is_spoken(world) -> None:
    it = world(Policy(reopen=ticks(1)))
    it.ask(seconds=4)
    it.speak(0.5)
    passes(it, 2.0)
    it.words("the light")
    assert [a.cause for a in it.all(ev.SpeechStopped)] == ["silence", "stalled"]
    it.finish()
    assert len(it.all(ev.Reopened)) == 1


def test_the_timer_that_watches_for_frames_is_set_seldom(world) -> None:
    it = world()
    it.speak(10.0)
    assert len(it.all(ev.Wake)) <= 6
    assert it.all(ev.SpeechStopped) == []
    assert it.now < it.wake <= it.now + ticks(2)
    it.now = it.wake
    assert it.feed(ev.Tick()) == []
    assert it.wake == ticks(12), "two seconds after the last frame"
    it.quiet(1)
    it.words("hello")
    it.text("Hi.")
    it.finish()
    it.quiet(9)
    assert it.core.idle
    assert len(it.all(ev.Wake)) <= 9, "none while nobody speaks"


def test_nothing_is_missed_while_nobody_speaks(world) -> None:
    it = world()
    it.quiet(1.0)
    it.now += ticks(9)
    assert it.feed(ev.Tick()) == []


def test_the_words_of_a_reply_that_goes_on_can_be_asked_for(world) -> None:
    it = world()
    it.ask("hi", reply="Hello there.", seconds=2.0)
    it.quiet(0.5)
    assert [word for word, _ in it.core.words(1)] == ["Hello", "there."]
    assert it.core.words(99) == ()
