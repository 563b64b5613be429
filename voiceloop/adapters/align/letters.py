"""Words placed by their letters between the pauses that are heard: for any language, without a model."""

from __future__ import annotations

import numpy as np

from voiceloop.core.audio import RATE, Pcm, seconds, to_float
from voiceloop.core.transcript import Word
from voiceloop.core.words import CLOSERS, SENTENCE_END, spread, weight

WINDOW = RATE // 100
"""Levels are taken over 10 ms."""

PAUSE = 15
"""Windows of quiet that are a pause: a stop consonant closes for up to 120 ms."""

BELOW_DB = 30.0
"""What is this much below the loud parts is quiet, and """

ABOVE_DB = 6.0
"""what is less than this above the quietest tenth, up to 12 dB below the loud parts: in noise no pause is still."""

_PUNCTUATION_S = 0.25
"""How much a pause may lie beside the place that the letters give it, for it to be at a comma or a full stop."""


class Letters:
    """An `Aligner` for texts in any language."""

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def align(self, pcm: Pcm, text: str) -> tuple[Word, ...]:
        """A `Word` for each word of text. Never fails; 1 ms for 10 s."""
        return place(pcm, text)

    async def aclose(self) -> None:
        """Nothing to give back."""


def place(pcm: Pcm, text: str) -> tuple[Word, ...]:
    """The words over the parts of pcm that sound: each part gets the words that are about as long."""
    words = text.split()
    parts = sounding(pcm)
    if not words or not parts:
        return spread(text, 0.0, seconds(pcm.size))
    found: list[Word] = []
    for (start, end), (first, last) in zip(parts, _shared(words, parts), strict=True):
        found.extend(spread(" ".join(words[first:last]), seconds(start), seconds(end)))
    return tuple(found)


def sounding(pcm: Pcm) -> list[tuple[int, int]]:
    """Samples from and to which there is sound, with pauses between them; empty for silence."""
    n = pcm.size // WINDOW
    if n == 0:
        return []
    x = to_float(pcm[: n * WINDOW]).reshape(n, WINDOW)
    level = 10 * np.log10(np.einsum("ij,ij->i", x, x) / WINDOW + 1e-9)
    quiet, loudest = np.percentile(level, (10, 95))
    loud = np.flatnonzero(level > max(loudest - BELOW_DB, min(quiet + ABOVE_DB, loudest - 12)))
    if loud.size == 0 or float(level.max()) < -70:
        return []
    breaks = np.flatnonzero(np.diff(loud) > PAUSE)
    starts = [loud[0], *loud[breaks + 1]]
    ends = [*loud[breaks], loud[-1]]
    return [(int(a) * WINDOW, (int(b) + 1) * WINDOW) for a, b in zip(starts, ends, strict=True)]


def _shared(words: list[str], parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each part the first of its words and the one after the last; perhaps none.

    The cheapest sharing, found by dynamic programming: a part costs how far its length is from that of its words,
    squared, in seconds, and a pause without punctuation costs a little more than one with it.
    """
    ends = np.concatenate(([0], np.cumsum([weight(word) for word in words])))
    pace = sum(b - a for a, b in parts) / RATE / float(ends[-1])
    cost = np.full(len(words) + 1, np.inf)
    cost[0] = 0.0
    came: list[np.ndarray[tuple[int], np.dtype[np.intp]]] = []
    for start, end in parts:
        length = (end - start) / RATE
        # [i, j]: this part has the words i to j.
        missed = (ends[None, :] - ends[:, None]) * pace - length
        step = cost[:, None] + np.where(missed > -length - 1e-9, missed**2, np.inf)
        step[np.tril_indices(len(words) + 1, -1)] = np.inf
        came.append(np.argmin(step, axis=0))
        cost = step.min(axis=0) + np.array([_unpunctuated(words, j) for j in range(len(words) + 1)])
    found: list[tuple[int, int]] = []
    last = len(words)
    for choice in reversed(came):
        first = int(choice[last])
        found.append((first, last))
        last = first
    return found[::-1]


def _unpunctuated(words: list[str], before: int) -> float:
    """What a pause before that word costs."""
    if before in (0, len(words)):
        return 0.0
    text = words[before - 1].rstrip(CLOSERS)
    return 0.0 if text.endswith((*SENTENCE_END, ",", ";", ":")) else _PUNCTUATION_S**2
