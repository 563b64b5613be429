"""WebRTC's echo canceller AEC3, from pywebrtc-audio."""

from __future__ import annotations

import numpy as np

from voiceloop.core.audio import FRAME, RATE, Pcm


def _hush() -> Pcm:
    """Noise of one least significant bit, -92 dBFS."""
    return np.random.default_rng(0).integers(-1, 2, FRAME).astype(np.int16)


class Aec3:
    """An `EchoCanceller`: 27-43 dB less echo, delays up to 300 ms without a hint (shared/ENGINES.md).

    The output lags the microphone by 8 ms. Not thread-safe.
    """

    def __init__(self) -> None:
        import pywebrtc_audio

        self._canceller = pywebrtc_audio.EchoCanceller(sample_rate=RATE)
        # Digital silence after a reply lets the state of the filters decay into denormal numbers, for good: 2.0 ms
        # for each frame instead of 0.1 (measured). One least significant bit of noise prevents that.
        self._hush = _hush()

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic without the echo of ref; all int16 (320,), 16 kHz mono, in order.

        Synchronous, 0.1 to 0.3 ms. Raises ValueError on any other shape or type.
        """
        if mic.shape != (FRAME,) or ref.shape != (FRAME,) or mic.dtype != np.int16 or ref.dtype != np.int16:
            raise ValueError(f"frames are int16 ({FRAME},), not {mic.dtype} {mic.shape} and {ref.dtype} {ref.shape}")
        return self._canceller.process(mic, ref if ref.any() else self._hush)
