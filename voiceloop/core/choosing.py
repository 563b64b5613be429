"""What a brief sound was: a sign of listening, a command, or the words that the recognizer wrote for it.

Of a voice of a third of a second a recognizer writes what it can, "Well." for "mm-hm", "It hurts." for "uh-huh". Asked
how likely such signs are, it knows better: all spellings of the signs together, against all of the commands, tell the
two apart almost without a mistake (benchmarks/phrases.py), and signs are also what coughs and laughs resemble most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceloop.core.audio import ticks
from voiceloop.core.events import Sense

BRIEF = ticks(1.2)
"""Longer segments, with their pre-roll and the pause behind them, hold words enough to be written as they are."""

CLEARER = 0.25
"""Log-odds by which signs of listening must be likelier than calls, or calls than signs."""

CLEAREST = 2.0
"""The same where the recognizer wrote a sign of listening: only a clear call makes it none ("Great" for "wait")."""

FITTING = -2.5
"""Log-odds against the recognizer's own words, above which a list is believed at all. With it, of hums and
"yeah" 97 % are taken for signs, and 9 % of the words cut out of sentences, 0.4 s and longer (benchmarks/phrases.py,
voices to tune with)."""

EARLY = -2.0
"""The same of a voice that still speaks: the beginning of a sentence must not be waited for as if it were a sign."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Phrases as a recognizer would write them ("Mm-hmm."): signs of listening, and what a reply is interrupted by."""

    signs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """All of them."""
        return self.signs + self.calls


def weighed(choices: Choices, kind: Sense, odds: Sequence[float], *, early: bool = False) -> Sense:
    """The kind of a brief sound. kind: of the words that were written for it, by the lists.

    odds: how much likelier than these words each of `choices.phrases` is, natural logarithm.
    early: the voice still speaks.
    """
    fitting = EARLY if early else FITTING
    signs, calls = _sum(odds[: len(choices.signs)]), _sum(odds[len(choices.signs) :])
    if kind in ("words", "stop", "wait"):  # "That's it." is a command, and often a laugh
        return "backchannel" if signs > max(calls + CLEARER, fitting) else kind
    clear = CLEAREST if kind == "backchannel" else CLEARER
    return "words" if kind != "none" and calls > max(signs + clear, fitting) else kind


def _sum(odds: Sequence[float]) -> float:
    """Of the probabilities, as their logarithm."""
    high = max(odds, default=-math.inf)
    return high + math.log(sum(math.exp(each - high) for each in odds)) if math.isfinite(high) else -math.inf
