"""Silero VAD v6 on plain onnxruntime: the default judge of what is speech."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.vad.network import CONTEXT, INPUT, WINDOW, Binding, network
from voiceloop.adapters.vad.together import Together
from voiceloop.core.audio import FRAME, Pcm

_STATE = (2, 1, 128)
_SCALE = np.float32(1 / 32768)


class SileroVad:
    """A `Vad` with a window of 32 ms over frames of 20: it holds its last value until a window is full.

    0.09 ms for each window when they come one after the other, 0.3 to 0.6 in real time, when the caches have gone
    cold in between; 3 us for the three frames of eight that complete none.
    Raises ConfigError if the packages of the extra `local` are missing.
    """

    def __init__(self, together: Together | None = None) -> None:
        """together: with whom `judge` shares a run."""
        self._session = network()
        self._together = together
        self._input = np.zeros((1, INPUT), np.float32)
        self._samples = self._input[0]
        self._states = (np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32))
        self._output = np.zeros((1, 1), np.float32)
        self._rate = np.array(16_000, np.int64)
        # The model reads one state and writes the other, so no array is allocated or copied in a window.
        self._bindings = (self._bind(0), self._bind(1))
        self.reset()

    def probability(self, frame: Pcm) -> float:
        """Probability of speech, 0..1, of the last full window. frame: int16 (320,), 16 kHz mono, in order.

        Synchronous, at most one run of the model. Raises ValueError on any other shape or type.
        """
        if (rest := self._fill_up(frame)) is not None:
            self._run()
            self._begin(rest)
        return self._p

    def judge(self, frame: Pcm) -> float | Awaitable[float]:
        """As `probability`, but if others ask as well it is to be waited for, before the next frame."""
        if (rest := self._fill_up(frame)) is None:
            return self._p
        later: Awaitable[float] | None = None
        if self._together is None or self._together.alone():
            self._run()
        else:
            later = self._judged(self._together.put(self._samples, self._states[self._turn]))
        self._begin(rest)
        return self._p if later is None else later

    async def _judged(self, later: Awaitable[float]) -> float:
        self._p = await later
        return self._p

    def _fill_up(self, frame: Pcm) -> Pcm | None:
        """What of a frame is left over when the window is full; None: it is not yet."""
        if frame.shape != (FRAME,) or frame.dtype != np.int16:
            raise ValueError(f"a frame is int16 ({FRAME},), not {frame.dtype} {frame.shape}")
        room = INPUT - self._fill
        if room > FRAME:
            np.multiply(frame, _SCALE, out=self._samples[self._fill : self._fill + FRAME])
            self._fill += FRAME
            return None
        np.multiply(frame[:room], _SCALE, out=self._samples[self._fill :])
        return frame[room:]

    def _run(self) -> None:
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        self._p = float(self._output[0, 0])

    def _begin(self, rest: Pcm) -> None:
        """The next window."""
        self._samples[:CONTEXT] = self._samples[WINDOW:]
        self._fill = CONTEXT + rest.size
        np.multiply(rest, _SCALE, out=self._samples[CONTEXT : self._fill])

    def reset(self) -> None:
        """Forgets what it heard; the probability is 0 until the first window is full."""
        self._input.fill(0)
        for state in self._states:
            state.fill(0)
        self._fill = CONTEXT
        self._turn = 0
        self._p = 0.0

    def _bind(self, turn: int) -> Binding:
        binding = self._session.io_binding()

        def give(name: str, array: NDArray[Any]) -> None:
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

        def take(name: str, array: NDArray[Any]) -> None:
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

        give("input", self._input)
        give("state", self._states[turn])
        give("sr", self._rate)
        take("output", self._output)
        take("stateN", self._states[1 - turn])
        return binding
