"""How long to wait, and what a voice over a reply wants: small pure policies."""

from __future__ import annotations

import pytest

from voiceloop.core.audio import ticks
from voiceloop.core.endpointing import ended, in_no_hurry, next_pace, patience
from voiceloop.core.judging import Glimpse, judge
from voiceloop.core.policy import PRESETS, Policy, preset

WEIGHED = Policy(wait=7000, waits=((0.2, 16000), (0.6, 8000), (0.8, 4000)), open_wait=40000)


@pytest.mark.parametrize(
    ("finished", "open_end", "pace", "want"),
    [
        (None, False, 1.0, 7000),
        (None, False, 1.5, 10500),
        (None, True, 1.5, 40000),
        (0.9, True, 1.0, 40000),
        (0.0, False, 1.0, 16000),
        (0.2, False, 1.0, 16000),
        (0.4, False, 1.0, 12000),
        (0.6, False, 1.0, 8000),
        (0.7, False, 1.2, 7200),
        (0.8, False, 1.0, 4000),
        (1.0, False, 1.0, 4000),
    ],
)
def test_patience(finished, open_end, pace, want) -> None:
    assert patience(WEIGHED, finished=finished, open_end=open_end, pace=pace) == want


def test_without_a_table_the_words_do_not_matter() -> None:
    assert patience(Policy(wait=5000), finished=0.1, open_end=False, pace=1.0) == 5000


@pytest.mark.parametrize(("wait", "ready", "want"), [(5000, True, 5000), (5000, False, 9000), (12000, False, 12000)])
def test_a_turn_that_is_not_ready_ends_late(wait, ready, want) -> None:
    assert in_no_hurry(Policy(late=9000), wait, ready=ready) == want


@pytest.mark.parametrize(
    ("late", "doubt", "want"),
    [(0, 9600, True), (0, 959, False), (0, 960, True), (1599, 0, False), (1600, 0, True)],
)
def test_a_doubtful_frame_delays_the_end_of_a_turn(late, doubt, want) -> None:
    assert ended(Policy(), late=late, doubt=doubt) is want


def test_the_pace_of_a_speaker_who_is_cut_off() -> None:
    assert next_pace(1.0, reopened=True) == 1.2
    assert next_pace(1.4, reopened=True) == 1.5
    assert 1.4 < next_pace(1.5, reopened=False) < 1.5
    assert next_pace(1.0, reopened=False) == 1.0


def test_presets() -> None:
    assert preset("low") == preset("patient")
    assert preset("high") == preset("quick")
    assert preset("auto") == preset("medium") == preset("balanced")
    quick, balanced, patient = (preset(name) for name in ("quick", "balanced", "patient"))
    for p in (0.0, 0.3, 0.6, 1.0):
        a, b, c = (patience(q, finished=p, open_end=False, pace=1.0) for q in (quick, balanced, patient))
        assert a < b < c
    assert all(preset(name) for name in PRESETS)
    with pytest.raises(KeyError):
        preset("hasty")


def seen(words=None, sense="words", *, known=0.0, spoken=0.3, age=0.3, **more: bool) -> Glimpse:
    sense = sense if words is not None else "none"
    over = more.get("over", False)
    ended, held, lost = more.get("ended", over), more.get("held", True), more.get("lost", False)
    return Glimpse(
        words, sense, ticks(known), ticks(spoken), ticks(age), ended, over, held, lost, more.get("settled", True)
    )


@pytest.mark.parametrize(
    ("glimpse", "want"),
    [
        # words
        (seen(1, "stop"), "stop word, so far"),
        (seen(2, "wait"), "wait word, so far"),
        (seen(2), "words"),
        (seen(1), None),
        (seen(1, over=True), "words"),
        (seen(1, age=0.9), "words"),
        (seen(1, over=True, settled=False), None),
        (seen(1, known=0.2, ended=True, age=0.9), None),
        (seen(2, known=0.2, ended=True), "words"),
        # a backchannel, until it has lasted too long
        (seen(1, "backchannel"), None),
        (seen(1, "backchannel", age=0.9), None),
        (seen(1, "backchannel", over=True), "not: backchannel"),
        (seen(1, "backchannel", over=True, settled=False), "not, so far: backchannel"),
        (seen(1, "backchannel", known=0.2, ended=True, settled=False), "not, so far: backchannel"),
        (seen(1, "backchannel", known=0.2, settled=False), None),
        (seen(1, "backchannel", known=0.1, spoken=0.4, ended=True, settled=False), None),
        (seen(2, "backchannel", age=1.8), "long voice"),
        (seen(1, "backchannel", age=1.8, ended=True), None),
        # no words: known of enough of it, or of all
        (seen(0, "none", known=0.5, spoken=0.5), None),
        (seen(0, "none", known=0.6, spoken=0.9, age=0.9), "not, so far: no words"),
        (seen(0, "none", over=True), "not: no words"),
        (seen(0, over=True), "not: no words"),
        (seen(1, "invented", over=True), "not: no speech"),
        (seen(1, "invented", known=0.6, spoken=0.9, age=0.9), "not, so far: no speech"),
        # of so little that a word may have been missed
        (seen(0, "none", known=0.3, spoken=0.9, age=0.9), "long voice, so far"),
        (seen(1, "invented", known=0.3, spoken=0.5, age=0.9), None),
        # not known
        (seen(spoken=0.08, over=True), "not: too short"),
        (seen(spoken=0.08), None),
        (seen(spoken=0.8, age=0.8), None),
        (seen(spoken=0.8, age=0.9), "long voice, so far"),
        (seen(spoken=0.8, age=9, held=False), None),
        (seen(spoken=0.5, age=9), None),
        (seen(spoken=0.5, age=0.9, over=True), None),
        (seen(spoken=0.5, age=1.8, over=True), "not, so far: brief voice"),
        # will not be known
        (seen(spoken=0.5, over=True, lost=True), "not: brief voice"),
        (seen(spoken=0.6, lost=True, held=False), "long voice, so far"),
        (seen(spoken=0.5, lost=True), None),
    ],
)
def test_what_a_voice_over_a_reply_wants(glimpse, want) -> None:
    verdict = judge(Policy(), glimpse)
    said = None
    if verdict:
        rash = ", so far" * verdict.rash
        said = f"{verdict.because}{rash}" if verdict.stop else f"not{rash}: {verdict.because}"
    assert said == want
