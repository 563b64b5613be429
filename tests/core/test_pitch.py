"""How high a voice ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voiceloop.core import evidence
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.pitch import USUAL_ST, end_st


def voice(*pieces: tuple[float, float], level: float = 0.2) -> Pcm:
    """Pieces of (seconds, Hz), some harmonics, 0.2 s of silence around them."""
    hz = np.concatenate([np.full(round(seconds * RATE), hz) for seconds, hz in pieces])
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 12))
    around = silence(RATE // 5)
    return np.concatenate((around, np.rint(np.clip(level * wave, -1, 1) * 32767).astype(np.int16), around))


@pytest.mark.parametrize("low", [95, 120, 220])
@pytest.mark.parametrize("semitones", [-5, 0, 4])
def test_it_tells_where_a_voice_ends(low, semitones) -> None:
    end = low * 2 ** (semitones / 12)
    got = end_st(voice((1.5, low), (0.25, end)))
    assert got == pytest.approx(semitones, abs=1.0)


@pytest.mark.parametrize("behind_s", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0, 30])
def test_what_is_behind_the_voice_does_not_count(behind_s, noise) -> None:
    spoken = voice((1.0, 140), (0.3, 100))
    quiet = np.random.default_rng(2).normal(0, noise, round(behind_s * RATE)).astype(np.int16)
    assert end_st(np.concatenate((spoken, quiet))) == pytest.approx(-5.8, abs=1.0)


def test_a_low_that_is_long_past_does_not_count() -> None:
    assert end_st(np.concatenate((voice((3.0, 90)), voice((5.5, 180))))) == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("n", [0, 1, 3, 159, 640, 641, RATE // 10])
def test_too_little_voice_says_nothing(n) -> None:
    assert end_st(voice((1.0, 150))[RATE // 5 :][:n]) == USUAL_ST


def test_what_is_no_voice_says_nothing_or_something_finite() -> None:
    rng = np.random.default_rng(3)
    assert end_st(silence(RATE)) == USUAL_ST
    for pcm in (
        np.full(RATE, 32767, np.int16),
        np.tile(np.array([32767, -32768], np.int16), RATE),
        rng.integers(-32768, 32767, RATE).astype(np.int16),
    ):
        assert math.isfinite(end_st(pcm))


def test_a_question_may_end_high() -> None:
    rising = voice((1.0, 120), (0.3, 190))
    assert evidence.end_st("You are there", rising) > 5
    assert evidence.end_st("Are you there?", rising) == USUAL_ST
