"""For loudspeakers that sleep while they are given silence, and swallow the first words that wake them."""

from __future__ import annotations

import numpy as np

from voiceloop.core.audio import Pcm, silence

_PEAK = 4
"""Steps of 16 bits: noise at -82 dBFS, which nobody hears, and not the digital silence in which devices fall asleep."""


class Primer:
    """A whisper of noise before a reply, if nothing was played for a while.

    It delays that reply by primer_s; 0: nothing. sleeps_after_s: silence after which the device is taken to sleep; at
    the start it does. Streams stay open all the time and are given zeros, so that a sound server suspends nothing.
    """

    def __init__(self, rate: int, primer_s: float, sleeps_after_s: float) -> None:
        self._whisper = np.random.default_rng(1).integers(-_PEAK, _PEAK + 1, round(rate * primer_s)).astype(np.int16)
        self._after = round(rate * sleeps_after_s)
        self._quiet = self._after
        self._left = silence(0)

    def wake(self, n: int) -> Pcm:
        """Samples to play before the next sample of a reply, at most n; none if it is awake."""
        if self._quiet >= self._after and self._quiet:
            self._left = self._whisper
        self._quiet = 0
        given, self._left = self._left[:n], self._left[n:]
        return given

    def sleep(self) -> None:
        """It is another device from now on, or the same one opened anew: as at the start."""
        self._quiet, self._left = self._after, silence(0)

    def rest(self, n: int) -> None:
        """n samples of silence were played."""
        self._quiet += n
