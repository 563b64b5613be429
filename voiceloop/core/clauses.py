"""Reply deltas become speakable clauses as they stream.

Speech can start when the first clause is known, so it may end early, at a comma; later ones have time while the
one before is played, and end with their sentence unless they get long. A full stop is judged when the character
behind it is seen: `3.` may go on as `3.14`.
"""

# ruff: noqa: RUF001  (punctuation of many scripts looks like other punctuation; that is the point of it)
from __future__ import annotations

import re
import unicodedata

from voiceloop.core.markdown import Markdown

CODE = "Code omitted."
"""What is said in place of a code block."""

_CLOSERS = "\"'”’»›)]}」』）】》〉"
_STOPS = ".!?"
_WIDE_STOPS = "。！？｡．।॥؟۔።፧፨։။។៕᠃᠉།༎‼⁇⁈⁉⸮"
_COMMAS = ",;:"
_WIDE_COMMAS = "，、；：､،؛፣፤፥—…‥"


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# Never the end of a sentence.
_TITLES = _words(
    "mr mrs ms mx dr prof st sgt capt lt col gen hon rev fr sen rep gov pres mt vs cf viz e.g i.e eg ie",
    "hr frl z.b d.h u.a bzw evtl ggf sog mme mlle sra srta",
)
# The end of a sentence unless a number follows.
_NUMBERED = _words("no nr nos fig figs p pp vol vols art sec ch eq jan feb mar apr jun jul aug sep sept oct nov dec")
# The end of a sentence only if a capital letter follows.
_ENDINGS = _words(
    "etc al a.m p.m inc ltd co corp llc jr sr approx est dept univ assn bros ave blvd rd ca usw usf",
    "ph.d b.c a.d",
)
_WORD = re.compile(r"[^\s(\[{\"'“‘«„—–-]*$")
_INITIALS = re.compile(r"(?:[A-Z]\.)+[A-Z]|[A-HJ-Z]")
_ENUMERATED = re.compile(r"(?:^[\s(\"'“]*(?:\d{1,3}|[A-Za-z])|[:;]\s+[1aA]|\([1-9a-zA-Z])\.$")
_DASHED = re.compile(r"\s(?:-{1,3}|–)$")

_EMOTICON = re.compile(r"(?:(?<=\s)|^)(?:[:;=]'?-?[)(DPpoO|/*]+|<3)(?=[\s.!?,]|$)")
_EMPTY = re.compile(r"\(\s*\)|\[\s*\]")
_GAP = re.compile(r"\s+(?=[,;:!?.]+(?:\s|$))")
_LEAD = re.compile(r"(?:[\s,;:!?)\]}…—–、，。]|-(?!\w)|\.(?!\w))+")
_TRAIL = re.compile(r"(?:\s+#+|\s*[—–]|\s+-+|\s+)+$")


