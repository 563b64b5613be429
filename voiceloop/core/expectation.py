"""What a turn is expected to hold, as its handler said: digits, yes or no, a spelling. Each a small pure function.

An expectation that says something about the words so far comes before all other evidence; where it has nothing to say
(the person does something else), the evidence counts.
"""

from __future__ import annotations

import re

from voiceloop.core.lexicon import Lexicon, answers, plain

OPEN = 0.03
"""Probability that the speaker has finished while what is expected is not complete."""

DONE = 0.97
"""And when it is."""

SPELLING = 0.1
"""After a letter: there may be another one, and nothing tells which is the last."""

_LONGEST = 4
_TOKEN = re.compile(r"[^\W_]+")
_INITIALS = 6


def expected(lexicon: Lexicon, expect: str, text: str) -> float | None:
    """Probability that the turn is complete by what it was expected to hold, or None if that says nothing.

    expect: "", "free", "digits:N", "yes_no" or "spelling", as in `events.HandlerState`; any other says nothing.
    """
    kind, _, number = expect.partition(":")
    if kind == "digits" and number.isdecimal():
        return of_digits(lexicon, text, int(number))
    if kind == "yes_no":
        return of_yes_no(lexicon, text)
    if kind == "spelling":
        return of_spelling(lexicon, text)
    return None


def of_digits(lexicon: Lexicon, text: str, wanted: int) -> float | None:
    """OPEN below so many digits, DONE from there on, None without any."""
    found = len(digits(lexicon, text))
    return None if found == 0 else OPEN if found < wanted else DONE


def of_yes_no(lexicon: Lexicon, text: str) -> float | None:
    """DONE for a text that is an answer and nothing else."""
    return DONE if answers(lexicon, text) else None


def of_spelling(lexicon: Lexicon, text: str) -> float | None:
    """SPELLING for a text whose last word is a letter, the name of one, or a row of capitals."""
    raw = _TOKEN.findall(text)
    if not raw:
        return None
    last, words = raw[-1], plain(text)
    if len(last) == 1 or (last.isupper() and len(last) <= _INITIALS):
        return SPELLING
    return SPELLING if any(tuple(words[-n:]) in lexicon.letters for n in range(1, _LONGEST + 1)) else None


def digits(lexicon: Lexicon, text: str) -> str:
    """The digits said in a text, in figures or in words: "oh four two", "double four", "twenty one", "0 42"."""
    words = plain(text)
    found, times, at = "", 1, 0
    while at < len(words):
        size, figures = _number(lexicon, words, at)
        if figures:
            # "twenty one" is one number, "twenty oh one" and "ten one" are not.
            joins = len(figures) == 1 and figures != "0" and at > 0 and _is_tens(lexicon, words[at - 1])
            found = found[:-1] + figures if joins else found + figures * times
            times = 1
        else:
            times = lexicon.times.get((words[at],), 1)
        at += size
    return found


def _number(lexicon: Lexicon, words: list[str], at: int) -> tuple[int, str]:
    """How many words from here on are one number, and its figures; 1 and "" if they are none."""
    for size in range(_LONGEST, 0, -1):
        if (figures := lexicon.digits.get(tuple(words[at : at + size]))) is not None:
            return min(size, len(words) - at), figures
    word = words[at]
    if figures := "".join(c for c in word if c.isdecimal()):
        return 1, figures
    # "einundzwanzig", "vierentwintig": what ends in a tens word has two figures, whichever they are.
    tens = next((f for key, f in lexicon.digits.items() if len(key[0]) > 3 and _ends(word, key, f)), "")
    return 1, tens


def _ends(word: str, key: tuple[str, ...], figures: str) -> bool:
    return len(key) == 1 and len(figures) == 2 and figures != "00" and word.endswith(key[0])


def _is_tens(lexicon: Lexicon, word: str) -> bool:
    figures = lexicon.digits.get((word,), "")
    return len(figures) == 2 and figures[1] == "0" and figures[0] > "1"
