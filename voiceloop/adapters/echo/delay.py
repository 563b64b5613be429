"""How late an echo comes: found from the sound alone, and found again when it jumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import FRAME, RATE

Wave = NDArray[np.float32]

_WINDOW = 16_384
"""Samples (1 s) that are compared at once: longer than the longest delay, short enough for a clock that drifts."""

_EVERY = 12
"""Frames (0.24 s) from one comparison to the next."""

_LONGEST = RATE // 2
"""The longest delay that is looked for, 0.5 s: what the echo path has, and what the devices' buffers add."""

_CLEAR = 12.0
"""Height of a peak over the RMS of all delays from which it is one. Without an echo it stays below 8, with one of
-20 dB it is above 20 after a second (benchmarks/echo.py)."""

_BINS = slice(40, 4500)
"""40 Hz to 4.4 kHz of a window: what loudspeakers give."""

_NEAR = 1200
"""How far a jump may lead, samples (75 ms) either way; what goes further is found by `DelayFinder`."""


class DelayFinder:
    """The delay of an echo, by generalized cross-correlation with weakened phase transform (Knapp and Carter, 1976)."""

    def __init__(self) -> None:
        self._mic: Wave = np.zeros(_WINDOW, np.float32)
        self._ref: Wave = np.zeros(_WINDOW, np.float32)
        self._hann: Wave = np.hanning(_WINDOW).astype(np.float32)
        self._cross = np.zeros(_WINDOW // 2 + 1, np.complex64)
        self._frames = 0

    def step(self, mic: Wave, ref: Wave, *, look: bool = True) -> int | None:
        """One frame of each. The delay in samples when it is time to look for it and there is a clear one."""
        at = self._frames % _EVERY
        if at == 0:
            self._mic[: -_EVERY * FRAME] = self._mic[_EVERY * FRAME :]
            self._ref[: -_EVERY * FRAME] = self._ref[_EVERY * FRAME :]
        place = slice(_WINDOW - (_EVERY - at) * FRAME, _WINDOW - (_EVERY - at - 1) * FRAME)
        self._mic[place], self._ref[place] = mic, ref
        self._frames += 1
        return self._look() if look and at == _EVERY - 1 else None

    @property
    def gain(self) -> float:
        """About the power of the echo against that of the reference, -17 to 0 dB: the loudest may be still to come."""
        mic, ref = float(self._mic @ self._mic), float(self._ref @ self._ref)
        return min(1.0, max(0.02, 2 * mic / (ref + 1e-9)))

    def forget(self) -> None:
        """What was heard before a silence says nothing of what comes after."""
        self._mic[:] = 0
        self._ref[:] = 0
        self._cross[:] = 0

    def _look(self) -> int | None:
        cross = np.fft.rfft(self._mic * self._hann) * np.conj(np.fft.rfft(self._ref * self._hann))
        size = np.abs(cross)
        kept = np.zeros_like(cross)
        kept[_BINS] = cross[_BINS] / (size[_BINS] + 1e-9) ** 0.8
        self._cross = 0.7 * self._cross + 0.3 * kept
        found = np.abs(np.fft.irfft(self._cross)[:_LONGEST])
        at = int(np.argmax(found))
        return at if found[at] > _CLEAR * float(np.sqrt(np.mean(np.square(found)))) + 1e-12 else None


def jump(mic: Wave, expected: Wave) -> int:
    """By how many samples what was heard comes later than what was expected; 0 if no other place fits.

    Both the last 0.1 to 0.2 s. expected: the echo as the filter gives it, so that only its place is unknown.
    """
    size = 2 * mic.size
    cross = np.fft.rfft(mic, size) * np.conj(np.fft.rfft(expected, size))
    found = np.fft.irfft(cross / (np.sqrt(np.abs(cross)) + 1e-9))
    near = np.concatenate((found[-_NEAR:], found[:_NEAR]))
    at = int(np.argmax(near))
    clear = near[at] > 8 * float(np.sqrt(np.mean(np.square(near)))) + 1e-12
    return at - _NEAR if clear and abs(at - _NEAR) > 1 else 0
