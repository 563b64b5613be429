"""One reply in the queue of a loudspeaker, and the soft edges of what is played."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import Pcm, fade, silence


@dataclass(slots=True, eq=False)
class Track:
    """One reply: what waits of it, and its counts. ramp_at: where its fade-in stands."""

    reply: int
    ramp_at: int
    pieces: deque[Pcm] = field(default_factory=deque[Pcm])
    queued: int = 0
    handed: int = 0
    held: bool = False
    flushed: bool = False

    def put(self, pcm: Pcm) -> None:
        """Queues them."""
        self.pieces.append(pcm)
        self.queued += pcm.size

    def take(self, n: int) -> Pcm:
        """At most n samples, and at most the first piece."""
        piece = self.pieces.popleft()
        if piece.size > n:
            self.pieces.appendleft(piece[n:])
            piece = piece[:n]
        self.handed += piece.size
        return piece

    def peek(self, n: int) -> Pcm:
        """A copy of the next samples, n or what there is."""
        found, got = list[Pcm](), 0
        for piece in self.pieces:
            found.append(piece[: n - got])
            got += found[-1].size
            if got == n:
                break
        return np.concatenate(found) if found else silence(0)

    def clear(self) -> int:
        """Drops what waits, for good. Returns how many samples that were."""
        dropped = self.queued - self.handed
        self.pieces.clear()
        self.flushed, self.held = True, False
        return dropped


class Fader:
    """Volume, and the soft edges around a stop."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.wanted = 1.0
        self._factor = 1.0
        self._ramp: NDArray[np.float32] = (np.arange(length, dtype=np.float32) + np.float32(0.5)) / np.float32(length)
        self._tail = silence(0)
        self._owner: int | None = None
        self._zeros = silence(0)

    def begin(self, track: Track) -> None:
        """The next samples of the track, falling to zero, are the next to be given."""
        tail = track.peek(self.length)
        level = float(self._ramp[track.ramp_at]) if track.ramp_at < self.length else 1.0
        tail = np.rint(tail * np.float32(level)).astype(np.int16) if level < 1.0 else tail
        self._tail, self._owner = fade(tail, tail.size, out=True), track.reply

    def withdraw(self, reply: int) -> bool:
        """Forgets a fade-out of this reply. False if there is none or it has begun."""
        if self._owner != reply or not self._tail.size:
            return False
        self.forget()
        return True

    def tail(self, n: int) -> Pcm:
        """At most n samples of the fade-out."""
        given = self._tail[:n]
        if given.size:
            self._tail, self._owner = self._tail[n:], None
        return given

    def rise(self, track: Track, piece: Pcm) -> Pcm:
        """The piece, with what is left of the track's fade-in."""
        n = min(self.length - track.ramp_at, piece.size)
        if n <= 0:
            return piece
        head = piece[:n] * self._ramp[track.ramp_at : track.ramp_at + n]
        track.ramp_at += n
        return np.concatenate((np.rint(head).astype(np.int16), piece[n:]))

    def level(self, block: Pcm) -> Pcm:
        """The block at the wanted volume; a change is spread over it."""
        before, now = self._factor, self.wanted
        if before == now == 1.0:
            return block
        self._factor = now
        factors = np.linspace(before, now, block.size, dtype=np.float32)
        return np.rint(block * factors).astype(np.int16)

    def forget(self) -> None:
        """There is nothing to fade any more."""
        self._tail, self._owner = silence(0), None

    def silence(self, n: int) -> Pcm:
        """Zeros, shared between calls: most blocks are silent."""
        self._factor = self.wanted
        if self._zeros.size < n:
            self._zeros = silence(n)
            self._zeros.flags.writeable = False
        return self._zeros[:n]
