"""What kind of words they are, and what a turn was expected to hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.core.expectation import DONE, OPEN, SPELLING, digits, expected
from voiceloop.core.lexicon import LONGEST, Lexicon, answers, made_of, plain, sense

WORDS = Lexicon.of(
    backchannel=["mm", "mm-hm", "yeah", "okay", "I see", "oh"],
    stop=["stop", "stop it", "be quiet", "never mind"],
    wait=["wait", "hold on", "one moment"],
    polite=["please", "thanks", "now"],
    yes=["yes", "yeah", "of course"],
    no=["no", "not really"],
    invented=["you", "thank you", "thanks for watching", "mm"],
    filler=["um"],
    digits={
        "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "ten": "10", "twenty": "20",
        "hundred": "00", "quatre vingt dix": "90",
    },
    times={"double": 2, "triple": 3},
    letters={"bravo": "b", "double u": "w"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "none"),
        ("...", "none"),
        ("\u266a", "none"),
        ("Mm-hm.", "backchannel"),
        ("MMMMM", "backchannel"),
        ("Yeah, yeah. Okay, I see.", "backchannel"),
        ("Yeah, but", "words"),
        ("I", "words"),
        ("Stop.", "stop"),
        ("Stop it!", "stop"),
        ("No, no. Stop, please!", "stop"),
        ("Okay, wait, stop.", "stop"),
        ("Never mind, thanks.", "stop"),
        ("Stop at the shop.", "words"),
        ("Don't stop", "words"),
        ("Wait, wait.", "wait"),
        ("No, hold on, please.", "wait"),
        ("Hold", "words"),
        ("No.", "words"),
        ("Please.", "words"),
        ("Thank you.", "words"),
        ("Where is the station?", "words"),
        ("stop " * (LONGEST + 1), "words"),
    ],
)
def test_sense(text, want) -> None:
    assert sense(WORDS, text) == want


@pytest.mark.parametrize(
    ("text", "known", "want"),
    [
        ("You", {"p_sign": 0.05, "logprob": -0.1}, "invented"),
        ("You?", {"p_sign": 0.9, "logprob": -0.3}, "words"),
        ("Mm", {"p_sign": 0.1, "logprob": -0.7}, "invented"),
        ("Yeah", {"p_sign": 0.1, "logprob": -0.9}, "invented"),
        ("Stop", {"p_sign": 0.1, "logprob": -0.9}, "stop"),
        ("Thank you.", {"p_sign": 0.7, "logprob": -0.55}, "invented"),
        ("Thank you.", {"p_sign": 0.7, "logprob": -0.15}, "words"),
        ("Thank you.", {"voiced_s": 0.2}, "invented"),
        ("Thank you.", {"voiced_s": 0.6}, "words"),
        ("Thank you.", {"voiced_s": 0.2, "logprob": -0.1}, "words"),
        ("Where is it?", {"p_sign": 0.1, "logprob": -0.9, "voiced_s": 0.1}, "words"),
    ],
)
def test_what_recognizers_invent(text, known, want) -> None:
    assert sense(WORDS, text, **known) == want


def test_plain_forgets_case_and_signs() -> None:
    assert plain("Si\u0301, D\u2019ACCORD! Hmmmm\u2026 M-hm 10") == ["s\u00ed", "d'accord", "hmm", "m", "hm", "10"]


def test_made_of_needs_one_that_is_wanted() -> None:
    a, b = frozenset({("a",), ("b", "c")}), frozenset({("b",)})
    assert made_of(["a", "b", "b", "c"], a, b)
    assert not made_of(["b", "b"], a, b)
    assert not made_of(["a", "c"], a, b)
    assert not made_of([], a, b)
    assert not made_of(["a"], frozenset())


@given(st.text())
def test_any_text_has_a_sense(text) -> None:
    assert sense(WORDS, text) in ("words", "none", "backchannel", "wait", "stop", "invented")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("My number is", ""),
        ("oh four two", "042"),
        ("555-12 34", "5551234"),
        ("Double four, triple five.", "44555"),
        ("double or one", "1"),
        ("twenty one", "21"),
        ("twenty one two", "212"),
        ("twenty oh ten one", "200101"),
        ("one hundred", "100"),
        ("quatre-vingt-dix one", "901"),
        ("fourtwenty", "20"),
        ("2nd of may", "2"),
    ],
)
def test_digits(text, want) -> None:
    assert digits(WORDS, text) == want


@pytest.mark.parametrize(
    ("expect", "text", "want"),
    [
        ("", "one two", None),
        ("free", "one two", None),
        ("digits:3", "one two", OPEN),
        ("digits:3", "one two, three", DONE),
        ("digits:3", "it is one two three four", DONE),
        ("digits:3", "I do not know it", None),
        ("digits:x", "one two", None),
        ("yes_no", "Yes, please.", DONE),
        ("yes_no", "Not really, no thanks.", DONE),
        ("yes_no", "Okay, yeah.", DONE),
        ("yes_no", "Okay.", None),
        ("yes_no", "Yes, but", None),
        ("spelling", "J. O", SPELLING),
        ("spelling", "It is J-O-N", SPELLING),
        ("spelling", "JON", SPELLING),
        ("spelling", "alpha Bravo", SPELLING),
        ("spelling", "double u", SPELLING),
        ("spelling", "that is all", None),
        ("spelling", "", None),
        ("palindrome", "one", None),
    ],
)
def test_expectations(expect, text, want) -> None:
    assert expected(WORDS, expect, text) == want


@given(st.text(), st.sampled_from(["", "free", "digits:4", "yes_no", "spelling"]))
def test_expectations_take_any_text(text, expect) -> None:
    assert expected(WORDS, expect, text) in (None, OPEN, DONE, SPELLING)


def test_answers() -> None:
    assert answers(WORDS, "Of course!")
    assert not answers(WORDS, "Of course not")
