"""Voices over replies, before them and soon after a decision, situation by situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.policy import Policy
from voiceloop.core.silence import CHIME

P = Policy(reopen=ticks(1))
SURE = Policy()
STORY = "Once upon a time there was a king who lived far away."


def kinds(actions) -> list[str]:
    return [type(action).__name__ for action in actions]


def talking(world, policy: Policy = P, **wishes: str):
    """A long reply that is heard for two seconds."""
    it = world(policy)
    it.speak(1.0)
    it.quiet(0.2)
    it.words("tell me a story")
    for key, value in wishes.items():
        it.wish(key, value)
    it.text(STORY)
    it.audio(8)
    it.quiet(2.7)
    assert it.played[1] > ticks(1.5)
    return it


def thinking(world, policy: Policy = SURE, **wishes: str):
    """The handler works on a turn that is decided."""
    it = world(policy)
    it.speak(1.0)
    it.quiet(0.2)
    it.words("tell me a story")
    for key, value in wishes.items():
        it.wish(key, value)
    it.quiet(2.0)
    return it


# --- over a reply ---


def test_a_cough_holds_the_reply_and_it_goes_on_from_the_sample(world) -> None:
    it = talking(world)
    out = it.speak(0.26)
    played = it.played[1]
    assert kinds(out)[:2] == ["SpeechStarted", "Hold"]
    it.quiet(0.1)
    assert ev.Resume(1) in it.words("", "none")
    assert it.quiet(0.02) == []
    assert it.played[1] == played + FRAME
    assert it.quiet(0.7)[-1] == ev.SpeechRejected(2, "no words")
    assert [t.because for t in it.traces("ignored")] == ["no words"]
    it.finish()
    assert it.history() == [("user", "tell me a story"), ("assistant", STORY)]


@pytest.mark.parametrize("sense", ["backchannel", "invented"])
def test_what_means_nothing_is_no_turn(sense, world) -> None:
    it = talking(world)
    it.speak(0.26)
    it.quiet(0.1)
    assert it.words("mm-hm", sense) == [ev.Resume(1), ev.StateChanged("speaking")]
    it.quiet(0.7)
    assert it.all(ev.SpeechRejected)[-1].turn == 2
    it.finish()
    assert [text for _, text in it.history()] == ["tell me a story", STORY]
    assert len(it.all(ev.Answer)) == 1


def test_a_word_that_may_be_over_is_looked_at_before_the_pause_says_so(world, only) -> None:
    it = talking(world)
    it.speak(0.26)
    (order,) = only(it.quiet(0.04), ev.Transcribe)
    assert (order.probe, order.end) == (True, it.core.at - FRAME)
    assert it.words("mm-hm", "backchannel") == [], "it may go on"
    out = it.quiet(0.06)
    assert ev.Resume(1) in out
    (again,) = only(out, ev.Transcribe)
    assert (again.probe, again.end) == (False, it.core.at)


def test_a_look_that_missed_only_the_end_of_a_hum_is_enough(world) -> None:
    """With 200 ms for the words, a nod of 0.4 s was known 0.7 s after its first sample at the earliest."""
    it = talking(world)
    it.speak(0.4)
    assert it.words("mm", "backchannel") == [], "it still speaks"
    assert ev.Resume(1) in it.quiet(0.1)
    it.words("mm-hm", "backchannel")
    it.quiet(0.7)
    it.finish()
    assert [text for _, text in it.history()] == ["tell me a story", STORY]


@pytest.mark.parametrize("look", ["of a part", "of all that was voiced"])
@pytest.mark.parametrize(("text", "sense"), [("no", "words"), ("stop", "stop"), ("wait", "wait")])
def test_the_words_of_all_of_it_count_more_than_those_of_a_look(text, sense, look, world) -> None:
    """Whatever the look says, and even if it says so before the pause: they are looked for, and they stop the reply."""
    it = talking(world)
    if look == "of a part":
        it.speak(0.4)
    else:
        it.speak(0.26)
        it.quiet(0.04)
    it.words("mm", "backchannel")
    assert ev.Resume(1) in it.quiet(0.1)
    assert ev.Hush(1) in it.words(text, sense)
    assert len(it.all(ev.SpeechRejected)) == 0


def test_a_look_that_is_late_does_not_replace_the_words_of_all_of_it(world) -> None:
    it = talking(world)
    it.speak(0.26)
    it.quiet(0.1)
    look = it.run("stt", oldest=True)
    assert ev.Resume(1) in it.words("", "none")
    assert ev.Hush(1) not in it.feed(ev.Transcribed(look, "stop", "stop"))
    assert it.quiet(0.7)[-1] == ev.SpeechRejected(2, "no words")
    it.finish()


def test_a_voice_on_trial_is_looked_at_twice_at_a_time_at_most(world) -> None:
    it = talking(world, replace(P, look=ticks(0.1)))
    it.speak(0.5)
    looks = [run for run, order in it.runs.items() if isinstance(order, ev.Transcribe)]
    assert len(looks) == 2
    it.words("", "none", oldest=True)
    assert len(it.all(ev.Transcribe)) == 1 + 3
    it.finish()


def test_a_yeah_that_goes_on_in_the_same_breath_stops_the_reply(world) -> None:
    it = talking(world)
    it.speak(0.3)
    it.quiet(0.1)
    assert ev.Resume(1) in it.words("yeah", "backchannel")
    out = it.quiet(0.2) + it.speak(0.4)
    assert ev.Hold(1) in out
    assert ev.Hush(1) in it.words("yeah but I want")
    assert [t.because for t in it.traces("stopped")] == ["words"]
    it.quiet(0.1)
    it.words("yeah but I want a dragon")
    it.quiet(0.7)
    assert it.all(ev.Heard)[-1] == ev.Heard(2, 1, "yeah but I want a dragon")


def test_a_sentence_after_a_cough_is_judged_by_itself(world) -> None:
    """The cough's empty words used to dismiss it, and nobody looked again."""
    it = talking(world)
    it.speak(0.4)
    it.quiet(0.1)
    it.words("", "none")
    it.quiet(0.4)
    assert ev.Hold(1) in it.speak(0.3)
    assert ev.Hush(1) in it.speak(0.1) + it.words("no the other one")


