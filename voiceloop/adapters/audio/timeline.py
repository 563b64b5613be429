"""Which sample of which reply stands where on the output, as far as it has not been heard yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from voiceloop.core.audio import Pcm
from voiceloop.ports import Progress

MOST = 1024
"""Stretches that are remembered should nobody ask; neighbours are joined, so there are few."""


class Timeline:
    """What a loudspeaker was given, sample by sample. Not thread-safe: `Playback` holds its lock."""

    def __init__(self) -> None:
        self.end = 0
        self.quiet = True
        self._spans: deque[_Span] = deque(maxlen=MOST)
        self._untold: list[Progress] = []

    @property
    def told(self) -> bool:
        """True if all that was given is heard, and `news` has said so."""
        return not self._spans and not self._untold

    def add(self, offset: int, reply: int, n: int, piece: Pcm) -> None:
        """The samples of a reply from n on stand `offset` samples behind the end."""
        at = self.end + offset
        last = self._spans[-1] if self._spans else None
        if last and last.reply == reply and last.at + last.size == at and last.n + last.size == n:
            last.size += piece.size
            last.pieces.append(piece)
        else:
            self._spans.append(_Span(at, reply, n, piece.size, deque([piece])))

    def finish(self, reply: int, n: int) -> None:
        """The reply ended at sample n; nothing else is told of it."""
        self._spans = deque((span for span in self._spans if span.reply != reply), self._spans.maxlen)
        self._untold.append(Progress(reply, n, final=True))

    def where(self, reply: int, n: int) -> int | None:
        """Position of a sample of a reply, also of one that is thought to be heard; None if nothing of it is left."""
        return next((s.at + n - s.n for s in self._spans if s.reply == reply and n <= s.n + s.size), None)

    def news(self, heard: int) -> tuple[Progress, ...]:
        """What was heard since the last look. heard: the position that the loudspeaker has reached."""
        found, self._untold = self._untold, []
        while self._spans and self._spans[0].at < heard:
            span = self._spans[0]
            span.skip(min(heard - span.at, span.size))
            if found and found[-1].reply == span.reply:
                found.pop()
            found.append(Progress(span.reply, span.n))
            if span.size:
                break
            self._spans.popleft()
        return tuple(found)

    def unheard(self, heard: int) -> list[tuple[int, int, deque[Pcm]]]:
        """Takes back what stands behind a position: (reply, its first sample, the samples), in order. What was heard
        before it is still told by the next `news`."""
        self._untold = list(self.news(heard))
        spans = list(self._spans)
        self._spans.clear()
        return [(span.reply, span.n, span.pieces) for span in spans]


@dataclass(slots=True)
class _Span:
    """Samples n..n+size of a reply, at `at` on the output."""

    at: int
    reply: int
    n: int
    size: int
    pieces: deque[Pcm]

    def skip(self, n: int) -> None:
        """The first n samples are done with."""
        self.at, self.n, self.size = self.at + n, self.n + n, self.size - n
        while n:
            piece = self.pieces.popleft()
            if piece.size > n:
                self.pieces.appendleft(piece[n:])
            n -= min(n, piece.size)
