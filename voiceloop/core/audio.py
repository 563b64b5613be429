"""What a piece of audio is, and the few sums every room does with it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
"""Mono samples, int16, shape (n,). The rate goes beside it."""

RATE = 16_000
"""Rate of microphone audio inside the loop, and of both clocks: one tick is one sample."""

FRAME = 320
"""Samples in one microphone frame: 20 ms."""

SILENCE_DB = -96.0
"""Level of digital silence, the floor of `level_db`."""


def ticks(seconds: float) -> int:
    """Seconds as 16 kHz ticks, rounded."""
    return round(seconds * RATE)


def seconds(n_ticks: int) -> float:
    """Ticks as seconds, for logs and reports."""
    return n_ticks / RATE


def level_db(pcm: Pcm) -> float:
    """RMS level in dBFS, -96..0 (a full-scale square wave is 0)."""
    if pcm.size == 0:
        return SILENCE_DB
    x = pcm.astype(np.float32)
    power = float(np.dot(x, x)) / pcm.size
    return max(SILENCE_DB, 10.0 * math.log10(power / 32768.0**2)) if power > 0 else SILENCE_DB


def to_float(pcm: Pcm) -> NDArray[np.float32]:
    """int16 to float32 in -1..1."""
    return pcm.astype(np.float32) / np.float32(32768.0)


def to_pcm(x: NDArray[np.floating]) -> Pcm:
    """Float in -1..1 to int16; louder samples are clipped."""
    return np.clip(np.rint(x * 32768.0), -32768, 32767).astype(np.int16)


def silence(n: int) -> Pcm:
    """n zero samples."""
    return np.zeros(n, dtype=np.int16)


def fade(pcm: Pcm, n: int, *, out: bool = False) -> Pcm:
    """A copy whose first (or, with `out`, last) n samples rise from (fall to) zero linearly."""
    n = min(n, pcm.size)
    if n == 0:
        return pcm.copy()
    x = pcm.astype(np.float32)
    ramp = (np.arange(n, dtype=np.float32) + 0.5) / n
    if out:
        x[-n:] *= ramp[::-1]
    else:
        x[:n] *= ramp
    return np.rint(x).astype(np.int16)


class Rechunker:
    """Cuts a stream of pieces of any size into pieces of one size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = silence(0)

    def feed(self, pcm: Pcm) -> Iterator[Pcm]:
        """Each complete piece so far, shape (size,); the rest waits for the next call."""
        if pcm.size == self._size and not self._rest.size:  # as nearly all that come
            yield pcm
            return
        data = np.concatenate((self._rest, pcm)) if self._rest.size else pcm
        whole = data.size - data.size % self._size
        self._rest = data[whole:].copy()
        for at in range(0, whole, self._size):
            yield data[at : at + self._size]

    def flush(self) -> Pcm:
        """The rest padded with zeros to one piece, or an empty array if there is none."""
        rest, self._rest = self._rest, silence(0)
        return np.concatenate((rest, silence(self._size - rest.size))) if rest.size else rest


class Tape:
    """The last `capacity` samples of a stream, or a little more, addressed by their position since it began.

    It keeps the arrays it is given, so these must not be changed afterwards: copying 50 frames a second into one
    buffer cost more than all else that a quiet frame does.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[Pcm] = deque()
        self.start = 0
        """Position of the oldest sample still held."""
        self.end = 0

    def grow(self, capacity: int) -> None:
        """Keeps more from now on, if that is more."""
        self._capacity = max(self._capacity, capacity)

    def append(self, pcm: Pcm) -> None:
        """Adds samples; the oldest ones beyond the capacity are forgotten."""
        self._pieces.append(pcm)
        self.end += pcm.size
        self.trim(self._capacity)

    def trim(self, n: int) -> None:
        """Forgets what is older than the last n samples, or a little more."""
        while self._pieces and self.end - self.start - self._pieces[0].size >= n:
            self.start += self._pieces.popleft().size

    def read(self, start: int, end: int) -> Pcm:
        """A copy of samples [start, end), shortened to what is still held."""
        start, end = max(start, self.start), min(end, self.end)
        if end <= start:
            return silence(0)
        found: list[Pcm] = []
        newest_first, at = reversed(self._pieces), self.end
        while at > start:
            piece = next(newest_first)
            at -= piece.size
            if at < end:
                found.append(piece[max(0, start - at) : end - at])
        return np.concatenate(found[::-1])


def quietest(pcm: Pcm, start: int, end: int, window: int = RATE // 10) -> int:
    """Position in [start, end) in the middle of the `window` samples with the least energy.

    Where to cut long audio without cutting a word. `window` defaults to 100 ms.
    """
    step = window // 4
    energy = np.square(pcm[start:end].astype(np.float64))
    if energy.size <= window:
        return (start + end) // 2
    total = np.concatenate(([0.0], np.cumsum(energy)))
    starts = np.arange(0, energy.size - window + 1, step)
    power = total[starts + window] - total[starts]
    return start + int(starts[int(np.argmin(power))]) + window // 2


def split(pcm: Pcm, longest: int, shortest: int) -> Iterator[Pcm]:
    """Pieces of at most `longest` samples, cut where it is quietest beyond the first `shortest`.

    A cut depends only on the `longest` samples behind the one before it, so the pieces of a growing
    recording stay the same but for the last.
    """
    at = 0
    while pcm.size - at > longest:
        cut = quietest(pcm, at + shortest, at + longest)
        yield pcm[at:cut]
        at = cut
    yield pcm[at:]
