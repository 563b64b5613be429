"""Whether the microphone hears the loudspeaker at all: with headphones it does not."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import FRAME, Pcm

_REACH = 20
"""Frames (0.4 s) after which an echo would have come: the canceller finds delays up to 0.3 s, devices add some."""

_LOOK = 25
"""Frames (0.5 s) of playback in which the microphone must have stayed at its floor."""

_WINDOW = 75
"""Frames (1.5 s) over which the envelopes are compared."""

_LOUD = 328.0
"""RMS of the reference from which it counts as played, -40 dBFS."""

_RISE = 2.0
"""Factor (6 dB) over its floor from which the microphone counts as hearing something."""

_ALIKE = 0.8
"""Correlation of the envelopes from which it is an echo. Of two different voices it stays below 0.6 nearly always."""

_LEAST = 8.0
"""Lowest floor, -72 dBFS: below it a microphone is as good as silent."""

_RISING = 1.004
"""Factor for each frame by which the floor rises during playback: 1.7 dB a second."""

_RISING_AT_REST = 1.02


class EchoPresence:
    """Watches levels of microphone and reference; `absent` says that no echo comes back.

    It begins with assuming an echo. Playback over which the microphone stays at its floor says there is none; when both
    rise and fall together later, there is one again.
    """

    def __init__(self) -> None:
        self.absent = False
        self.heard = 0
        """Frames of playback so far in which the microphone heard something."""
        self._floor = 30.0
        self._n = 0
        self._mic: deque[float] = deque(maxlen=_WINDOW)
        self._ref: deque[float] = deque(maxlen=_WINDOW + _REACH)

    def step(self, mic: Pcm, ref: Pcm) -> None:
        """One frame of each; both int16 (320,)."""
        level = self._follow(mic, _RISING)
        self._n += 1
        self.heard += level > self._floor * _RISE
        self._mic.append(level)
        self._ref.append(_rms(ref))
        if len(self._ref) < _LOOK + _REACH:
            return
        if self.absent:
            self.absent = not self._alike()
        else:
            self.absent = self._silent()

    def rest(self, mic: Pcm) -> None:
        """A frame during which nothing was played; called now and then it is enough."""
        self._follow(mic, _RISING_AT_REST)

    def _follow(self, mic: Pcm, rising: float) -> float:
        """The level; the floor falls with it at once, and rises slowly: speech and echo pause, a fan does not."""
        level = _rms(mic)
        if level > self._floor:
            self._floor = min(level, self._floor * rising)
        else:
            self._floor = max(_LEAST, 0.9 * self._floor + 0.1 * level)
        return level

    def _silent(self) -> bool:
        """Whether all of the last half second the loudspeaker was loud, long enough ago, and the microphone was not."""
        played = list(self._ref)[-_LOOK - _REACH :]
        heard = list(self._mic)[-_LOOK:]
        loud = sum(level > _LOUD for level in played[:_LOOK])
        return loud >= 0.8 * _LOOK and sum(level > self._floor * _RISE for level in heard) <= 1

    def _alike(self) -> bool:
        """Whether the microphone rises and falls with the reference at some delay."""
        if self._n % 5 or len(self._mic) < _WINDOW or len(self._ref) < _WINDOW + _REACH:
            return False
        mic = np.log(np.asarray(self._mic) + self._floor)
        ref = np.log(np.asarray(self._ref) + 30.0)
        if float(np.mean(np.asarray(self._mic) > self._floor * _RISE)) < 0.3:
            return False
        return any(_correlation(mic, ref[_REACH - lag : _REACH - lag + _WINDOW]) > _ALIKE for lag in range(_REACH))


def _rms(pcm: Pcm) -> float:
    x = pcm.astype(np.float32)
    return math.sqrt(float(np.dot(x, x)) / FRAME)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    return float(np.dot(a, b)) / size if size > 0 else 0.0