def test_the_first_look_may_have_missed_the_word(world) -> None:
    """A look at 0.3 s without words used to dismiss a voice that went on speaking."""
    it = talking(world)
    it.speak(0.3)
    it.speak(0.4)
    it.words("", "none", oldest=True)
    out = it.speak(0.3)
    assert ev.Resume(1) not in out
    assert ev.Hush(1) in out
    assert it.traces("stopped")[-1].because == "long voice"


def test_a_hum_is_let_go_and_looked_at_again(world) -> None:
    it = talking(world)
    it.speak(0.62)
    it.words("", "none")
    it.words("", "none")
    assert ev.Resume(1) in it.speak(0.4)
    it.speak(0.3)
    out = it.words("stop that please")
    assert ev.Hush(1) in out
    assert ev.Hold(1) not in out


@pytest.mark.parametrize("duck", [0.0, 0.3])
def test_a_reply_may_be_lowered_instead_of_held(duck, world) -> None:
    it = talking(world, replace(P, duck=duck))
    out = it.speak(0.2)
    assert (ev.Gain(0.3) in out) is (duck > 0)
    assert (ev.Hold(1) in out) is (duck == 0)
    it.quiet(0.1)
    assert (ev.Gain(1.0) if duck else ev.Resume(1)) in it.words("", "none")


def test_the_volume_comes_back_with_the_end_of_a_lowered_reply(world) -> None:
    it = talking(world, replace(P, duck=0.3))
    it.speak(0.4)
    out = it.words("no the other one")
    assert kinds(out)[:2] == ["Hush", "Gain"]
    it = world(replace(SURE, duck=0.3))
    it.ask(reply="One. Two.", seconds=0.5)
    it.audio(0.1)
    out = it.speak(0.5)
    assert out.index(ev.Gain(1.0)) < kinds(out).index("ReplyEnded")
    assert ev.ReplySaid(1, 1, "Two.") in out, "it was heard, if softly"


@pytest.mark.parametrize("how", ["over a reply", "while thinking", "while a tool runs", "soon after a decision"])
def test_stop_stops_whatever_goes_on_and_asks_nobody(how, world) -> None:
    if how == "over a reply":
        it = talking(world)
    elif how == "soon after a decision":
        it = world(P)
        it.ask(seconds=4)
    else:
        it = thinking(world, **({"tool": "search"} if "tool" in how else {}))
    n_answers = len(it.all(ev.Answer))
    it.speak(0.3)
    if how == "soon after a decision":
        it.words("stop", "stop")
        it.quiet(0.8)
    else:
        it.quiet(0.1)
        it.words("stop", "stop")
        it.quiet(0.7)
        assert ev.TurnDropped(2, "stop word") in it.all(ev.TurnDropped)
    (ended,) = it.all(ev.ReplyEnded)
    assert ended.ending == ("withdrawn" if "while" in how else "interrupted")
    assert len(it.all(ev.Answer)) == n_answers
    assert it.all(ev.Reopened) == []
    it.quiet(1)
    assert it.core.idle