class Clauses:
    """Cuts one reply after the other into clauses; `flush` ends a reply.

    The result depends on the text alone, not on how it was cut into deltas. Lengths are in characters of a
    script with an alphabet; a Chinese, Japanese or Korean one counts as three.
    first: from here on the first clause of a reply ends at a comma. soft: the same for later ones.
    longest: none is longer; without a comma it ends between two words. first_longest: the same for the first.
    code: what is said in place of a code block.
    """

    def __init__(
        self, *, first: int = 25, soft: int = 80, longest: int = 200, first_longest: int = 120, code: str = CODE
    ) -> None:
        self._markdown = Markdown(code)
        self._limits = (soft, longest)
        self._first_limits = (first, first_longest)
        self._reset()

    def _reset(self) -> None:
        self._out: list[str] = []
        self._text = ""
        self._weight = 0
        self._comma = 0
        self._doubt = ""
        self._begun = False

    def feed(self, delta: str) -> list[str]:
        """Clauses that are complete now."""
        for ch in self._markdown.feed(delta):
            self._step(ch)
        out, self._out = self._out, []
        return out

    def flush(self) -> list[str]:
        """The rest, when the reply is complete; the next delta begins another reply."""
        for ch in self._markdown.flush():
            self._step(ch)
        self._cut(len(self._text))
        out = self._out
        self._reset()
        return out

    def _step(self, ch: str) -> None:
        """Adds one character; what stands before it may turn out to be a clause."""
        if ch == "\n":
            self._cut(len(self._text))
            return
        if ch.isspace() or unicodedata.category(ch) == "Cc":
            ch = " "
            if self._text[-1:] in ("", " "):
                return
        if self._text:
            self._judge(ch)
            self._limit(ch)
        if self._text or ch != " ":
            self._text += ch
            self._weight += _weight(ch)

    def _judge(self, ch: str) -> None:
        """Cuts, or notes a comma, if a boundary lies between the text and ch."""
        if self._text[-1] == " ":
            doubt, self._doubt = self._doubt, ""
            if (doubt == "number" and not ch.isdigit()) or (doubt == "capital" and ch.isalpha() and not ch.islower()):
                self._cut(len(self._text))
            return
        body = self._text.rstrip(_CLOSERS)
        mark = body[-1:]
        if not mark or ch in _CLOSERS or ch in _STOPS or ch in _WIDE_STOPS:
            return
        spaced = ch == " " or _uncased(ch)
        if (mark in _WIDE_STOPS and not ch.isdigit()) or (mark in "!?" and spaced):
            self._cut(len(self._text))
        elif mark == "." and spaced:
            self._full_stop(body)
        elif mark in _WIDE_COMMAS or (spaced and (mark in _COMMAS or _DASHED.search(body))):
            self._pause()

    def _full_stop(self, body: str) -> None:
        """Judges a `.` with a space behind it."""
        if body.endswith(".."):
            self._pause()
            return
        match = _WORD.search(body[-24:-1])
        word = match[0] if match else ""
        if word.lower() in _TITLES or _INITIALS.fullmatch(word) or _ENUMERATED.search(body):
            return
        if word.lower() in _NUMBERED:
            self._doubt = "number"
        elif word.lower() in _ENDINGS:
            self._doubt = "capital"
        else:
            self._cut(len(self._text))

    def _pause(self) -> None:
        """Cuts at a comma or its like if the clause is long enough, else remembers it for `_limit`."""
        first, soft = self._first_limits[0], self._limits[0]
        if self._weight >= (soft if self._begun else first):
            self._cut(len(self._text))
        else:
            self._comma = len(self._text)

    def _limit(self, ch: str) -> None:
        """Cuts before ch if the clause would become too long."""
        _, longest = self._limits if self._begun else self._first_limits
        over = self._weight + _weight(ch) - longest
        # A mark on the letter before stays with it, within reason.
        if over <= 0 or (unicodedata.category(ch)[0] == "M" and over <= longest):
            return
        if self._comma * 4 >= len(self._text):
            self._cut(self._comma)
        elif ch == " ":
            self._cut(len(self._text))
        else:
            self._cut((self._text.rfind(" ") + 1) or len(self._text))

    def _cut(self, n: int) -> None:
        clause, self._text = _tidy(self._text[:n]), self._text[n:].lstrip()
        self._weight = sum(map(_weight, self._text))
        self._comma = 0
        if not self._text:
            self._doubt = ""
        if any(map(str.isalnum, clause)):
            self._out.append(clause)
            self._begun = True


def speakable(text: str) -> str:
    """A whole text as it is to be said, in one line; empty if there is nothing to say."""
    endless = len(text) * 3 + len(CODE)
    clauses = Clauses(first=endless, soft=endless, longest=endless, first_longest=endless)
    said = clauses.feed(text) + clauses.flush()
    closed = _STOPS + _WIDE_STOPS + _COMMAS + _WIDE_COMMAS
    marked = (c if c.rstrip(_CLOSERS)[-1:] in closed else c + "." for c in said[:-1])
    return " ".join([*marked, *said[-1:]])


def _tidy(text: str) -> str:
    """One clause without what dropped markup and pictures leave behind."""
    text = _EMPTY.sub("", _EMOTICON.sub("", text))
    text = _GAP.sub("", " ".join(text.split()))
    lead = _LEAD.match(text)
    return _TRAIL.sub("", text[lead.end() :] if lead else text)


def _uncased(ch: str) -> bool:
    """A letter of a script without capitals, where a sentence may follow without a space."""
    return ch.isalpha() and not (ch.isupper() or ch.islower())


def _weight(ch: str) -> int:
    return 3 if unicodedata.east_asian_width(ch) in "WF" else 1
