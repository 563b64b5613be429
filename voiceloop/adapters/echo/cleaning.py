"""WebRTC's noise suppression and gain control (pywebrtc-audio), behind echo cancellation."""

from __future__ import annotations

from voiceloop.core.audio import RATE, Pcm
from voiceloop.ports import EchoCanceller

LEVELS = {"low": 0, "moderate": 1, "high": 2, "highest": 3}
"""6, 12, 18 and 21 dB less noise."""


class Cleaning:
    """An `EchoCanceller` that also takes away steady noise, and brings quiet voices up to a usual level.

    echo: what comes before it; None: the echo stays. noise: one of LEVELS; None: none. Noise suppression makes the
    sound 6 ms later. Both cost words (shared/ENGINES.md): for microphones that are bad, or far away. Not thread-safe.
    """

    def __init__(self, echo: EchoCanceller | None, *, noise: str | None = None, gain: bool = False) -> None:
        import pywebrtc_audio

        self._echo = echo
        self._noise = pywebrtc_audio.NoiseSuppressor(sample_rate=RATE, level=LEVELS[noise]) if noise else None
        self._gain = pywebrtc_audio.GainController(sample_rate=RATE) if gain else None

    @property
    def doubt(self) -> float:
        """As the canceller before it says."""
        return self._echo.doubt if self._echo else 0.0

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic without echo and noise, at another level; int16 (320,). Synchronous, 50 us besides the canceller's."""
        out = self._echo.process(mic, ref) if self._echo else mic
        if self._noise is not None:
            out = self._noise.process(out)
        return self._gain.process(out) if self._gain is not None else out