def test_wait_stops_the_reply_and_gets_no_answer(world) -> None:
    it = talking(world)
    it.speak(0.4)
    assert ev.Hush(1) in it.words("wait", "wait")
    it.quiet(0.1)
    it.words("wait", "wait")
    it.quiet(0.7)
    assert it.all(ev.TurnDropped) == [ev.TurnDropped(2, "wait word")]
    assert len(it.all(ev.Answer)) == 1


MANNERS = [
    ("stop", ["Hush"]),
    ("pause", ["Hold", "Hush"]),
    ("finish_sentence", ["Hush"]),
    ("finish_reply", []),
    ("ignore", []),
]


@pytest.mark.parametrize("by", ["policy", "handler", "say"])
@pytest.mark.parametrize(("manner", "want"), MANNERS)
def test_words_over_a_reply(manner, want, by, world) -> None:
    it = world(replace(P, barge_in=manner) if by == "policy" else P)
    two = "Once upon a time there was a king. He lived far away."
    if by == "say":
        it.say(two, barge_in=manner)
    else:
        it.speak(1.0)
        it.quiet(0.2)
        it.words("tell me a story")
        if by == "handler":
            it.wish("barge_in", manner)
        it.text(two)
    it.audio(3)
    it.quiet(2)
    if it.runs and manner != "ignore":
        it.audio(2)
    out = it.speak(0.5)
    if manner not in ("stop", "ignore"):
        out += it.words("no the other one")
    elif manner == "ignore":
        assert it.all(ev.SpeechStarted)[1:] == [] if by != "say" else it.all(ev.SpeechStarted) == []
    out += it.speak(1.2)
    assert [k for k in kinds(out) if k in ("Hold", "Hush", "Resume")] == want
    if manner == "finish_sentence":
        (ended,) = [a for a in out if isinstance(a, ev.ReplyEnded)]
        assert (ended.ending, ended.heard) == ("interrupted", "Once upon a time there was a king.")
    if manner == "finish_reply":
        assert [t.because for t in it.traces("kept")] == ["finish_reply"]


def test_a_tool_is_not_stopped_by_what_is_said_meanwhile(world) -> None:
    it = thinking(world, tool="search")
    it.speak(0.5)
    it.quiet(0.1)
    it.words("it is for my sister")
    it.quiet(0.7)
    assert it.all(ev.ReplyEnded) == []
    it.feed(ev.ReplyText(2, "Found it.", final=True))
    it.finish()
    assert [a.turn for a in it.all(ev.ReplyStarted)] == [1, 2]


def test_a_voice_whose_words_come_late_holds_the_reply_for_a_while_only(world) -> None:
    it = talking(world)
    it.speak(0.4)
    out = it.quiet(2.0)
    assert ev.Resume(1) in out
    assert it.traces("ignored")[-1].because == "brief voice"
    assert ev.Hush(1) in it.words("stop", "stop"), "and they count when they come"


def test_a_voice_whose_words_cannot_be_known_is_judged_by_its_length(world) -> None:
    for seconds, stops in ((0.4, False), (0.8, True)):
        it = talking(world)
        it.speak(seconds)
        it.fail("stt")
        it.quiet(0.1)
        assert bool(it.traces("stopped")) is stops
        it.finish()


def test_an_answer_that_is_ready_waits_for_a_cough_only_so_long(world) -> None:
    """It used to wait for the recognizer, however long that took."""
    it = thinking(world)
    it.speak(0.3)
    it.text("Once upon a time.")
    it.audio(1)
    assert ev.Release(1) in it.quiet(2)


# --- reopening ---


def reopened(world, *, before: str, policy: Policy = P):
    """A turn that is decided, and a person who goes on. before: how far its reply got."""
    it = world(policy)
    it.speak(1.0)
    it.quiet(0.2)
    if before != "words":
        it.words("turn on the light")
        it.text("It is on.")
        if before == "sound":
            it.audio(2)
    it.quiet(0.6)
    return it


