"""How long each word of a text takes to say, whoever says it, in units of one consonant (about 42 ms).

For any language with an alphabet, by what nearly all voices have in common. The numbers of letters are a least-squares
fit on the word lengths of two engines, hibari and espeak-ng en and de, those of figures were read off the same words
(the texts marked `tune` in benchmarks/heard_texts.tsv), all rounded. benchmarks/heard.py shows what it gives on other
texts, voices and languages.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

_WORD = 1.2
_CONSONANT = 1.0
_VOWEL = 2.3
"""The first of a row of vowels: it makes the syllable."""
_VOWEL_MORE = 0.8
_SHORT = 1.0
"""Taken off words of up to three letters: most are unstressed (the, of, und, de)."""
_SPELLED = 3.0
"""A letter that is said by its name."""
_FINAL = 2.8
"""The last word before a pause is drawn out."""
_PAUSE = 3.0
_DIGIT = 5.0
_TENS = 2.0
"""What "twenty" has more than "two"."""
_PLACE = 8.0
"""A word like "hundred", "thousand", "million"."""
_UNIT = 12.0
"""A sign that is read as a word of its own: $ % and their like."""
_SIGN = 5.0
_LETTER = 1.7
"""A letter of a script of which we do not know the vowels."""
_IDEOGRAPH = 4.0

_VOWELS = frozenset("aeiouyæœøıаеёиоуыэюяіїєαεηιουω")  # noqa: RUF001
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WIDE = re.compile(f"[{_IDEOGRAPHS}]")
_UNITS = re.compile(rf"[{_IDEOGRAPHS}][^\s\w]*|[^\s{_IDEOGRAPHS}]+")
_PARTS = re.compile(r"\d+(?:[.,]\d{3})*(?!\d)|\d+|[^\W\d_]+|[^\w\s]")
_DOTTED = re.compile(r"\W*(?:[^\W\d_]\.)+[^\W\d_]?\W*")
_QUOTES = "\"'”’»"  # noqa: RUF001
_ENDS = frozenset(".,;:!?…)]—–-。，、；：！？")  # noqa: RUF001
_ABBREVIATED = re.compile(r"(?:dr|mrs?|ms|st|prof|sra?|no|nr|vs|bzw|e\.g|i\.e|z\.b|d\.h|\w)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text. end: characters of the text up to its end. start, stop: when it is said, pauses left out."""

    end: int
    start: float
    stop: float


def words(text: str) -> list[Word]:
    """The words of a text as they are said one after the other. A character of Chinese or Japanese is a word."""
    return list(_words(text))


@lru_cache(maxsize=256)  # asked again and again while a clause is heard
def _words(text: str) -> tuple[Word, ...]:
    units = list(_UNITS.finditer(text))
    shouted = text.isupper()
    found: list[Word] = []
    at = 0.0
    for number, unit in enumerate(units):
        final = number == len(units) - 1 or _pauses(unit[0])
        stop = at + _length(unit[0], shouted=shouted)
        if final and stop > at:
            stop += _FINAL
        found.append(Word(unit.end(), at, stop))
        at = stop + (_PAUSE if final else 0.0)
    return tuple(found)


def length(text: str) -> float:
    """How long it takes to say a text."""
    said = words(text)
    return said[-1].stop if said else 0.0


def _pauses(word: str) -> bool:
    """Whether a speaker makes a pause behind a word."""
    bare = word.strip(_QUOTES)
    return bare[-1:] in _ENDS and not _ABBREVIATED.fullmatch(bare)


def _length(word: str, *, shouted: bool) -> float:
    """One word without the pause behind it. shouted: capitals mean nothing in this text."""
    if _DOTTED.fullmatch(word):
        return _WORD + _SPELLED * sum(map(str.isalpha, word))
    said = _WORD if any(map(str.isalnum, word)) else 0.0
    if len(word) <= 3 and word.isalpha():
        said -= _SHORT
    for part in _PARTS.findall(word):
        if part[0].isdigit():
            said += _figure(part)
        elif part.isalpha():
            said += _letters(part, shouted=shouted)
        elif unicodedata.category(part) == "Sc" or part in "%‰°":
            said += _UNIT
        elif unicodedata.category(part)[0] == "S" or part in "&@#*/":
            said += _SIGN
    return said


def _figure(figure: str) -> float:
    """A number as it is read, "204" as two hundred four; one that begins with 0, or is very long, digit by digit."""
    digits = [c for c in figure if c.isdigit()]
    if digits[0] == "0" or len(digits) > 9:
        return _DIGIT * len(digits)
    said = 0.0
    for place, digit in enumerate(reversed(digits)):
        if digit != "0":
            said += _DIGIT + (0.0, _TENS if digit != "1" else 0.0, _PLACE)[place % 3]
    return said + _PLACE * ((len(digits) - 1) // 3)


def _letters(part: str, *, shouted: bool) -> float:
    """A row of letters: a word, or the name of each letter (USB, km)."""
    if part.lower() == part.upper():
        return sum(_IDEOGRAPH if _WIDE.match(c) else _LETTER for c in part)
    bases = [unicodedata.normalize("NFD", c.lower())[0] for c in part]
    said, syllables = 0.0, 0
    for vowel, row in groupby(bases, _VOWELS.__contains__):
        n = len(list(row))
        syllables += vowel
        said += _VOWEL + _VOWEL_MORE * (n - 1) if vowel else _CONSONANT * n
    capitals = 1 < len(part) <= 5 and part.isupper() and not shouted
    return _SPELLED * len(part) if capitals or not syllables else said
