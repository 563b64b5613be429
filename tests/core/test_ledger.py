"""Samples played -> words heard."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core.ledger import Ledger


def ledger(*clauses: tuple[str, int], open_at: int | None = None) -> Ledger:
    it = Ledger()
    for text, _ in clauses:
        it.add(text)
    for number, (_, size) in enumerate(clauses):
        if size >= 0:
            it.size(number, size, final=number != open_at)
    return it


@pytest.mark.parametrize(
    ("n", "heard"),
    [
        (0, ""),
        (1, ""),
        (20, "One"),
        (79, "One two three."),
        (100, "One two three."),
        (101, "One two three."),
        (130, "One two three. Four"),
        (200, "One two three. Four five."),
        (999, "One two three. Four five."),
    ],
)
def test_words_by_their_letters(n, heard) -> None:
    assert ledger(("One two three.", 100), ("Four five.", 100)).heard(n, 0) == heard


def test_what_is_not_made_is_not_heard() -> None:
    it = ledger(("One two.", 100), ("Three four.", -1))
    assert (it.clauses, it.done, it.total, it.said) == (2, 1, 100, "One two. Three four.")
    assert it.heard(500, 0) == "One two."
    assert it.clause(1) == "Three four."


def test_a_clause_without_sound_is_not_heard() -> None:
    assert ledger(("One.", 100), ("...", 0), ("Two.", 100)).heard(200, 0) == "One. Two."


def test_the_beginning_of_a_clause_by_the_pace_of_others() -> None:
    it = ledger(("One two three four.", 90), open_at=0)
    assert it.heard(90, 0) == "One two three four."
    assert it.heard(90, 10) == "One two"
    assert it.heard(45, 10) == "One"
    it.size(0, 190, final=True)
    assert it.heard(190, 20) == "One two three four."


@pytest.mark.parametrize(
    ("sizes", "open_at", "kept", "heard"),
    [
        ([100, 50, -1], 1, 2, "One. Two three"),
        ([100, 0, -1], 1, 1, "One."),
        ([100, -1, -1], None, 1, "One."),
        ([0, -1, -1], 0, 0, ""),
        ([100, 100, 100], None, 3, "One. Two three four. Five."),
    ],
)
def test_cut(sizes, open_at, kept, heard) -> None:
    texts = ("One.", "Two three four.", "Five.")
    it = ledger(*zip(texts, sizes, strict=True), open_at=open_at)
    it.cut()
    assert (it.clauses, it.done) == (kept, kept)
    assert it.heard(it.total, 5) == heard


def test_which_clause_plays() -> None:
    it = ledger(("One.", 100), ("", 0), ("Two.", 50), ("Three.", 10), open_at=3)
    assert [it.playing(n) for n in (0, 99, 100, 149, 150, 999)] == [0, 0, 2, 2, 3, 3]


WORDS = st.sampled_from(
    [
        "a",
        "the",
        "One",
        "two,",
        "three.",
        "(well",
        "-",
        "e.g.",
        "USB",
        "naïve",
        "Straße;",
        "да",
        "שלום",
        "...",
        "時間。",
    ]
)
FIGURES = st.sampled_from(["$9.99", "1,250", "7:30", "0171", "50%", "18.", "3rd"])
CLAUSES = st.lists(
    st.tuples(st.lists(WORDS | FIGURES, min_size=1, max_size=6).map(" ".join), st.integers(1, 60)),
    min_size=1,
    max_size=4,
)


@settings(derandomize=True, database=None, deadline=None)
@given(CLAUSES, st.booleans(), st.floats(0, 20))
def test_what_is_heard_grows_word_by_word_to_all_that_is_said(clauses, torn, pace) -> None:
    it = ledger(*clauses, open_at=len(clauses) - 1 if torn else None)
    heard = [it.heard(n, pace) for n in range(it.total + 1)]
    assert heard[0] == ""
    assert all(b.startswith(a) for a, b in pairwise(heard))
    assert it.said.startswith(heard[-1])
    if not torn:
        assert heard[-1] == it.said
        assert it.heard(it.total + 1000, pace) == it.said
    ends = {0, *(match.end() for word in (r"\S+", "時") for match in re.finditer(word, it.said))}
    assert {len(text) for text in heard} <= ends


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["One two.", "Three", "Four five six."]), st.integers(0, 50)), max_size=5))
def test_clauses_without_sound_are_left_out(clauses) -> None:
    it = ledger(*clauses)
    heard = [it.heard(n, 0) for n in range(it.total + 1)]
    assert all(b.startswith(a) for a, b in pairwise(heard))
    assert heard[-1] == " ".join(text for text, size in clauses if size)


def test_chinese_is_cut_between_two_characters() -> None:
    it = ledger(("现在是七点半。", 700))
    assert [it.heard(n, 0) for n in (40, 250, 700)] == ["", "现在", "现在是七点半。"]


def test_captions_say_when_each_word_has_been_said() -> None:
    it = ledger(("One two three.", 100), ("...", 10), ("Four five.", 30), ("Later.", -1), open_at=2)
    words = list(it.words(pace=8.0))
    assert [word for word, _ in words] == ["One", "two", "three.", "...", "Four", "five."]
    ends = [end for _, end in words]
    assert ends == sorted(ends)
    assert ends[2] == 100
    assert ends[-1] > 140, "the clause that is not whole will be longer"
    for word, end in words[:3]:
        assert it.heard(end, 0).endswith(word)