@pytest.mark.parametrize("before", ["words", "release", "sound"])
def test_a_person_who_goes_on_was_not_finished(before, world) -> None:
    it = reopened(world, before=before)
    it.speak(0.4)
    if before == "words":
        it.words("turn on the light", oldest=True)  # the first part
    it.words("in the kitchen")
    it.quiet(0.1)
    it.words("turn on the light in the kitchen")
    it.text("The kitchen is lit.")
    it.audio(1)
    it.quiet(0.6)
    it.finish()
    (news,) = it.all(ev.Reopened)
    assert (news.turn, news.rev) == (1, 1)
    assert it.all(ev.Heard)[-1] == ev.Heard(1, 1, "turn on the light in the kitchen")
    assert it.history() == [("user", "turn on the light in the kitchen"), ("assistant", "The kitchen is lit.")]
    assert [a.ending for a in it.all(ev.ReplyEnded)] == [*(["withdrawn"] if before != "words" else []), "completed"]
    assert len(it.all(ev.Sure)) == 1
    assert {a.turn for a in it.all(ev.SpeechStarted)} == {1}


def test_a_cough_soon_after_the_decision_changes_nothing(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.3)
    it.quiet(0.1)
    assert ev.Resume(1) in it.words("", "none")
    it.words("", "none")
    it.quiet(0.7)
    it.finish()
    assert it.all(ev.Reopened) == []
    assert it.all(ev.SpeechRejected) == [ev.SpeechRejected(1, "no words")]
    assert it.history() == [("user", "turn on the light"), ("assistant", "It is on.")]


def test_what_a_look_dismissed_reopens_the_turn_when_all_of_it_is_known(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.26)
    it.quiet(0.04)
    it.words("", "none")
    assert ev.Resume(1) in it.quiet(0.1)
    it.words("please")
    assert len(it.all(ev.Reopened)) == 1
    it.finish()
    assert it.all(ev.SpeechRejected) == []


def test_a_noise_while_the_words_are_looked_for_does_not_lose_them(world) -> None:
    it = reopened(world, before="words")
    it.speak(0.08)
    it.quiet(0.7)
    it.words("turn on the light")
    it.finish()
    assert [a.text for a in it.all(ev.Heard)] == ["turn on the light"]


def test_a_sure_turn_is_not_reopened(world) -> None:
    it = reopened(world, before="sound")
    it.quiet(1.0)
    it.speak(0.4)
    it.words("in the kitchen")
    assert it.all(ev.Reopened) == []
    assert it.all(ev.SpeechStarted)[-1].turn == 2


def test_what_has_to_be_sure_is_so_at_the_decision(world) -> None:
    it = world(P)
    it.speak(1.0)
    it.quiet(0.2)
    it.words("pay the bill")
    assert it.wish("sure", "now") == []
    it.quiet(0.52)
    order = kinds(it.all(ev.Decided, ev.Heard, ev.Sure))
    assert order.index("Decided") < order.index("Heard") < order.index("Sure")
    it.speak(0.2)
    assert it.all(ev.SpeechStarted)[-1].turn == 2


def test_a_handler_that_waits_to_be_sure_is_ready(world) -> None:
    it = world(replace(P, late=ticks(3)))
    it.speak(1.0)
    it.quiet(0.2)
    it.words("pay the bill")
    it.wish("sure")
    it.quiet(0.6)
    assert it.all(ev.Decided)
    assert it.all(ev.Sure) == []
    it.quiet(1.0)
    assert it.all(ev.Sure) == [ev.Sure(1, 0)]


def test_reopened_twice_in_a_row(world) -> None:
    it = reopened(world, before="sound")
    for rev, more in ((1, "in the kitchen"), (2, "and the hall")):
        it.speak(0.4)
        it.words(more)
        it.quiet(0.1)
        it.words(f"all the words {rev}")
        it.quiet(0.8)
    assert [a.rev for a in it.all(ev.Reopened)] == [1, 2]
    assert [a.text for a in it.all(ev.Heard)] == ["turn on the light", "all the words 1", "all the words 2"]
    it.finish()
    assert [role for role, _ in it.history()] == ["user", "assistant"]


def test_reopened_by_a_long_voice_whose_words_come_too_late(world) -> None:
    it = reopened(world, before="sound")
    it.speak(1.0)
    assert [t.because for t in it.traces("reopened")] == ["long voice"]


