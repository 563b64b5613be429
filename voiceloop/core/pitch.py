"""How high a voice ends above its own low: people let it fall where they have finished, and keep it up elsewhere.

Autocorrelation at 4 kHz. Of all the sounds of the last syllables it tells most (benchmarks/fit_turns.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import RATE, Pcm

USUAL_ST = -0.5
"""Where there is too little voice to compare: about as often an end as not."""

SPAN = 5 * RATE
"""Samples that are looked at: the speaker's low is that of his last words, and the cost has a bound."""

_DOWN = 4
_SLOW = RATE // _DOWN
_WINDOW = _SLOW * 40 // 1000
_HOP = _SLOW // 100
_LOWEST, _HIGHEST = 66, 400
_FINE = 2
"""Lags between two samples: a high voice has so few samples in a period that two periods often fit better than one."""
_LAGS = slice(_FINE * _SLOW // _HIGHEST, _FINE * _SLOW // _LOWEST + 1)
_SHORTER = 0.08
"""Of two periods that fit alike the shorter one is right: the longest one must correlate by so much better."""

_VOICED = 0.5
_LEAST = 20
"""Voiced frames (0.2 s) below which nothing is said."""

_LAST = 12
_OCTAVES = 0.9
"""What is farther from the middle of a voice is a wrong period."""

_LOW = 30
"""Percentile of the pitch that counts as low."""

_HANN = np.hanning(_WINDOW).astype(np.float32)
_FFT = 256
"""As long as the window and the longest lag: what wraps around stays outside of `_LAGS`."""


def _alike(spectra: NDArray[np.complex128]) -> NDArray[np.float32]:
    """Autocorrelations, 1 at lag 0, up to the longest lag: the spectra are made longer, so that lags become finer."""
    power = spectra.real**2 + spectra.imag**2
    found = np.fft.irfft(power, _FINE * _FFT)[:, : _LAGS.stop]
    return (found / (found[:, :1] + 1e-9)).astype(np.float32)


_OWN = _alike(np.fft.rfft(_HANN[np.newaxis], _FFT))[0]
"""The window's own autocorrelation, by which that of what it shows is divided."""


def end_st(pcm: Pcm) -> float:
    """Semitones by which the last 120 ms of voice lie above the lower third of the last 5 s.

    pcm: int16 (n,), 16 kHz, n >= 0; silence at its end does not count. USUAL_ST where there is less than 0.2 s of
    voice. About 2 ms.
    """
    frames = _frames(pcm[-SPAN:])
    if len(frames) == 0:
        return USUAL_ST
    level_db = 10.0 * np.log10(np.square(frames).mean(axis=1) + 1.0)
    quiet, loud = np.percentile(level_db, (5, 95))
    octaves, fit = _pitch(frames[level_db > quiet * 2 / 3 + loud / 3])
    voiced = octaves[fit > _VOICED]
    if voiced.size < _LEAST:
        return USUAL_ST
    voiced = voiced[np.abs(voiced - np.median(voiced)) < _OCTAVES]
    return 12.0 * float(np.median(voiced[-_LAST:]) - np.percentile(voiced, _LOW))


def _frames(pcm: Pcm) -> NDArray[np.float32]:
    """Each 40 ms, 10 ms apart, the last one at the end, without what does not swing; shape (n, _WINDOW)."""
    slow = pcm[pcm.size % _DOWN :].reshape(-1, _DOWN).astype(np.float32).mean(axis=1)
    if slow.size < _WINDOW:
        return np.zeros((0, _WINDOW), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(slow, _WINDOW)[(slow.size - _WINDOW) % _HOP :: _HOP]
    return frames - frames.mean(axis=1, keepdims=True)


def _pitch(frames: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Pitch of each frame (octaves), and how well that period fits (1: exactly)."""
    alike = _alike(np.fft.rfft(frames * _HANN, _FFT))[:, _LAGS] / _OWN[_LAGS]
    best = (alike - np.linspace(0, _SHORTER, alike.shape[1], dtype=np.float32)).argmax(axis=1)
    return np.log2(_FINE * _SLOW / (best + _LAGS.start)), alike[np.arange(best.size), best]
