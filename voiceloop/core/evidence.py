"""How likely it is that a speaker has nothing to add: the words so far, the recognizer's doubt, the sound of the end.

Six numbers and a logistic on top of them; benchmarks/fit_turns.py says what each is worth, and makes the weights. What
the turn is expected to hold comes before all of them (expectation.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voiceloop.core import pitch
from voiceloop.core.audio import RATE, Pcm

STEP = RATE // 100
"""Samples in one step of the level curve: 10 ms."""

TAIL_STEPS = 30
"""The end of speech that is compared with the rest: 300 ms."""

NEUTRAL_DB = -4.0
"""What the end of a text may be as well as not. One word has no end that could sink below the rest; against the value
that comes out of comparing it with itself the fits are no worse (AUC within .002)."""

WHOLE = 10 * RATE
"""Samples of the segment that its end is compared with, so that a long one costs no more than 2 ms."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_FIGURES = re.compile(r"\d+")
_START = "<"
_SUFFIX = 3
_RARE = 1e-3


@dataclass(frozen=True, slots=True)
class Logistic:
    """A probability from a few numbers: 1 / (1 + exp(-(bias + sum of weight * number)))."""

    bias: float
    weights: tuple[float, ...]

    def p(self, numbers: tuple[float, ...]) -> float:
        """0..1."""
        odds = self.bias + sum(w * x for w, x in zip(self.weights, numbers, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, odds))))


JOINT = Logistic(0.08, (0.73, 0.16))
"""Of the log-odds of `finished` and of Smart Turn v3.2, fitted to values of `finished` that had not seen the speaker
(benchmarks/fit_turns.py --model)."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The word table, and the fits.

    words, pairs ("of the"), endings (last three letters, for rare words): log-odds that a text that ends so is
    complete; unknown: of all that is in none of them. heard: the logistic over all of `numbers`; unheard: over the last
    three, for a recognizer that gives no probabilities; twice: over `numbers` of two transcripts (`confirmed`).
    """

    heard: Logistic
    unheard: Logistic
    twice: Logistic
    words: Mapping[str, float] = field(default_factory=dict[str, float])
    pairs: Mapping[str, float] = field(default_factory=dict[str, float])
    endings: Mapping[str, float] = field(default_factory=dict[str, float])
    unknown: float = 0.0


def words_of(text: str) -> list[str]:
    """The words in lower case without punctuation; every figure is "0"."""
    plain = text.lower().replace("\u2019", "'")
    return [_FIGURES.sub("0", word) for word in _WORD.findall(plain)]


def wording(weights: Weights, text: str) -> float:
    """Log-odds that a text that ends so is complete: from its last two words, or the last, or how that ends."""
    words = words_of(text)
    if not words:
        return weights.unknown
    last = words[-1]
    pair = f"{words[-2] if len(words) > 1 else _START} {last}"
    if (found := weights.pairs.get(pair)) is not None:
        return found
    if (found := weights.words.get(last)) is not None:
        return found
    return weights.endings.get(last[-_SUFFIX:], weights.unknown)


def voiced_s(pcm: Pcm) -> float:
    """Seconds of the last 10 that are above the quiet of a segment. pcm: int16 (n,), 16 kHz."""
    if pcm.size < TAIL_STEPS * STEP:
        return pcm.size / RATE
    power = _curve(pcm[-WHOLE:])
    return int((power > _threshold(power)).sum()) * STEP / RATE


def tail_db(pcm: Pcm) -> float:
    """Level of the last 300 ms of speech against all speech of the segment, dB: below zero where the voice sinks.

    pcm: int16 (n,), 16 kHz; its last 10 s count. Silence and steady noise at either end are left out. NEUTRAL_DB where
    there is too little speech to compare.
    """
    if pcm.size < TAIL_STEPS * STEP:
        return NEUTRAL_DB
    power = _curve(pcm[-WHOLE:])
    loud = power > _threshold(power)
    if loud.sum() < 2 * TAIL_STEPS:
        return NEUTRAL_DB
    end = int(np.flatnonzero(loud)[-1]) + 1
    tail = float(power[end - TAIL_STEPS : end].mean())
    return 10.0 * math.log10(tail / float(power[loud].mean()))


