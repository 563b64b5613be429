"""Cuts the silence before and after synthesized speech as it streams, and nothing inside it."""

from __future__ import annotations

import math

import numpy as np

from voiceloop.core.audio import Pcm, silence

BEFORE_S = 0.02
"""Kept before the first sound: a soft onset (h, f) starts below the threshold."""

AFTER_S = 0.08
"""Kept after the last sound: its decay."""

WINDOW_S = 0.005
"""Levels are taken over windows of this length."""

BELOW_DB = 40.0
"""What is this much quieter than the loudest window so far is silence. Measured: the pauses of hibari are 60 dB and
more below its vowels, those of espeak-ng digital zero, final fricatives 20 to 30 dB below the vowels."""

FLOOR_DB = -70.0
"""And what is quieter than this is silence anyway, dBFS: before the first sound there is nothing to compare with."""


class Trimmer:
    """Takes one utterance in chunks of any size; `flush` begins the next.

    Silence that may be the last is held back until sound follows, then given whole.
    """

    def __init__(self, rate: int) -> None:
        self._window = max(1, round(rate * WINDOW_S))
        self._before = round(rate * BEFORE_S)
        self._after = round(rate * AFTER_S)
        self._floor = _power(FLOOR_DB)
        self._held = silence(0)
        self._loudest = 0.0
        self._started = False

    def feed(self, pcm: Pcm) -> Pcm:
        """The samples that are surely wanted. pcm: int16 (n,), any n. Raises ValueError on any other shape."""
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        self._held = np.concatenate((self._held, pcm))
        sounding = self._sounding()
        if sounding.size == 0:
            return self._wait()
        start = 0
        if not self._started:
            self._started = True
            start = max(0, int(sounding[0]) * self._window - self._before)
        sound_end = (int(sounding[-1]) + 1) * self._window
        given = self._held[start:sound_end]
        self._held = self._held[sound_end:]
        return given

    def flush(self) -> Pcm:
        """What belongs to the end, at most AFTER_S; empty if there was no sound at all."""
        tail = self._held
        # The last part of a window was not measured yet; it is kept if it is as loud as sound.
        rest = tail.size % self._window
        sounds = rest > 0 and self._mean_square(tail[-rest:]) > self._threshold()
        if sounds and not self._started:
            tail = tail[max(0, tail.size - rest - self._before) :]
        elif not self._started:
            tail = silence(0)
        elif not sounds:
            tail = tail[: self._after]
        self._held = silence(0)
        self._loudest = 0.0
        self._started = False
        return tail

    def _wait(self) -> Pcm:
        """No sound in what is held: before the first one only the end of it can matter."""
        if not self._started:
            keep = self._before + self._window + self._held.size % self._window
            surplus = max(0, self._held.size - keep) // self._window * self._window
            self._held = self._held[surplus:]
        return silence(0)

    def _sounding(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Numbers of the windows held that sound."""
        n = self._held.size // self._window
        if n == 0:
            return np.zeros(0, np.intp)
        x = self._held[: n * self._window].astype(np.float32).reshape(n, self._window)
        power = np.einsum("ij,ij->i", x, x) / self._window
        self._loudest = max(self._loudest, float(power.max()))
        return np.flatnonzero(power > self._threshold())

    def _threshold(self) -> float:
        return max(self._floor, self._loudest * 10 ** (-BELOW_DB / 10))

    @staticmethod
    def _mean_square(pcm: Pcm) -> float:
        x = pcm.astype(np.float32)
        return float(np.dot(x, x)) / x.size


def _power(db: float) -> float:
    """dBFS as the mean square of int16 samples."""
    return math.pow(10.0, db / 10) * 32768.0**2
