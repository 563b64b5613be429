"""WebRTC's echo canceller AEC3, from pywebrtc-audio."""

from __future__ import annotations

import numpy as np

from voiceloop.adapters.echo.presence import EchoPresence
from voiceloop.core.audio import FRAME, RATE, Pcm, silence

_LAG = 128
"""Samples (8 ms) by which AEC3's output lags the microphone, measured by correlation."""

_REST_AFTER = RATE
"""Samples (1 s) of a silent reference after which no echo can be left: the longest delay it finds is 0.3 s."""

_LEARNING = 75
"""Frames (1.5 s) of echo that the canceller needs before it takes enough away; until then nothing is given, once, so
that the loop does not take the beginning of its first reply for a person."""

_NOTHING = silence(FRAME)


def _hush() -> Pcm:
    """Noise of one least significant bit, -92 dBFS."""
    return np.random.default_rng(0).integers(-1, 2, FRAME).astype(np.int16)


class Aec3:
    """An `EchoCanceller`: 27-43 dB less echo, delays up to 300 ms without a hint (shared/ENGINES.md).

    The output lags the microphone by 8 ms. It rests, and costs nothing, while nothing is played. AEC3 takes away 32 to
    50 dB of the user's own voice in the first seconds if there is no echo (measured), so with headphones, where
    none comes back, the microphone is passed on. Not thread-safe.
    """

    def __init__(self) -> None:
        import pywebrtc_audio

        self._canceller = pywebrtc_audio.EchoCanceller(sample_rate=RATE)
        # Digital silence after a reply lets the state of the filters decay into denormal numbers, for good: 2.0 ms
        # for each frame instead of 0.1 (measured). One least significant bit of noise prevents that.
        self._hush = _hush()
        self._quiet = _REST_AFTER
        self._late = silence(_LAG)
        self._presence = EchoPresence()

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic without the echo of ref; all int16 (320,), 16 kHz mono, in order.

        Synchronous, 0.1 to 0.3 ms, 10 us at rest. Raises ValueError on any other shape or type.
        """
        if mic.shape != (FRAME,) or ref.shape != (FRAME,) or mic.dtype != np.int16 or ref.dtype != np.int16:
            raise ValueError(f"frames are int16 ({FRAME},), not {mic.dtype} {mic.shape} and {ref.dtype} {ref.shape}")
        rested = self._quiet >= _REST_AFTER
        played = bool(ref.any())
        self._quiet = 0 if played else self._quiet + FRAME
        late, self._late = self._late, mic[-_LAG:].copy()
        if self._quiet >= _REST_AFTER:
            if self._quiet // FRAME % 5 == 0:
                self._presence.rest(mic)
            return np.concatenate((late, mic[:-_LAG]))
        self._presence.step(mic, ref)
        out: Pcm = self._canceller.process(mic, ref if played else self._hush)
        if self._presence.absent:
            return np.concatenate((late, mic[:-_LAG]))
        if self._presence.heard < _LEARNING:
            return _NOTHING
        # What the canceller held back when it went to rest is long past; the microphone's own samples take its place.
        return np.concatenate((late, out[_LAG:])) if rested else out