def end_st(text: str, pcm: Pcm) -> float:
    """`pitch.end_st` of what was said with these words; of a question nothing, because its voice may end high."""
    return pitch.USUAL_ST if text.rstrip().endswith("?") else pitch.end_st(pcm)


def finished(
    weights: Weights,
    *,
    wording: float,
    tail_db: float,
    end_st: float,
    p_stop: float | None = None,
    p_comma: float | None = None,
    logprob: float | None = None,
) -> float:
    """Probability that the speaker has nothing to add, 0..1, from the six numbers or from the three that always exist.

    Calibrated for as many ends as pauses, half of the pauses within a phrase (benchmarks/fit_turns.py).
    """
    found = numbers(wording=wording, tail_db=tail_db, end_st=end_st, p_stop=p_stop, p_comma=p_comma, logprob=logprob)
    if p_stop is None or p_comma is None or logprob is None:
        return weights.unheard.p(found[3:])
    return weights.heard.p(found)


Numbers = tuple[float, float, float, float, float, float]
"""sign, logprob, comma, wording, tail_db, end_st: see `numbers`."""


def confirmed(weights: Weights, once: Numbers, again: Numbers) -> float:
    """Probability that the speaker has nothing to add, 0..1, by two transcripts of the same words.

    The recognizer's doubts are averaged; of the words the less complete ones count.
    """
    sign, doubt, comma = ((a + b) / 2 for a, b in zip(once[:3], again, strict=False))
    return weights.twice.p((sign, doubt, comma, min(once[3], again[3]), *once[4:]))


def joined(finished: float, score: float) -> float:
    """Probability that the speaker has nothing to add, 0..1, from what `finished` gives and an end-of-turn model."""
    return JOINT.p((log_odds(finished), log_odds(score)))


def numbers(
    *,
    wording: float,
    tail_db: float,
    end_st: float,
    p_stop: float | None,
    p_comma: float | None,
    logprob: float | None,
) -> Numbers:
    """What the logistics are over: sign, logprob, comma, wording, tail_db, end_st, each within what the fit has seen.

    sign: log-odds that the recognizer writes any sign after the last word. It says more than the full stop alone, and
    than anything else the decoder knows: within a phrase it expects a word (AUC .84 against .60, benchmarks/
    fit_turns.py). comma: how likely that sign is a comma; it tells where a phrase ends, but the sentence does not.
    end_st has its bounds because a voice that creaks is heard octaves too low, at any place. What is None counts as
    undecided.
    """
    sign = log_odds((0.5 if p_stop is None else p_stop) + (0.0 if p_comma is None else p_comma))
    doubt = -0.2 if logprob is None else max(-1.5, logprob)
    sound = max(-25.0, min(6.0, tail_db)), max(-3.0, min(2.0, end_st))
    return sign, doubt, p_comma or 0.0, max(-6.0, min(3.0, wording)), *sound


def log_odds(p: float) -> float:
    """Of a probability; that of 0 and 1 is finite."""
    p = min(max(p, _RARE), 1.0 - _RARE)
    return math.log(p / (1.0 - p))


def _curve(pcm: Pcm) -> NDArray[np.float64]:
    """Mean power of each 10 ms, smoothed over 30, never zero."""
    steps = pcm[: pcm.size // STEP * STEP].reshape(-1, STEP).astype(np.float32)
    power = np.pad(np.einsum("ij,ij->i", steps, steps).astype(np.float64) / STEP + 1.0, 1, mode="edge")
    return (power[:-2] + power[1:-1] + power[2:]) / 3.0


def _threshold(power: NDArray[np.float64]) -> float:
    """Power that parts speech from what is behind it: a third of the way, in dB, from the quiet to the loud."""
    quiet, loud = np.percentile(power, (5, 95))
    return float(quiet ** (2 / 3) * loud ** (1 / 3))
