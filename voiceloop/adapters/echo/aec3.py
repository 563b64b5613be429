"""The echo canceller: a linear filter that leaves people alone, and WebRTC's AEC3 (pywebrtc-audio) for the rest.

AEC3 alone silences what the loudspeaker plays within half a second, and with it half of what somebody says over it: of
people as loud as the echo it let one in four pass too late or not at all, and 6 dB below it every second one (lowest
rows of benchmarks/echo.py). The linear filter takes 3 s to learn the path and then takes off 15 to 30 dB without any
harm to a voice. So AEC3's sound is given while only the echo is heard, or while the filter does not know the path; the
filter's, while somebody speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voiceloop.adapters.echo.linear import Linear, Wave
from voiceloop.adapters.echo.nearend import NearEnd
from voiceloop.adapters.echo.presence import EchoPresence
from voiceloop.core.audio import FRAME, RATE, Pcm, silence

_LAG = 128
"""Samples (8 ms) by which AEC3's output lags the microphone, measured by correlation."""

_REST_AFTER = RATE
"""Samples (1 s) of a silent reference after which no echo can be left: the longest delay it finds is 0.3 s."""

_LEARNING = 75
"""Frames (1.5 s) of echo after which AEC3 counts as ready at the latest."""

_READY = 0.03
"""Share of the microphone's power that AEC3 leaves when it is ready (15 dB); until then, once, nothing is given, so that
the loop does not take the beginning of its first reply for a person."""

_LEAST = 45
"""Frames of echo (0.9 s) from which that can be said: at a delay of 0.3 s AEC3 has found its place by then."""

_NOBODY_DB, _SOMEBODY_DB = 1.5, 3.0
"""Excess over what the echo leaves, smoothed, that is nothing and that is a person; in between both sounds are mixed."""

_UNKNOWN = 0.5

_NOTHING = silence(FRAME)


def _hush() -> Pcm:
    """Noise of one least significant bit, -92 dBFS."""
    return np.random.default_rng(0).integers(-1, 2, FRAME).astype(np.int16)


class Aec3:
    """An `EchoCanceller` for delays up to 0.5 s that move, clocks that drift, and people who speak over it.

    The output lags the microphone by 8 ms. It rests, and costs nothing, while nothing is played; what it learned of the
    path stays. With headphones, where no echo comes back, the microphone is passed on. Not thread-safe.
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
        self._start = _Start()
        self._linear = Linear()
        self._mix = _Mix()
        self.doubt = 0.0
        """How likely what is left of the last frame is our own voice, 0..1; 0.5: something is played, and the path is
        not known well enough to say."""

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic without the echo of ref; all int16 (320,), 16 kHz mono, in order.

        Synchronous, 0.3 to 0.4 ms, 10 us at rest. Raises ValueError on any other shape or type.
        """
        if mic.shape != (FRAME,) or ref.shape != (FRAME,) or mic.dtype != np.int16 or ref.dtype != np.int16:
            raise ValueError(f"frames are int16 ({FRAME},), not {mic.dtype} {mic.shape} and {ref.dtype} {ref.shape}")
        rested = self._quiet >= _REST_AFTER
        played = bool(ref.any())
        self._quiet = 0 if played else self._quiet + FRAME
        late, self._late = self._late, mic[-_LAG:].copy()
        if self._quiet >= _REST_AFTER:
            self.doubt = 0.0
            if self._quiet // FRAME % 5 == 0:
                self._presence.rest(mic)
            return np.concatenate((late, mic[:-_LAG]))
        self._presence.step(mic, ref)
        out: Pcm = self._canceller.process(mic, ref if played else self._hush)
        if rested:
            self._linear.wake()
            # What AEC3 held back when it went to rest is long past; the microphone's own samples take its place.
            out = np.concatenate((late, out[_LAG:]))
            self._mix.wake(late)
        mixed = self._mix.step(self._linear, mic, ref, out)
        self.doubt = self._mix.doubt
        if self._presence.absent:
            self.doubt = 0.0
            return np.concatenate((late, mic[:-_LAG]))
        if not self._start.ready(mic, out, self._presence.heard, known=not self._linear.lost):
            return _NOTHING
        return mixed


class _Mix:
    """AEC3's sound, or the filter's while somebody speaks."""

    def __init__(self) -> None:
        self.doubt = 0.0
        self._near = NearEnd()
        self._late: Wave = np.zeros(_LAG, np.float32)
        self._excess_db = 0.0
        self._share = 0.0

    def wake(self, late: Pcm) -> None:
        """late: the microphone's last samples before."""
        self._late = (late / 32768).astype(np.float32)

    def step(self, linear: Linear, mic: Pcm, ref: Pcm, out: Pcm) -> Pcm:
        """out: what AEC3 made of mic."""
        rest, _ = linear.step((mic / 32768).astype(np.float32), (ref / 32768).astype(np.float32))
        near, speaks = self._near, self._share > _UNKNOWN
        excess = near.step(linear.rest, linear.taken, speaks=speaks) if linear.delay is not None else 0.0
        if linear.lost:
            excess, self.doubt = 0.0, max(_UNKNOWN, min(1.0, linear.match.now))
        else:
            self.doubt = near.own
        # Up at once, down by half in 60 ms: the quiet ends of words belong to them.
        self._excess_db = max(0.5 * self._excess_db + 0.5 * excess, 0.8 * self._excess_db) if not linear.lost else 0.0
        share = min(1.0, max(0.0, (self._excess_db - _NOBODY_DB) / (_SOMEBODY_DB - _NOBODY_DB)))
        before, self._share = self._share, share
        whole = np.concatenate((self._late, rest))
        self._late = whole[-_LAG:]
        if before == share == 0.0:
            return out
        ramp = np.linspace(before, share, FRAME, dtype=np.float32)
        mixed = ramp * whole[:FRAME] * 32768 + (1 - ramp) * out
        return np.rint(np.clip(mixed, -32768, 32767)).astype(np.int16)


@dataclass(slots=True)
class _Start:
    """Whether AEC3 has begun to work: the first echo ever is not believed before."""

    done: bool = False
    heard: float = 0.0
    left: float = 0.0

    def ready(self, mic: Pcm, out: Pcm, frames: int, *, known: bool) -> bool:
        """frames: how many of echo there were. known: the filter knows the path."""
        if self.done:
            return True
        self.heard = 0.8 * self.heard + 0.2 * float(np.square(mic, dtype=np.float64).sum())
        self.left = 0.8 * self.left + 0.2 * float(np.square(out, dtype=np.float64).sum())
        works = frames >= _LEAST and self.left < _READY * self.heard
        self.done = known or works or frames >= _LEARNING
        return self.done
