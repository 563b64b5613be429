"""Whether somebody speaks over the echo: what is left of a frame against what the path is known to leave."""

from __future__ import annotations

import numpy as np

from voiceloop.adapters.echo.linear import BINS, Power, Spectrum
from voiceloop.core.audio import RATE

_BANDS = 18
"""Bands of equal width on the Bark scale, 150 Hz to 5.5 kHz."""

_TAIL = 0.6
"""What is left of the expected echo a frame later: rooms go on after the filter's end."""

_RISE_DB, _FALL_DB = 0.7, 0.07
"""Steps a frame of what is left of an echo: they settle where nine of ten frames have less."""

_FIRST_DB = -8.0
"""Until more is known: the filter counts as good from 10 dB on, in all bands together."""

_EAGER, _YOUNG = 4.0, 100
"""At first the steps are so many times as large, for so many frames (2 s) ever less."""

_SLOW_DB = 0.05
"""The rise while somebody seems to speak."""

_NOISE_RISES = 1.005
"""Factor for each frame by which the noise floor rises while something is louder, 1.1 dB a second."""

_PLAIN_DB = 3.0
"""So much above what is expected says nothing yet."""

_AUDIBLE = 6.0
"""Power over the noise's from which what is left may be a person: the last of a room's tail, in a pause of the reply,
must not leave the door open for its next word."""

_CAP_DB = 15.0
"""More in one band counts no more."""


def _edges() -> list[int]:
    bark = np.linspace(_to_bark(150), _to_bark(5500), _BANDS + 1)
    hz = 600 * np.sinh(bark / 6)
    return [round(each) for each in hz * 2 * (BINS - 1) / RATE]


def _to_bark(hz: float) -> float:
    """Schroeder, Atal and Hall (1979)."""
    return 6 * float(np.arcsinh(hz / 600))


class NearEnd:
    """Compares bands. One per canceller; call it once per frame."""

    def __init__(self) -> None:
        edges = np.array(_edges())
        self._starts = edges[:-1]
        self._end = int(edges[-1])
        self._widths = np.diff(edges).astype(np.float32)
        self._left_db: Power = np.full(_BANDS, _FIRST_DB, np.float32)
        self._echo: Power = np.full(_BANDS, 1e-12, np.float32)
        self._noise: Power = np.full(_BANDS, 1e-7, np.float32)
        self._age = 0
        self.excess_db = 0.0
        """By how much what is left is above what was to be expected, mean over the bands."""
        self.own = 0.0
        """Share of what is left that is as strong as an echo leaves, mean over the bands, 0..1."""

    def step(self, rest: Spectrum, echo: Spectrum, *, speaks: bool, known: bool) -> None:
        """Spectra of 640 points: rest of one frame, echo of two. speaks: somebody seems to. known: the filter is to be
        believed."""
        left, came = self._power(rest), self._power(echo)
        self._echo = np.maximum(came, _TAIL * self._echo)
        rising = np.minimum(self._noise * _NOISE_RISES, left + 1e-10)
        self._noise = np.where(left < self._noise, 0.8 * self._noise + 0.2 * left, rising).astype(np.float32)
        expected = self._echo * 10 ** (self._left_db / 10)
        over_db = 10 * np.log10((left + 1e-12) / (expected + 2 * self._noise + 1e-12))
        if known:
            loud = self._echo > 4 * self._noise
            eager = max(1.0, _EAGER * (1 - self._age / _YOUNG))
            up = _SLOW_DB if speaks else _RISE_DB * eager
            step = np.where(over_db > 0, up, -_FALL_DB * eager) * loud
            self._left_db = np.clip(self._left_db + step, -40.0, 6.0).astype(np.float32)
            self._age += 1
        self.own = float(np.minimum(1.0, expected / (left + 1e-12)).sum()) / _BANDS
        audible = float(left.sum()) > _AUDIBLE * float(self._noise.sum())
        self.excess_db = audible * float(np.minimum(np.maximum(over_db - _PLAIN_DB, 0.0), _CAP_DB).sum()) / _BANDS

    def _power(self, spectrum: Spectrum) -> Power:
        power = spectrum[: self._end].real ** 2 + spectrum[: self._end].imag ** 2
        return np.asarray(np.add.reduceat(power, self._starts) / self._widths, np.float32)