def test_reopening_when_speech_to_text_fails(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.fail("stt")
    it.quiet(0.1)
    assert [t.because for t in it.traces("ignored")] == ["brief voice"]
    it.finish()
    assert len(it.all(ev.Heard)) == 1


@pytest.mark.parametrize("run_ahead", ["none", "speech"])
def test_a_brief_word_after_the_decision_is_looked_at_whatever_runs_ahead(run_ahead, world) -> None:
    """With nothing run ahead its words were never looked for, and the turn hung."""
    it = world(replace(P, run_ahead=run_ahead))
    it.speak(1.0)
    it.quiet(0.8)
    it.words("turn on the light")
    it.speak(0.3)
    it.quiet(0.8)
    it.words("please")
    it.finish()
    assert len(it.all(ev.Reopened)) == 1


def test_commit_decides_a_reopened_turn_at_once(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    out = it.feed(ev.Commit())
    assert ev.Reopened(1, 1, it.all(ev.Reopened)[0].after) in out
    assert "Decided" in kinds(out)
    it.finish()
    assert len(it.all(ev.Heard)) == 2


@pytest.mark.parametrize("how", [ev.Commit(), ev.Close()])
def test_a_voice_that_ended_and_waits_for_its_words_is_closed(how, world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.quiet(0.8)
    out = it.feed(how)
    assert ("Reopened" in kinds(out)) is isinstance(how, ev.Commit)
    assert len(it.all(ev.SpeechStarted)) == len(it.all(ev.SpeechStopped, ev.SpeechRejected))


def test_close_while_a_reopened_turn_is_spoken(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.words("in the kitchen")
    assert ev.TurnDropped(1, "closed") in it.feed(ev.Close())
    assert it.core.idle


def test_at_once_and_too_short_is_still_the_same_turn(world) -> None:
    """With `stop`, a click after the decision reopened the turn and then lost it."""
    it = world(replace(P, barge_in="stop"))
    it.ask(seconds=4)
    it.speak(0.08)
    assert len(it.all(ev.Reopened)) == 1
    it.quiet(0.7)
    it.words("hello")
    it.finish()
    assert it.history() == [("user", "hello"), ("assistant", "A late answer.")]


def test_speech_goes_on_while_the_words_are_awaited(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.quiet(0.8)
    it.speak(0.4)
    assert [t.because for t in it.traces("reopened")][:1] == ["went on"]
    it.finish()


def test_a_typed_turn_overtakes_one_that_might_be_reopened(world) -> None:
    it = reopened(world, before="sound")
    it.feed(ev.Respond("typed"))
    assert ev.Sure(1, 0) in it.all(ev.Sure)
    it.speak(0.4)
    assert it.all(ev.SpeechStarted)[-1].turn == 3


def test_new_words_after_an_interruption_are_answered(world) -> None:
    it = reopened(world, before="words")
    it.feed(ev.Interrupt())
    it.words("turn on the light")
    assert it.all(ev.TurnDropped) == [ev.TurnDropped(1, "interrupted")]
    it.speak(0.5)
    it.quiet(0.1)
    it.words("and now the door")
    it.text("The door is open.")
    it.finish()
    assert it.history() == [
        ("user", "turn on the light"),
        ("user", "and now the door"),
        ("assistant", "The door is open."),
    ]


def test_a_typed_turn_that_is_understood_makes_an_older_one_sure(world) -> None:
    """Its draft was gone at once, and the older turn was reopened after it: the history was out of order."""
    it = world(P)
    it.speak(0.6)
    it.feed(ev.Respond("typed"))
    it.feed(ev.Interrupt())
    it.quiet(0.7)
    it.words("turn on the light")
    assert [a.turn for a in it.all(ev.Heard)] == [1, 2]
    assert ev.Sure(1, 0) in it.all(ev.Sure)
    it.speak(0.4)
    assert it.all(ev.SpeechStarted)[-1].turn == 3
    it.finish()


def test_a_stop_word_after_the_decision_keeps_the_floor_while_it_is_spoken(world) -> None:
    """An announcement began over it, and was stopped by the same word in the same step."""
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.words("stop", "stop")
    it.say("The train is late.")
    it.audio(1.0)
    assert it.all(ev.ReplyStarted)[1:] == []
    it.quiet(0.8)
    assert it.all(ev.SpeechRejected) == [ev.SpeechRejected(1, "stop word")]
    it.finish()
    assert it.all(ev.ReplyEnded)[-1].ending == "completed"


def test_what_is_said_after_a_stop_word_in_the_same_breath_is_judged_anew(world) -> None:
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.words("stop", "stop")
    it.quiet(0.2)
    it.speak(0.4)
    it.words("stop not the light the door")
    assert [t.because for t in it.traces("reopened")] == ["words"]
    it.finish()


def test_the_longest_turn_that_was_reopened_is_not_cut_before_it_was(world) -> None:
    """Its samples began the next turn a second time."""
    it = world(replace(P, max_turn=ticks(2)))
    it.speak(1.7)
    it.quiet(0.12)
    it.feed(ev.Commit())
    it.speak(0.6)
    it.finish()
    first, second = (a for a in it.all(ev.Transcribe) if not a.probe)
    assert (first.turn, second.turn) == (1, 2)
    assert second.context >= first.end


def test_a_reopened_turn_is_listened_to_once_more_by_itself(world) -> None:
    """The silence in which the turn was decided says nothing of the one after what was added."""
    it = reopened(world, before="words", policy=replace(P, score=True))
    it.speak(0.4)
    it.words("turn on the light", oldest=True)
    it.words("in the kitchen")
    assert it.all(ev.Score) == []
    it.quiet(0.1)
    it.words("turn on the light in the kitchen")
    it.quiet(0.25)
    assert [(a.rev, a.end) for a in it.all(ev.Score)] == [(1, ticks(1.0 + 0.8 + 0.4 + 0.3))]
    it.finish()


# --- what is expected ---


@pytest.mark.parametrize("what", ["digits:10", "spelling"])
@pytest.mark.parametrize(("finished", "waits_s"), [(0.3, 2.5), (None, 2.5), (0.7, 0.6)])
def test_a_number_is_waited_for(what, finished, waits_s, world) -> None:
    it = world(SURE)
    it.say("Your number, please.", expect=what)
    it.audio(0.5)
    it.quiet(0.6)
    for expect, silence_s in ((what, waits_s), ("", 0.6)):
        it.speak(1.0)
        it.quiet(0.2)
        assert it.all(ev.Transcribe)[-1].expect == expect
        it.words("four two", finished=finished)
        it.quiet(2.6)
        assert it.all(ev.Decided)[-1].waited == ticks(silence_s)
        it.finish()


@pytest.mark.parametrize("known", ["before", "after"])
def test_an_end_of_turn_model_is_asked_when_the_silence_has_lasted_and_the_words_are_known(known, world) -> None:
    it = world(replace(SURE, score=True, waits=((0.2, ticks(2)), (0.8, ticks(0.4)))))
    it.speak(1.0)
    it.quiet(0.1)
    if known == "before":
        it.words("hello", finished=0.1)
        assert it.all(ev.Score) == []
        it.quiet(0.2)
    else:
        it.quiet(0.2)
        assert it.all(ev.Score) == []
        it.words("hello", finished=0.1)
    (asked,) = it.all(ev.Score)
    assert (asked.turn, asked.rev, asked.start, asked.end) == (1, 0, 0, ticks(1.3))
    it.feed(ev.Scored(asked.run, 0.9))
    it.quiet(0.1)
    assert it.all(ev.Decided)[-1].waited == ticks(0.4), "what it says replaces what the words said"
    assert it.traces("ended")[-1].facts["score"] == 0.9
    assert it.feed(ev.Scored(asked.run, 0.1)) == []
    it.finish()


def test_an_end_of_turn_model_that_fails_is_not_asked_again_until_more_is_said(world) -> None:
    it = world(replace(SURE, score=True, waits=((0.2, ticks(2)), (0.8, ticks(0.4)))))
    it.speak(1.0)
    it.quiet(0.3)
    it.words("hello", finished=0.2)
    assert it.fail("score") == []
    it.quiet(0.4)
    assert len(it.all(ev.Score)) == 1
    it.speak(0.5)
    it.quiet(0.3)
    it.words("hello there", finished=0.2)
    assert [score.rev for score in it.all(ev.Score)] == [0, 1]
    it.finish()


@pytest.mark.parametrize(
    ("text", "score", "p_stop", "n"),
    [
        ("hello", False, None, 0),
        ("hello", False, 0.5, 1),
        ("hello", True, None, 1),
        ("", True, 0.5, 0),
    ],
)
def test_a_turn_is_listened_to_once_more_if_somebody_can_say_more(text, score, p_stop, n, world) -> None:
    it = world(replace(SURE, score=score))
    it.speak(1.0)
    it.quiet(0.1)
    it.feed(ev.Transcribed(it.run("stt"), text, p_stop=p_stop))
    it.quiet(0.2)
    assert len(it.all(ev.Score)) == n
    it.quiet(0.1)
    assert len(it.all(ev.Score)) == n
    it.finish()


# --- dead air ---


def test_the_user_is_asked_whether_he_is_there_only_after_he_has_spoken(world) -> None:
    it = world(replace(SURE, reprompt_after=ticks(3), end_after=ticks(5)))
    it.quiet(4.5)
    assert it.all(ev.ReplyStarted) == []
    it.ask(seconds=1)
    it.quiet(3.9)
    assert [a.text for a in it.all(ev.ReplySaid)][-1] == it.policy.reprompt
    it.audio(0.5)
    it.quiet(5.4)
    assert it.all(ev.End) == []
    it.quiet(0.2)
    assert it.all(ev.End) == [ev.End("idle")]
    it.quiet(9)
    assert len(it.all(ev.End)) == 1
    assert len(it.traces("silence")) == 2


def test_a_muted_microphone_and_work_are_no_silence_of_the_user(world) -> None:
    it = world(replace(SURE, reprompt_after=ticks(1), end_after=ticks(2), moment=""))
    it.feed(ev.Mute(True))
    it.quiet(5)
    it.feed(ev.Mute(False))
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.quiet(9)
    assert it.all(ev.End, ev.ReplyStarted) == []


def test_nothing_to_ask_still_ends(world) -> None:
    it = world(replace(SURE, reprompt_after=ticks(1), reprompt="", end_after=ticks(2)))
    it.ask(seconds=0.5)
    it.quiet(4)
    assert len(it.all(ev.End)) == 1


def test_a_tool_that_takes_long_gets_signs_of_life(world) -> None:
    it = thinking(world, replace(SURE, slow_after=ticks(3), still="Still at it.", still_after=ticks(4)), tool="search")
    it.quiet(2)
    said = [it.policy.moment]
    assert [a.text for a in it.all(ev.ReplySaid)] == said
    for _ in range(2):
        it.audio(0.5)
        it.quiet(4.1)
        said.append("Still at it.")
        assert [a.text for a in it.all(ev.ReplySaid)] == said
    it.feed(ev.HandlerState(2, "tool", ""))
    assert it.all(ev.End) == []


def test_what_ran_ahead_in_vain_is_counted(world) -> None:
    it = world(SURE)
    it.speak(1.0)
    it.quiet(0.2)
    it.words("hello")
    it.text("Hi there.")
    it.audio(0.5)
    it.speak(0.5)
    it.finish()
    (spent,) = it.all(ev.Spent)
    assert spent == ev.Spent(1, 2, 1.1, len("Hi there."), ticks(0.5))


def test_an_answer_out_of_band_is_sure(world) -> None:
    """A handler that waits for that would never go on."""
    it = world(SURE)
    it.feed(ev.Respond("aside", out_of_band=True))
    assert it.all(ev.Sure) == [ev.Sure(1, 0)]


def test_wishes_that_mean_nothing_are_ignored(world) -> None:
    it = thinking(world, barge_in="politely", expect="digits:4")
    it.text("Your number?")
    it.audio(2)
    assert ev.Hold(1) in it.speak(0.2)


def test_a_sign_of_life_may_be_a_sound(world) -> None:
    it = thinking(world, replace(SURE, moment=CHIME, slow_after=ticks(1)))
    assert [a.text for a in it.all(ev.ReplySaid)] == [CHIME]


# --- words that come late ---


def late(world):
    """A brief voice after a decision, whose words are not known in time."""
    it = reopened(world, before="sound")
    it.speak(0.4)
    it.quiet(2.0)
    assert [t.because for t in it.traces("ignored")] == ["brief voice"]
    assert it.all(ev.SpeechRejected) == []
    return it


@pytest.mark.parametrize(("text", "sense"), [("", "none"), ("mm-hm", "backchannel")])
def test_late_words_that_mean_nothing_change_nothing(text, sense, world) -> None:
    it = late(world)
    it.words(text, sense)
    it.words(text, sense)
    assert it.all(ev.SpeechRejected) == [ev.SpeechRejected(1, "backchannel" if text else "no words")]
    assert len(it.traces("ignored")) == 1, "it is told once"


def test_late_words_reopen_the_turn(world) -> None:
    it = late(world)
    it.words("in the kitchen")
    assert len(it.all(ev.Reopened)) == 1
    it.finish()


def test_a_commit_does_not_wait_for_late_words(world) -> None:
    it = late(world)
    assert ev.SpeechRejected(1, "brief voice") in it.feed(ev.Commit())
    assert it.all(ev.Reopened) == []


@pytest.mark.parametrize(("text", "because"), [("", "no words"), ("turn on the light", "interrupted")])
def test_what_was_said_before_a_stop_word_is_dropped_when_the_voice_has_ended(text, because, world) -> None:
    it = reopened(world, before="words")
    it.speak(0.4)
    it.words(text, "words" if text else "none", oldest=True)
    it.words("stop", "stop")
    assert it.all(ev.TurnDropped) == [], "it may go on"
    it.quiet(0.7)
    assert it.all(ev.TurnDropped) == [ev.TurnDropped(1, because)]
    it.finish()


def test_a_voice_on_trial_that_is_cut_in_the_middle_is_judged(world) -> None:
    """It was neither silent nor too long, so that a held reply waited for it for ever."""
    it = world(replace(SURE, max_turn=ticks(2)))
    it.speak(2.1)
    it.words("hello")
    it.text(STORY)
    it.audio(8)
    it.speak(0.6)
    it.quiet(0.14)
    assert it.speak(0.1)[-2] == ev.Hold(1)
    it.speak(0.3)
    it.quiet(0.3)
    it.feed(ev.Transcribed(next(a.run for a in it.all(ev.Transcribe) if a.turn == 2 and a.run in it.runs), "", "none"))
    assert it.all(ev.TurnDropped) == [ev.TurnDropped(2, "no words")]
    it.finish()


def test_the_end_of_a_long_turn_that_was_a_stop_word_is_not_answered(world) -> None:
    """It was asked about early, before anything was said that it could stop."""
    it = world(replace(SURE, max_turn=ticks(2)))
    it.speak(2.1)
    it.words("", "none")
    it.quiet(0.12)
    it.words("stop", "stop")
    assert it.all(ev.Answer) == [ev.Answer(3, 1, 2, 0, "stop", speculative=True)]
    it.say("Attention please.")
    assert it.all(ev.Hush) == [ev.Hush(-1)]
    it.quiet(0.6)
    assert it.all(ev.TurnDropped)[-1] == ev.TurnDropped(2, "stop word")
    assert it.all(ev.Forget) == [ev.Forget(1)]


def test_signs_of_life_do_not_queue_up(world) -> None:
    """The first one is not heard to its end yet when the next is due."""
    it = thinking(world, replace(SURE, slow_after=ticks(1), still="Still at it.", still_after=ticks(1)))
    it.quiet(3)
    assert len(it.traces("silence")) > 2
    assert [a.text for a in it.all(ev.ReplySaid)] == [it.policy.moment]


@pytest.mark.parametrize(("more", "n"), [(0, 0), (1, 1), (9000, 1)])
def test_an_exact_count_that_changes_nothing_is_not_told(more, n, world) -> None:
    """A count beyond the end of the reply is its end, as before."""
    it = talking(world)
    it.finish()
    assert it.all(ev.ReplyEnded)[0].ending == "completed"
    it.feed(ev.Flushed(1, it.played[1] + more, exact=True))
    assert it.all(ev.Amend) == []
    it = talking(world)
    it.feed(ev.Interrupt())
    it.feed(ev.Flushed(1, it.played[1] + more, exact=True))
    assert len(it.all(ev.Amend)) == n


def test_words_over_a_reply_that_is_heard_to_its_end_stand_behind_it(world) -> None:
    """They stood before it, and the handler's next call did not know of the reply at all."""
    it = talking(world, replace(SURE, barge_in="finish_reply"))
    it.speak(0.6)
    it.quiet(0.1)
    it.words("and the queen")
    it.quiet(0.6)
    (first, so_far), (second, part), (third, said) = it.history()
    assert (first, second, third) == ("user", "assistant", "user")
    assert (so_far, said) == ("tell me a story", "and the queen")
    assert part
    assert part != STORY
    assert STORY.startswith(part)
    it.quiet(7)
    assert it.history() == [("user", "tell me a story"), ("assistant", STORY), ("user", "and the queen")]
    it.finish()
    assert [role for role, _ in it.history()] == ["user", "assistant", "user", "assistant"]


def test_the_recognizer_is_told_that_a_voice_is_over_a_reply(world, only) -> None:
    """It weighs the likeliest phrases then, in a look as in the words of all of it; elsewhere it does not."""
    it = world()
    out = it.ask(seconds=4) + it.speak(0.4) + it.quiet(0.1)
    assert [(order.probe, order.over) for order in only(out, ev.Transcribe)] == [
        (False, False),
        (True, True),
        (True, True),
        (False, True),
    ]
