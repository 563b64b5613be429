"""Numbers, times and dates as people say them, both ways."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, time
from fractions import Fraction

UNITS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_SMALL = {word: n for n, word in enumerate(UNITS)} | {word: 10 * n for n, word in enumerate(TENS) if n > 1}
_SMALL["fourty"] = 40
_DIGITS = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_LARGEST = 10**15
"""Beyond this a number is said as a power of ten."""


def read_number(words: Sequence[str], *, joins: bool = True) -> tuple[Fraction, int] | None:
    """The number at the beginning of words, and how many of them it takes; None if there is none.

    words: lower case, no punctuation, figures as they are ("2.5"). joins: "and" may stand inside a number, as in
    "one hundred and five"; without it that is two numbers.
    """
    total, group, at = Fraction(0), None, 0
    last = 10**15  # the value of the word before, below which the next must stay: "twenty five", not "five twenty"
    while at < len(words):
        word, nxt = words[at], words[at + 1] if at + 1 < len(words) else ""
        if word == "a" and group is None and nxt in ("hundred", "thousand", "million", "billion", "dozen"):
            group, last = Fraction(1), 1
        elif _DIGITS.fullmatch(word) and group is None:
            group, last = Fraction(word), 1
        elif word in _SMALL and _fits(_SMALL[word], last, group):
            group, last = (group or 0) + Fraction(_SMALL[word]), _SMALL[word]
        elif word == "hundred" and group is not None and group < 100:
            group, last = group * 100, 100
        elif word in ("dozen", "dozens") and group is not None:
            group, last = group * 12, 1
        elif word in SCALES and group is not None and (total == 0 or SCALES[word] < total):
            total, group, last = total + group * SCALES[word], None, SCALES[word]
        elif not (word == "and" and joins and last in (100, *SCALES.values()) and nxt in _SMALL):
            break
        at += 1
    digits = _decimals(words[at:])
    if at == 0 and not digits:
        return None
    value = total + (group or 0)
    if digits:
        value += Fraction(int(digits), 10 ** len(digits))
        at += 1 + len(digits)
    return value, at


def _fits(value: int, last: int, group: Fraction | None) -> bool:
    """Whether a small number may follow: anything at the start, units behind tens, all behind a hundred."""
    if group is None or last >= 100:
        return True
    return 20 <= last < 100 and 0 < value < 10


def _decimals(words: Sequence[str]) -> str:
    """The digits behind "point", one word each."""
    digits = ""
    if len(words) > 1 and words[0] == "point":
        for word in words[1:]:
            value = 0 if word == "oh" else _SMALL.get(word, int(word) if re.fullmatch(r"\d", word) else 10)
            if value > 9:
                break
            digits += str(value)
    return digits


def say_number(value: Fraction | int, digits: int = 2) -> str:
    """A number in words; rounded to `digits` behind the point, with "about" if that changes it."""
    value = Fraction(value)
    if value < 0:
        return f"minus {say_number(-value, digits)}"
    if value >= _LARGEST:
        exponent = len(str(int(value))) - 1
        head = round(value / 10**exponent, 2)
        about = "" if head * 10**exponent == value else "about "
        return f"{about}{_say_decimal(head)} times ten to the power of {_say_whole(exponent)}"
    while 0 < value < Fraction(1, 10**digits) and digits < 9:  # 0.004 is not "about zero"
        digits += 2
    rounded = round(value, digits)
    return f"{'' if rounded == value else 'about '}{_say_decimal(rounded)}"


def _say_decimal(value: Fraction) -> str:
    whole = int(value)
    rest, digits = value - whole, ""
    while rest and len(digits) < 12:
        rest *= 10
        digits += str(int(rest))
        rest -= int(rest)
    return _say_whole(whole) + (f" point {' '.join(UNITS[int(d)] for d in digits)}" if digits else "")


def _say_whole(n: int) -> str:
    for word, scale in reversed(SCALES.items()):
        if n >= scale:
            rest = f" {'and ' if n % scale < 100 else ''}{_say_whole(n % scale)}" if n % scale else ""
            return f"{_say_whole(n // scale)} {word}{rest}"
    if n >= 100:
        rest = f" and {_say_whole(n % 100)}" if n % 100 else ""
        return f"{UNITS[n // 100]} hundred{rest}"
    if n >= 20:
        return TENS[n // 10] + (f"-{UNITS[n % 10]}" if n % 10 else "")
    return UNITS[n]


def say_time(t: time) -> str:
    """ "ten forty-three", "ten oh five", "ten o'clock", "noon", "midnight"."""
    if t.minute == 0 and t.hour % 12 == 0:
        return "noon" if t.hour else "midnight"
    hour = UNITS[(t.hour - 1) % 12 + 1]
    if t.minute == 0:
        return f"{hour} o'clock"
    return f"{hour} {'oh ' if t.minute < 10 else ''}{_say_whole(t.minute)}"


def say_date(d: date) -> str:
    """ "Sunday, November 22nd"; English whatever the locale."""
    teen = 10 <= d.day % 100 <= 20
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(d.day % 10, "th")
    return f"{say_weekday(d)}, {say_month(d)} {d.day}{ending}"


def say_weekday(d: date) -> str:
    """ "Sunday"."""
    return ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[d.weekday()]


def say_month(d: date) -> str:
    """ "November"."""
    names = "January February March April May June July August September October November December"
    return re.findall(r"\w+", names)[d.month - 1]


def say_year(year: int) -> str:
    """ "twenty twenty-six", "two thousand and seven", "nineteen oh one"."""
    if 2000 <= year < 2010 or year % 100 == 0 or not 1000 < year < 10_000:
        return _say_whole(year) if year < 2000 or year % 100 == 0 else f"two thousand and {_say_whole(year % 100)}"
    return f"{_say_whole(year // 100)} {'oh ' if year % 100 < 10 else ''}{_say_whole(year % 100)}"
