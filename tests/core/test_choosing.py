"""What a brief sound is taken for, from the odds of phrases."""

from __future__ import annotations

import math

import pytest

from voiceloop.core.choosing import CLEARER, CLEAREST, EARLY, FITTING, Choices, weighed

NEVER = -math.inf
ONE = Choices(("Mm-hmm.",), ("Stop.",))


@pytest.mark.parametrize(
    ("kind", "sign", "call", "want"),
    [
        ("words", 0.5, NEVER, "backchannel"),
        ("words", FITTING + 0.1, NEVER, "backchannel"),
        ("words", FITTING, NEVER, "words"),
        ("words", -1.0, -1.0 - CLEARER, "words"),
        ("words", -1.0, -1.1 - CLEARER, "backchannel"),
        ("words", -1.0, 2.0, "words"),
        ("words", NEVER, NEVER, "words"),
        ("stop", 1.5, -0.6, "backchannel"),
        ("wait", -6.0, -0.5, "wait"),
        ("invented", -4.0, -1.0, "words"),
        ("invented", -1.0, -1.0, "invented"),
        ("invented", -4.0, FITTING, "invented"),
        ("backchannel", -1.0, 0.5, "backchannel"),
        ("backchannel", -1.0, -0.9 + CLEAREST, "words"),
        ("none", NEVER, 0.5, "none"),
    ],
)
def test_signs_and_calls_against_the_words(kind, sign, call, want) -> None:
    assert weighed(ONE, kind, (sign, call)) == want


def test_of_half_a_voice_more_is_wanted() -> None:
    odds = ((EARLY + FITTING) / 2, NEVER)
    assert weighed(ONE, "words", odds) == "backchannel"
    assert weighed(ONE, "words", odds, early=True) == "words"


def test_spellings_count_together() -> None:
    several = Choices(("Mm-hmm.", "Mm-hmm,", "Mm."), ("Stop.",))
    assert several.phrases == ("Mm-hmm.", "Mm-hmm,", "Mm.", "Stop.")
    assert weighed(several, "words", (-1.0, -1.0, NEVER, -0.9)) == "backchannel"
    assert weighed(several, "words", (-1.0, NEVER, NEVER, -0.9)) == "words"


def test_without_phrases_nothing_changes() -> None:
    assert weighed(Choices(), "words", ()) == "words"
