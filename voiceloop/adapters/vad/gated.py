"""A cheap detector in front of a costly one, so that a quiet room costs next to nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable

from voiceloop.core.audio import Pcm
from voiceloop.ports import SharingVad, Vad

_HOLD = 50
"""Frames (1 s) for which the model goes on after the cheap detector last heard something."""

_REPLAY = 8
"""Frames (160 ms) that the model hears again when it is woken: its memory of the silence before counts for its
verdict. Measured with benchmarks/vad.py: with fewer, onsets came later than without the gate."""

_QUIET = 0.01


class GatedVad:
    """The probability of `model`, which runs only while `cheap` hears something, and for a second afterwards.

    cheap: should err towards speech. While the model rests, the probability is 0.01.
    """

    def __init__(self, cheap: Vad, model: Vad) -> None:
        self._cheap = cheap
        self._model = model
        self._judge = model.judge if isinstance(model, SharingVad) else model.probability
        self._left = 0
        self._missed: deque[Pcm] = deque(maxlen=_REPLAY)

    def probability(self, frame: Pcm) -> float:
        """See `ports.Vad`; `cheap` refuses other shapes. The first frame after a rest costs some frames of the model at
        once, under 1 ms."""
        return self._model.probability(frame) if self._wakes(frame) else _QUIET

    def judge(self, frame: Pcm) -> float | Awaitable[float]:
        """See `ports.SharingVad`."""
        return self._judge(frame) if self._wakes(frame) else _QUIET

    def _wakes(self, frame: Pcm) -> bool:
        """Whether the model is to hear it, and has heard what came before."""
        if self._cheap.probability(frame) >= 0.5:
            self._left = _HOLD
        if not self._left:
            self._missed.append(frame)
            return False
        self._left -= 1
        for missed in self._missed:
            self._model.probability(missed)
        self._missed.clear()
        return True

    def reset(self) -> None:
        """Forgets what it heard."""
        self._cheap.reset()
        self._model.reset()
        self._missed.clear()
        self._left = 0
