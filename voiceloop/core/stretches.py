"""Cuts a recording of any length into stretches of speech; what is between them is left out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from voiceloop.core.audio import FRAME, RATE, Pcm, quietest

LEAD = RATE
"""Kept before the first voiced frame and after the last one. With 0.3 s Moonshine made 14.7 % errors in 60 recordings,
with all of the silence around them 13.8 %."""

SHORTEST_VOICED = 3
"""Frames of voice that make it speech: a click has fewer."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech, and where it begins in the recording. voiced: its first and last voice, ticks of the recording."""

    start: int
    pcm: Pcm
    voiced: tuple[int, int]


class Stretches:
    """Takes frames with their probability of speech and gives stretches as they end.

    A silence of `gap` ticks ends one, at least 2 * LEAD, or `longest`: then it is cut where it is quietest in its
    second half. Each sample is in one stretch at most; at most `longest` samples are held.
    """

    def __init__(self, longest: int, gap: int, *, on: float = 0.5, off: float = 0.35) -> None:
        self.longest = longest
        self._gap = max(gap, 2 * LEAD)
        self._on, self._off = on, off
        self._voiced = False
        self._at = 0
        self._held: deque[Pcm] = deque()
        self._start = 0
        """Where what is held begins."""
        self._marks: list[int] = []
        """Ends of the voiced frames in what is held; empty: waiting for the first."""

    def feed(self, frame: Pcm, p: float) -> list[Stretch]:
        """What ended with this frame. frame: int16 (320,), 16 kHz mono. p: its probability of speech, 0..1."""
        self._voiced = p >= (self._off if self._voiced else self._on)
        self._held.append(frame)
        self._at += frame.size
        if self._voiced:
            self._marks.append(self._at)
        elif not self._marks:
            self._forget()
        elif self._at - self._marks[-1] >= self._gap:
            return self._close()
        return [self._cut()] if self._at - self._start >= self.longest else []

    def flush(self) -> list[Stretch]:
        """What is left at the end of the recording."""
        return self._close() if self._marks else []

    def _forget(self) -> None:
        """Before the first voice only the lead can matter."""
        while self._at - self._start - self._held[0].size >= LEAD:
            self._start += self._held.popleft().size

    def _close(self) -> list[Stretch]:
        pcm, start, marks = np.concatenate(self._held), self._start, self._marks
        end = min(pcm.size, marks[-1] + LEAD - start)
        self._keep(pcm, end, [])
        return [_stretch(start, pcm[:end], marks)] if len(marks) >= SHORTEST_VOICED else []

    def _cut(self) -> Stretch:
        pcm, start, marks = np.concatenate(self._held), self._start, self._marks
        at = quietest(pcm, pcm.size // 2, pcm.size)
        self._keep(pcm, at, [mark for mark in marks if mark - FRAME >= start + at])
        return _stretch(start, pcm[:at], [mark for mark in marks if mark - FRAME < start + at])

    def _keep(self, pcm: Pcm, at: int, marks: list[int]) -> None:
        """Goes on with what is behind `at`."""
        self._held = deque([pcm[at:]]) if at < pcm.size else deque()
        self._start += at
        self._marks = marks


def _stretch(start: int, pcm: Pcm, marks: list[int]) -> Stretch:
    first, last = (marks[0] - FRAME, marks[-1]) if marks else (start, start + pcm.size)
    return Stretch(start, pcm, (max(start, first), min(start + pcm.size, last)))
