"""Sums and conversions in spoken or written form. A small parser, never eval()."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from voiceloop.adapters.handlers.figures import read_number, say_number

Token = Fraction | str

_PHRASES = tuple(
    (re.compile(rf"\b{words}\b"), f" {sign} ")
    for words, sign in (
        (r"(?:multiplied by|times|multiply by)", "*"),
        (r"(?:divided by|divide by|over)", "/"),
        (r"(?:take away|takeaway|less)", "minus"),
        (r"added to", "plus"),
        (r"(?:to the power of|raised to(?: the(?: power of)?)?|to the power)", "^"),
        (r"(?:modulo|modulus|mod)", "mod"),
        (r"(?:per cent|percents?)", "%"),
        (r"(?:the )?cube root of", "cbrt"),
        (r"(?:the )?(?:square )?root of", "sqrt"),
    )
)
_SIGNS = {"+": "plus", "-": "minus", "\u2212": "minus", "\u00d7": "*", "\u00f7": "/", "x": "*", "**": "^"}
_SAID = {
    "*": "times",
    "/": "divided by",
    "^": "to the power of",
    "%": "percent",
    "mod": "modulo",
    "sqrt": "the square root of",
    "cbrt": "the cube root of",
}
_NOISE = frozenset(
    re.findall(
        r"\w+",
        "what is the whats how much please um uh er hey okay ok so well now and then equals equal makes make does do "
        "can could you calculate compute work out tell me solve answer to know i want figure result would be just",
    )
)
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fifth": 5,
    "fifths": 5,
    "tenth": 10,
    "tenths": 10,
    "hundredth": 100,
    "hundredths": 100,
}
_PART_SAID = {Fraction(1, 2): "half", Fraction(1, 3): "a third", Fraction(1, 4): "a quarter"}
_OPERATORS = frozenset(
    ("plus", "minus", "negative", "*", "/", "^", "mod", "%", "of", "sqrt", "cbrt", "squared", "cubed", "(", ")")
)
_MULTIPLES = {"double": 2, "twice": 2, "triple": 3}
_PREFIX_FORMS = (
    (re.compile(r"^(?:add|sum|total) (?:up )?(?:of )?(.+)$"), "plus"),
    (re.compile(r"^multiply (.+)$"), "*"),
    (re.compile(r"^product of (.+)$"), "*"),
    (re.compile(r"^divide (.+)$"), "/"),
    (re.compile(r"^(?:difference between|difference of) (.+)$"), "minus"),
)
_DEEPEST = 40


class Impossible(Exception):
    """A sum that can be understood but has no answer; the message says why, to be spoken."""


def answer_sum(text: str) -> str | None:
    """A spoken sentence with the result, or None if text is no sum. text: lower case."""
    text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text)
    for joins in (True, False):  # "a hundred and five" first; "add a hundred and five" needs the other reading
        tokens = _tokens(text, joins=joins)
        if tokens is None or not _is_sum(tokens):
            continue
        try:
            value = _Parser(tokens).whole()
        except Impossible as exc:
            return str(exc)
        except ValueError:
            continue
        if "(" in tokens:  # brackets cannot be heard
            return f"That is {say_number(value)}."
        said = " ".join(_say(t, nxt) for t, nxt in zip(tokens, (*tokens[1:], ""), strict=True))
        result = say_number(value)
        if len(tokens) == 3 and tokens[1] == "/" and result.startswith("about"):
            a, b = tokens[0], tokens[2]
            if isinstance(a, Fraction) and isinstance(b, Fraction) and a.denominator == b.denominator == 1 and a > b:
                result += f", or {say_number(a // b)} remainder {say_number(a % b)}"
        return f"{said[:1].upper()}{said[1:]} is {result}."
    return None


def _is_sum(tokens: Sequence[Token]) -> bool:
    """Whether there is something to work out."""
    n = sum(isinstance(t, Fraction) for t in tokens)
    return (n > 1 and n < len(tokens)) or any(t in ("sqrt", "cbrt", "squared", "cubed") for t in tokens)


def _say(token: Token, following: Token) -> str:
    if isinstance(token, str):
        return _SAID.get(token, token)
    return (_PART_SAID.get(token) if following == "of" else None) or say_number(token)


def _tokens(text: str, *, joins: bool) -> list[Token] | None:
    """Numbers and signs, or None if a word is neither nor noise."""
    for pattern, sign in _PHRASES:
        text = pattern.sub(sign, text)
    words = re.findall(r"\d+(?:\.\d+)?|\.\d+|[a-z]+|\*\*|[^\sa-z0-9]", re.sub(r"(?<=\d),(?=\d{3})", "", text))
    while words and words[0] in _NOISE:
        words = words[1:]
    while words and words[-1] in _NOISE | {"=", "?", ".", "!"}:
        words = words[:-1]
    words = _prefix_form(words)
    found: list[Token] = []
    at = 0
    while at < len(words):
        word = words[at]
        number = read_number(words[at:], joins=joins)
        step = 1
        if number is not None:
            value, step = number
            found.append(value)
        elif word in _PARTS:
            found += ["*"] if found and isinstance(found[-1], Fraction) else []
            found.append(Fraction(1, _PARTS[word]))
        elif word in _MULTIPLES:
            found += [Fraction(_MULTIPLES[word]), "*"]
        elif word == "a" and words[at + 1 : at + 2] and words[at + 1] in _PARTS:
            pass
        elif (sign := _SIGNS.get(word, word)) in _OPERATORS:
            found.append(sign)
        elif word not in (",", "?", "!", "=", "the", "of"):
            return None
        at += step
    return found or None


def _prefix_form(words: list[str]) -> list[str]:
    """ "add two and three" as "two plus three", "subtract two from three" as "three minus two"."""
    text = " ".join(words)
    if match := re.match(r"^subtract (.+) from (.+)$", text):
        return f"{match[2]} minus {match[1]}".split()
    if match := re.match(r"^remainder (?:of|when) (.+?) (?:is )?/ (.+)$", text):
        return f"{match[1]} mod {match[2]}".split()
    for pattern, sign in _PREFIX_FORMS:
        if match := pattern.match(text):
            # "multiply one hundred and five by two": the "and" is not what stands between the operands
            link = r"\b(?:by|with)\b" if re.search(r"\b(?:by|with)\b", match[1]) else r"\b(?:and|to)\b|,"
            return re.sub(link, f" {sign} ", match[1]).split()
    return words


class _Parser:
    """Precedence climbing over the tokens. ValueError if they make no sum."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Fraction:
        """The value of all tokens."""
        value = self._sum()
        if self._at < len(self._tokens):
            raise ValueError("something follows the sum")
        return value

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *signs: str) -> str | None:
        token = self._peek()
        if isinstance(token, str) and token in signs:
            self._at += 1
            return token
        return None

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("plus", "minus"):
            start = self._at
            right = self._product()
            if self._at - start == 2 and self._tokens[self._at - 1] == "%":
                right *= value  # "fifty plus ten percent" means ten percent of the fifty
            value = value + right if sign == "plus" else value - right
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while sign := self._take("*", "/", "mod", "of"):
            right = self._signed()
            if sign in ("/", "mod") and right == 0:
                raise Impossible("Nothing can be divided by zero.")
            value = value * right if sign in ("*", "of") else value / right if sign == "/" else value % right
        return value

    def _signed(self) -> Fraction:
        if self._take("minus", "negative"):
            return -self._signed()
        value = self._postfixed()
        if self._take("^"):
            value = _power(value, self._signed())
        return value

    def _postfixed(self) -> Fraction:
        value = self._atom()
        while sign := self._take("%", "squared", "cubed"):
            value = value / 100 if sign == "%" else _power(value, Fraction(2 if sign == "squared" else 3))
        return value

    def _atom(self) -> Fraction:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("too deep")
        try:
            if sign := self._take("sqrt", "cbrt"):
                return _root(self._signed(), 2 if sign == "sqrt" else 3)
            if self._take("("):
                value = self._sum()
                if not self._take(")"):
                    raise ValueError("an open bracket")
                return value
            token = self._peek()
            if not isinstance(token, Fraction):
                raise ValueError("a number is missing")
            self._at += 1
            return token
        finally:
            self._depth -= 1


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0:
            raise Impossible("A negative number has no such power.")
        if base > 10**12 or exponent > 20:
            raise Impossible("That is too large for me.")
        return Fraction(float(base) ** float(exponent)).limit_denominator(10**9) if base else Fraction(0)
    if base == 0 and exponent < 0:
        raise Impossible("Nothing can be divided by zero.")
    size = max(abs(base.numerator), base.denominator).bit_length()
    if size * abs(exponent) > 4096:  # bounds the time of a sum
        raise Impossible("That is too large for me.")
    return base ** int(exponent)


