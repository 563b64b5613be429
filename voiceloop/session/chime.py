"""A soft sound that says: still here."""

from __future__ import annotations

import numpy as np

from voiceloop.core.audio import Pcm, to_pcm

_NOTES = ((660.0, 0.0), (880.0, 0.14))
"""Hz, and seconds after which they begin."""

_LENGTH_S = 0.5
_DECAY_S = 0.08
_RISE_S = 0.005
_PEAK = 0.08


def chime(rate: int) -> Pcm:
    """Two notes that rise and die away, half a second, peak -22 dBFS. int16 (n,) at that rate, the same each time."""
    t = np.arange(round(_LENGTH_S * rate)) / rate
    sound = np.zeros(t.size)
    for hz, since_s in _NOTES:
        age = np.maximum(t - since_s, 0.0)
        sound += np.sin(2 * np.pi * hz * age) * np.exp(-age / _DECAY_S) * np.minimum(age / _RISE_S, 1.0)
    return to_pcm(_PEAK * sound / np.abs(sound).max() * np.minimum((_LENGTH_S - t) / _RISE_S, 1.0))
