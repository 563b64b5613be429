"""How long words take to say, compared with each other."""

from __future__ import annotations

from itertools import pairwise

import pytest

from voiceloop.core.pace import length, words


def said(word: str) -> float:
    """A word in the middle of a text."""
    found = words(f"{word} and so on")[0]
    return found.stop - found.start


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("the", "light"),
        ("of", "off-road"),
        ("light", "lightning"),
        ("strength", "elephant"),
        ("7", "seven hundred"),
        ("12", "45"),
        ("20", "200"),
        ("200", "287"),
        ("300", "376,000"),
        ("7:00", "7:45"),
        ("1204", "1,204,000"),
        ("0171", "01715"),
        ("1000000000", "10000000000000"),
        ("9.99", "$9.99"),
        ("9", "9%"),
        ("A", "A+B"),
        ("Nato", "NBC"),
        ("km", "kilometers"),
        ("...", "no"),
        ("שלום", "ירושלים"),
        ("да", "правда"),
        ("été", "éternité"),
    ],
)
def test_one_takes_longer_than_the_other(short, long) -> None:
    assert said(short) < said(long)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("km", "KM"),
        ("i.e.", "e.g."),
        ("Mr", "MR"),
        ("€5", "$5"),
        ("naive", "naïve"),
        ("07", "09"),
        ("1.204", "1,204"),
    ],
)
def test_both_take_the_same_time(one, other) -> None:
    assert said(one) == pytest.approx(said(other))


def test_capitals_mean_nothing_where_all_are() -> None:
    assert length("STOP THAT NOW") == pytest.approx(length("stop that now"))
    assert length("call NASA now") > length("call nasa now")


@pytest.mark.parametrize("end", [",", ";", ":", "!", "?", "…", ")", '."', ".", " -", "。"])
def test_a_pause_follows(end) -> None:
    first = words(f"Well then{end} go on")[1:]
    assert first[-2].start > first[-3].stop


@pytest.mark.parametrize("word", ["Dr.", "e.g.", "J.", "well-known", "3.5", "then"])
def test_no_pause_follows(word) -> None:
    assert all(a.stop == b.start for a, b in pairwise(words(f"ask {word} Smith about it")))


@pytest.mark.parametrize("text", ["One  two, (three) four.", "現在は7時です。", "", "   "])
def test_words_end_where_they_end_in_the_text(text) -> None:
    found = words(text)
    parts = [text[a:b].strip() for a, b in pairwise([0, *(w.end for w in found)])]
    assert "".join(parts) == text.replace(" ", "")
    assert all(parts)
    assert all(a.start <= a.stop <= b.start for a, b in pairwise(found))


def test_nothing_takes_no_time() -> None:
    assert length("") == 0
    assert words("...")[0].stop == 0
    assert length("well - then") < length("well, a then")
