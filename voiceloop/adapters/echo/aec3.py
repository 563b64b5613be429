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

_LEARNING = 100
"""Frames (2 s) of echo after which AEC3 counts as ready at the latest."""

_READY = 0.01
"""Share of the microphone's power that AEC3 leaves when it is ready (20 dB). Until then, once, nothing is given, so
that the loop does not take the beginning of its first reply for a person."""

_LEAST = 65
"""Frames of echo (1.3 s) from which that can be said: at a delay of 0.3 s AEC3 has found its place by then."""

_USUAL_DB = 1.5
"""Excess over what an echo leaves that happens; what is more adds up, and is forgotten as fast."""

_SURELY_DB = 1.0
"""What is forgotten besides where what is left is all echo. With 4 the gaps between a person's syllables cost words."""

_NOBODY, _SOMEBODY, _CERTAIN = 4.0, 8.0, 30.0
"""Sums, in dB times frames, that are nothing, and that are a person; in between both sounds are mixed. Two frames of
somebody as loud as the echo are enough. More than the last counts no more: it is over 0.3 s after his last sound."""

_DUCKED = 0.8
"""What is taken off besides (14 dB) where what is left is all echo: AEC3 lets through words in its first seconds."""

_UNKNOWN, _ASTRAY = 0.5, 0.9
"""The doubt while the path is not known, and while a known one has just moved."""

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
    """AEC3's sound, but never louder than the filter's; the filter's, while somebody speaks."""

    def __init__(self) -> None:
        self.doubt = 0.0
        self._near = NearEnd()
        self._late: Wave = np.zeros(_LAG, np.float32)
        self._sum = 0.0
        self._share = 0.0
        self._quieter = 1.0

    def wake(self, late: Pcm) -> None:
        """late: the microphone's last samples before."""
        self._late = (late / 32768).astype(np.float32)
        self._sum = 0.0

    def step(self, linear: Linear, mic: Pcm, ref: Pcm, out: Pcm) -> Pcm:
        """out: what AEC3 made of mic."""
        rest, _ = linear.step((mic / 32768).astype(np.float32), (ref / 32768).astype(np.float32))
        whole = np.concatenate((self._late, rest))
        self._late, filtered = whole[-_LAG:], whole[:FRAME] * 32768
        before, self._share = self._share, self._judge(linear, filtered, out)
        if before == self._share == 0.0 and self._quieter == 1.0:
            return out
        ramp = np.linspace(before, self._share, FRAME, dtype=np.float32)
        mixed = ramp * filtered + (1 - ramp) * (self._quieter * out)
        return np.rint(np.clip(mixed, -32768, 32767)).astype(np.int16)

    def _judge(self, linear: Linear, filtered: Wave, out: Pcm) -> float:
        """The filter's share."""
        near = self._near
        if linear.delay is not None:
            near.step(linear.rest, linear.taken, speaks=self._sum > _NOBODY, known=not linear.lost)
        if linear.lost:
            self._sum, self._quieter = 0.0, 1.0
            self.doubt = _ASTRAY if linear.moved else _UNKNOWN
            return 0.0
        self.doubt = near.own
        less = _USUAL_DB + _SURELY_DB * near.own * near.own
        self._sum = min(_CERTAIN, max(0.0, self._sum + near.excess_db - less))
        share = min(1.0, max(0.0, (self._sum - _NOBODY) / (_SOMEBODY - _NOBODY)))
        # After a jump AEC3 lets through for a while what the filter has already taken off again.
        left, theirs = float(filtered @ filtered), float(np.square(out, dtype=np.float32).sum())
        self._quieter = min(1.0, (left / (theirs + 1.0)) ** 0.5) * (1.0 - _DUCKED * near.own * near.own)
        return share


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