def _root(value: Fraction, n: int) -> Fraction:
    if value < 0:
        if n == 2:
            raise Impossible("A negative number has no square root.")
        return -_root(-value, n)
    if value > 10**30:
        raise Impossible("That is too large for me.")
    near = round(float(value) ** (1 / n))
    if near**n == value:
        return Fraction(near)
    return Fraction(math.sqrt(value) if n == 2 else float(value) ** (1 / 3))


_UNIT_ROWS = """
length 1 meter meters metre metres m
length 1000 kilometer kilometers kilometre kilometres km kilometers
length 0.01 centimeter centimeters centimetre centimetres cm
length 0.001 millimeter millimeters millimetre millimetres mm
length 1609.344 mile miles
length 0.9144 yard yards
length 0.3048 foot feet ft
length 0.0254 inch inches
mass 1 kilogram kilograms kilo kilos kg
mass 0.001 gram grams g
mass 0.45359237 pound pounds lb lbs
mass 0.028349523125 ounce ounces oz
mass 6.35029318 stone stones
volume 1 liter liters litre litres
volume 0.001 milliliter milliliters millilitre millilitres ml
volume 3.785411784 gallon gallons
volume 0.473176473 pint pints
volume 0.2365882365 cup cups
time 1 second seconds
time 60 minute minutes
time 3600 hour hours
time 86400 day days
time 604800 week weeks
time 31536000 year years
heat 1 celsius celsius centigrade
heat 0 fahrenheit fahrenheit
"""
_UNITS = {
    name: (row[0], Fraction(row[1]), row[3])
    for row in map(str.split, _UNIT_ROWS.strip().splitlines())
    for name in row[2:]
}
"""Name of a unit -> dimension, size in the dimension's first unit, plural."""

