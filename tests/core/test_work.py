"""Runs, and drafts of turns."""

from __future__ import annotations

import pytest

from voiceloop.core.events import Drop, Transcribed
from voiceloop.core.judging import Verdict
from voiceloop.core.policy import Policy
from voiceloop.core.work import Draft, Run, Span, Trial, Work

P = Policy()


def test_a_result_is_taken_while_its_run_lives() -> None:
    it = Work()
    run = it.begin("tts", reply=4, clause=2)
    assert it.accept(run, final=False) == Run(run, "tts", 0, 4, 2)
    assert it.accept(run, final=True) == Run(run, "tts", 0, 4, 2)
    assert it.accept(run, final=True) is None
    assert it.accept(run, final=False) is None
    assert it.accept(99, final=False) is None


def test_dropping() -> None:
    it = Work()
    words, asked, spoken, other = (
        it.begin("stt", turn=1),
        it.begin("handler", reply=1),
        it.begin("tts", reply=1),
        it.begin("tts", reply=-1),
    )
    assert it.drop(reply=1, stage="handler") == [Drop(asked)]
    assert it.drop(reply=1) == [Drop(spoken)]
    assert it.drop(turn=1) == [Drop(words)]
    assert it.drop(turn=1) == []
    assert it.accept(other, final=False) is not None


def test_drafts_are_settled_in_their_order() -> None:
    it = Work()
    it.open(1, P)
    it.open(2, P).words = Transcribed(0, "typed")
    it[2].decided = 0
    assert list(it.settled()) == []
    it[1].decided = 0
    assert list(it.settled()) == []
    assert it.waiting()
    it[1].words = Transcribed(0, "")
    assert [d.turn for d in it.settled()] == [1, 2]
    it.close(1)
    it.close(2)
    assert (it.drafts, it.waiting()) == ([], False)
    with pytest.raises(KeyError):
        it[1]


def test_nobody_waits_for_what_was_silenced() -> None:
    it = Work()
    it.open(1, P).decided = 0
    assert it.waiting()
    it[1].silenced = True
    assert not it.waiting()


def test_only_the_oldest_is_answered_early() -> None:
    it = Work()
    it.open(1, P)
    it.open(2, P)
    it[2].span, it[2].words = Span(0, 0, 10), Transcribed(0, "second")
    assert it.to_answer_early() is None
    it.close(1)
    assert it.to_answer_early() is it[2]
    it[2].reply = 7
    assert it.asked(7) is it[2]
    assert it.to_answer_early() is None


def test_a_draft_that_goes_on_forgets() -> None:
    it = Work()
    it.open(1, P)
    draft = it[1]
    draft.span, draft.words, draft.reply = Span(0, 5, 10), Transcribed(0, "words"), 3
    draft.decided, draft.answered, draft.score = 99, True, 0.5
    draft.failed.add("handler")
    draft.go_on(1)
    assert draft == Draft(1, P, rev=1)


def test_what_may_still_be_tried() -> None:
    draft = Draft(1, Policy(tries=2, max_stt=100, max_chars=10))
    assert draft.early("stt")
    for what, most in (("tries", 2), ("stt", 100), ("chars", 10)):
        setattr(draft.costs, what, most - 1)
        assert draft.affordable
        setattr(draft.costs, what, most)
        assert not draft.early("stt")
        setattr(draft.costs, what, 0)
    draft.costs.tries, draft.lasted = 3, Span(0, 0, 100)
    assert draft.early("stt")
    draft.costs.tries = 4
    assert not draft.early("stt")
    draft.costs.tries = 0
    draft.failed.add("handler")
    assert draft.early("stt")
    assert not draft.early("handler")


def test_a_voice_on_trial_that_goes_on() -> None:
    trial = Trial(100, 0, span=Span(0, 100, 500, spoken=300), words=Transcribed(1, "hm"))
    trial.again(700)
    assert (trial.since, trial.words, trial.spoken) == (100, Transcribed(1, "hm"), 300), "it is not judged yet"
    trial.verdict = Verdict(False, "no words")
    assert trial.dismissed
    trial.again(700)
    assert (trial.since, trial.words, trial.spoken, trial.verdict) == (700, None, 0, None)
    trial.span = Span(0, 100, 900, spoken=350)
    assert trial.glimpse(1000, held=True, lost=False).spoken == 50


def test_the_newest_decided_turn_may_be_reopened() -> None:
    it = Work()
    assert it.reopenable is None
    for turn in (1, 2, 3):
        it.open(turn, P)
    it[1].decided = it[2].decided = 5
    assert (it.reopenable, it.sure_at) == (2, 5)
    it[2].sure = True
    assert it.reopenable == 1
    it[1].trial = Trial(9, 1, reopens=True)
    assert it.sure_at is None, "first it is to be known what the voice wants"
    assert it.get(None) is None
