"""Whether what was heard was our own voice: the second net, behind the echo canceller.

Two kinds of evidence. The sound: the canceller says of each frame how likely what it left is our own (`Voice.echo`).
The words: what was heard against what has just been said. Either alone may be wrong: a person may say our words after
us, and may sound while our own voice does. So few words count only together with the sound; of more of them in our
order a person would say few by chance, and whose peer cancels its own echo tells us nothing of the sound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from voiceloop.core.audio import ticks

OWN = 0.4
"""Mean doubt of the canceller in the voiced frames of a segment from which its sound is rather our own: of most people
who speak over an echo, also one twice as loud, it is below (tuning half, benchmarks/echo.py)."""

SURELY_OWN = 0.5
"""The same from which it is, whatever the words are: where an echo path moves, what leaks has .5 to .9, and its words
are scraps. Who is taken for an echo and speaks on is heard half a second later."""

_ALIKE = 0.7
"""Share of the words that must be ours."""

_MANY, _NEARLY_ALL = 5, 0.9
"""So many words, of which so many are ours in our order, are ours without any sound of it: who answers "yes, ten meters
forward" to a reply that still goes on says fewer."""

_LATELY = 24
"""Words of what was said last that an echo may still hold: some 8 s."""

_STEM = 4
"""Letters in which two words must agree at least: what comes back through a room is heard badly."""

_SCRAP = ticks(0.5)
"""What leaks is shorter. Of a voice that has spoken for so long the words, once they are known, say whose it is."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(slots=True)
class Voiced:
    """Speech that was heard, ticks. own: so many of them are likely our own voice."""

    ticks: int = 0
    own: float = 0.0

    def add(self, n: int, echo: float) -> None:
        """n more. echo: how likely they are our own, 0..1."""
        self.ticks += n
        self.own += n * echo


@dataclass(frozen=True, slots=True)
class Likeness:
    """sound: mean doubt of the voiced frames, 0..1. scrap: there was little of it. words: share of the words heard that
    we have just said, in our order, 0..1. n: how many words were heard."""

    sound: float = 0.0
    words: float = 0.0
    n: int = 0
    scrap: bool = True

    @property
    def own(self) -> bool:
        """Whether it was our own voice."""
        return (
            (self.sound >= SURELY_OWN and (self.scrap or not self.n))
            or (self.words >= _ALIKE and self.sound >= OWN)
            or (self.words >= _NEARLY_ALL and self.n >= _MANY)
        )


UNLIKE = Likeness()


def likeness(voiced: Voiced, heard: str | None, said: str) -> Likeness:
    """heard: the words, None while they are not known. said: what the loudspeaker has said last."""
    sound = voiced.own / voiced.ticks if voiced.ticks else 0.0
    share, n = _shared(heard or "", said)
    return Likeness(sound, share, n, voiced.ticks < _SCRAP)


@lru_cache(maxsize=256)  # the rules ask with each input, and the words rarely change in between
def _shared(heard: str, said: str) -> tuple[float, int]:
    """Share of the words heard that are ours, and how many were heard."""
    words = _words(heard)
    return _in_order(words, _words(said)[-_LATELY:]) / len(words) if words else 0.0, len(words)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _in_order(heard: list[str], said: list[str]) -> int:
    """Length of the longest common subsequence, if it lies close together."""
    best = 0
    reach = len(heard) + 2
    for first in range(max(1, len(said) - reach + 1)):
        best = max(best, _common(heard, said[first : first + reach]))
    return best


def _common(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if _same(x, y) else max(row[j], row[j - 1])
    return row[-1]


def _same(a: str, b: str) -> bool:
    return a == b or (len(a) >= _STEM and len(b) >= _STEM and a[:_STEM] == b[:_STEM])