_ASK = re.compile(r"how many (?P<to>[a-z]+) (?:are |is |make |go )?(?:there )?(?:in|into|is|are) (?P<n>.+)$")
_CONVERT = re.compile(
    r"^(?:.*\b(?:convert|what is|whats|how much is|how many is) )?(?P<n>.+?) (?:in|to|into|as) (?P<to>[a-z]+)$"
)


def answer_conversion(text: str) -> str | None:
    """A spoken sentence with a quantity in another unit, or None if text asks for none. text: lower case."""
    text = re.sub(r"\bdegrees?( of)? |\bplease\b|[?!]|\.(?!\d)|(?<=\d),(?=\d{3})", "", text).strip()
    match = _ASK.search(text) or _CONVERT.search(text)
    if match is None:
        return None
    words = re.sub(r"(?<=\d)(?=[a-z])|-(?=[a-z])", " ", match["n"]).split()
    negative = bool(words) and words[0] in ("minus", "negative")
    words = words[negative:]
    n, used = read_number(words) or (Fraction(1), int(bool(words) and words[0] in ("a", "an", "one")))
    if len(words) != used + 1 or words[used] not in _UNITS or match["to"] not in _UNITS:
        return None
    n = -n if negative else n
    (dimension, factor, unit), (other, to_factor, to_unit) = _UNITS[words[used]], _UNITS[match["to"]]
    if dimension != other:
        return f"{unit.capitalize()} cannot be turned into {to_unit}."
    if dimension == "heat":
        value = n if unit == to_unit else n * 9 / 5 + 32 if to_unit == "fahrenheit" else (n - 32) * 5 / 9
        unit, to_unit = f"degrees {unit.capitalize()}", f"degrees {to_unit.capitalize()}"
    else:
        value = n * factor / to_factor
        unit = words[used] if n == 1 and len(words[used]) > 2 else unit
    said, verb = say_number(n), "is" if n == 1 or dimension == "heat" else "are"
    return f"{said[:1].upper()}{said[1:]} {unit} {verb} {say_number(value)} {to_unit}."
