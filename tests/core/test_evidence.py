"""The evidence for the end of a turn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.evidence import (
    NEUTRAL_DB,
    Logistic,
    Weights,
    confirmed,
    finished,
    joined,
    numbers,
    tail_db,
    voiced_s,
    wording,
    words_of,
)

FLAT = Logistic(0.0, (0.0, 0.0))
WEIGHTS = Weights(
    heard=Logistic(-0.5, (0.5, 2.0, -1.5, 0.5, -0.1, -0.25)),
    twice=Logistic(0.0, (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    unheard=Logistic(0.5, (0.5, -0.1, -0.25)),
    words={"of": -5.0, "minutes": 0.5, "0": -1.0},
    pairs={"think of": -1.5, "< stop": 2.0},
    endings={"ing": -2.5, "ous": -4.0},
    unknown=-1.7,
)


def tone(seconds: float, level: float) -> Pcm:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.rint(level * 32767 * np.sin(2 * np.pi * 150 * t)).astype(np.int16)


def noise(seconds: float, level: float) -> Pcm:
    return np.rint(np.random.default_rng(1).normal(0, level * 32767, round(seconds * RATE))).astype(np.int16)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("I think of", -1.5),
        ("The capital OF,", -5.0),
        ("ten minutes.", 0.5),
        ("Stop!", 2.0),
        ("please stop", -1.7),
        ("1455, is also 1960", -1.0),
        ("zorbing", -2.5),
        ("Fahrvergnügen?", -1.7),
        ("", -1.7),
        ("...", -1.7),
    ],
)
def test_wording_takes_what_it_knows_best(text, want) -> None:
    assert wording(WEIGHTS, text) == want


def test_words_of() -> None:
    assert words_of("Don\u2019t, it's 10:30 \u2014 A.B. über-gut") == [
        "don't",
        "it's",
        "0",
        "0",
        "a",
        "b",
        "über",
        "gut",
    ]


@given(st.text())
def test_wording_takes_any_text(text) -> None:
    assert math.isfinite(wording(WEIGHTS, text))


def test_a_voice_that_sinks() -> None:
    sinking = np.concatenate((tone(1.0, 0.3), tone(0.4, 0.05)))
    assert tail_db(np.concatenate((sinking, silence(RATE // 5)))) < -8
    assert tail_db(np.concatenate((tone(1.4, 0.3), silence(RATE // 5)))) == pytest.approx(0.0, abs=0.7)


@pytest.mark.parametrize("behind", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("level", [0.0, 0.002])
def test_what_is_behind_the_voice_does_not_count(behind, level) -> None:
    voice = np.concatenate((tone(1.0, 0.3), tone(0.4, 0.1)))
    want = tail_db(np.concatenate((noise(0.3, level), voice, noise(0.2, level))))
    assert tail_db(np.concatenate((noise(0.3, level), voice, noise(behind, level)))) == pytest.approx(want, abs=1.0)


@pytest.mark.parametrize("seconds", [0.0, 0.009, 0.2, 0.29, 0.5])
def test_too_little_voice_says_nothing(seconds) -> None:
    assert tail_db(tone(seconds, 0.3)) == NEUTRAL_DB
    assert tail_db(np.concatenate((tone(seconds, 0.3), silence(2 * RATE)))) == NEUTRAL_DB


def test_voiced_s() -> None:
    assert voiced_s(np.concatenate((noise(0.3, 0.002), tone(0.2, 0.3), noise(0.2, 0.002)))) == pytest.approx(
        0.2, abs=0.03
    )
    assert voiced_s(tone(0.1, 0.3)) == pytest.approx(0.1)


def test_silence_and_clipping_are_no_trouble() -> None:
    assert tail_db(silence(RATE)) == NEUTRAL_DB
    assert math.isfinite(tail_db(np.full(RATE, 32767, np.int16)))
    assert math.isfinite(tail_db(np.tile(np.array([32767, -32768], np.int16), RATE)))


def test_finished_is_the_logistic_over_the_numbers() -> None:
    p = finished(WEIGHTS, wording=-2.0, tail_db=-10.0, end_st=-2.0, p_stop=0.7, p_comma=0.2, logprob=-0.1)
    odds = -0.5 + 0.5 * math.log(0.9 / 0.1) + 2.0 * -0.1 - 1.5 * 0.2 + 0.5 * -2.0 - 0.1 * -10.0 - 0.25 * -2.0
    assert p == pytest.approx(1 / (1 + math.exp(-odds)))


@pytest.mark.parametrize("missing", ["p_stop", "p_comma", "logprob"])
def test_a_recognizer_that_says_nothing_of_its_doubt(missing) -> None:
    doubt = {"p_stop": 0.7, "p_comma": 0.2, "logprob": -0.1, missing: None}
    p = finished(WEIGHTS, wording=-2.0, tail_db=-10.0, end_st=-2.0, **doubt)
    assert p == pytest.approx(1 / (1 + math.exp(-(0.5 - 1.0 + 1.0 + 0.5))))


def test_an_end_of_turn_model_moves_what_the_rest_says() -> None:
    assert joined(0.5, 0.02) < 0.4 < 0.6 < joined(0.5, 0.98)
    assert joined(0.1, 0.9) < 0.5 < joined(0.9, 0.1)
    assert 0.0 < joined(0.0, 0.0) < joined(1.0, 1.0) < 1.0


def test_two_transcripts_of_the_same_words() -> None:
    """The doubts are averaged, of the words the less complete ones count, the sound is the same."""
    asked = replace(WEIGHTS, twice=Logistic(0.0, (1.0, 0.1, -2.0, 10.0, 0.01, 0.001)))
    p = confirmed(asked, (1.0, -0.2, 0.7, 2.0, -9.0, -3.0), (0.0, -0.4, 0.1, -0.1, -5.0, -1.0))
    assert p == pytest.approx(1 / (1 + math.exp(-(0.5 - 0.03 - 0.8 - 1.0 - 0.09 - 0.003))))


def test_numbers_stay_within_what_was_seen() -> None:
    low = numbers(wording=-99.0, tail_db=-99.0, end_st=-99.0, p_stop=0.0, p_comma=0.0, logprob=-99.0)
    high = numbers(wording=99.0, tail_db=99.0, end_st=99.0, p_stop=1.0, p_comma=1.0, logprob=0.0)
    assert low == (pytest.approx(-6.9, abs=0.1), -1.5, 0.0, -6.0, -25.0, -3.0)
    assert high == (pytest.approx(6.9, abs=0.1), 0.0, 1.0, 3.0, 6.0, 2.0)
    assert numbers(wording=0.0, tail_db=0.0, end_st=0.0, p_stop=None, p_comma=None, logprob=None) == (
        *(0.0, -0.2, 0.0, 0.0, 0.0, 0.0),
    )


def test_a_logistic_never_overflows() -> None:
    assert Logistic(0.0, (1.0,)).p((-1e6,)) == pytest.approx(0.0)
    assert Logistic(0.0, (1.0,)).p((1e6,)) == pytest.approx(1.0)
    assert FLAT.p((3.0, -4.0)) == 0.5
