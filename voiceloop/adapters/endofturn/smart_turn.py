"""Smart Turn v3 on plain onnxruntime: whether a turn is complete, from its sound alone. Optional.

The model (BSD-2, 8.7 MB) lies in the package pipecat-ai, which is never imported, or in a file of the user's. It hears
Whisper's log-mel spectrogram of the last 8 seconds.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import engine_errors, onnx_options
from voiceloop.core.audio import RATE, Pcm, silence, to_float
from voiceloop.errors import ConfigError
from voiceloop.ports import Runner

SPAN = 8 * RATE
"""Samples that the model hears; less is preceded by silence."""

_MODEL = Path("audio", "turn", "smart_turn", "data", "smart-turn-v3.2-cpu.onnx")

# Whisper's feature extractor: 25 ms windows every 10 ms, 80 mel bands up to 8 kHz.
_WINDOW = 400
_HOP = 160
_BANDS = 80
_BINS = _WINDOW // 2 + 1
# The mel scale of Slaney's Auditory Toolbox: linear up to 1 kHz (mel 15), then 27 steps to 6.4 times that.
_LINEAR_HZ = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_STEP = np.log(6.4) / 27


class _Session(Protocol):
    def run(self, outputs: list[str] | None, feed: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]: ...


class SmartTurn:
    """An `EndOfTurn`. Loads nothing until `warm_up` or the first call.

    path: the model file; None: that of an installed pipecat-ai. timeout_s: for loading, and for each score.
    """

    def __init__(self, runner: Runner, path: Path | None = None, *, timeout_s: float = 5.0) -> None:
        self._runner = runner
        self._path = path
        self._timeout_s = timeout_s
        self._loading = threading.Lock()
        self._network: Network | None = None

    async def warm_up(self) -> None:
        """Loads the model and scores silence. Raises ConfigError if it is missing, else ProviderError."""
        await self.score(silence(RATE))

    async def score(self, pcm: Pcm) -> float:
        """Probability that the turn is complete, 0..1; about 0.1 s of CPU.

        pcm: int16 (n,), 16 kHz mono, all of the turn so far; the last 8 s count. Raises ValueError on any other shape,
        ProviderError. When cancelled, the worker finishes alone.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        # Copied here and not on the worker: an abandoned thread must not read a buffer that is used again.
        heard = pcm[-SPAN:].copy()
        with engine_errors("Smart Turn", "stt"):
            return await self._runner.call(lambda: self._load().score(heard), timeout_s=self._timeout_s)

    async def aclose(self) -> None:
        """Lets go of the model."""
        self._network = None

    def _load(self) -> Network:
        with self._loading:
            if self._network is None:
                self._network = Network(self._path or packaged_model())
            return self._network


class Network:
    """The model itself, synchronous. session: for tests, instead of what is loaded from the path."""

    def __init__(self, path: Path, session: _Session | None = None) -> None:
        self._session = session or _open(path)

    def score(self, pcm: Pcm) -> float:
        """Probability that the turn is complete. pcm: int16 (n,), 16 kHz; the last 8 s count."""
        heard = pcm[-SPAN:]
        features = log_mel(to_float(np.concatenate((silence(SPAN - heard.size), heard))))
        return float(self._session.run(None, {"input_features": features[np.newaxis]})[0].reshape(-1)[0])


def log_mel(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whisper's features: float32 (80, n // 160), about -1..1, of sound brought to mean 0 and variance 1.

    x: float32 (n,), 16 kHz. Log10 of the mel power, at most 8 below the loudest, then (value + 4) / 4; as published
    with Whisper (Radford et al. 2022, section 2.2 and its `log_mel_spectrogram`).
    """
    x = (x - x.mean()) / np.sqrt(x.var() + np.float32(1e-7))
    padded = np.pad(x.astype(np.float64), _WINDOW // 2, mode="reflect")
    # The last window is dropped: n samples give n / 160 columns and not one more.
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: x.size // _HOP]
    hann = np.hanning(_WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    log = np.log10(np.maximum(mel_filters() @ power.T, 1e-10))
    return ((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


@cache
def mel_filters() -> NDArray[np.float64]:
    """Triangles (80, 201) over the bins of the spectrum, each of the same area."""
    hz = _hz(np.linspace(0.0, float(_mel(np.array([RATE / 2.0]))[0]), _BANDS + 2))
    bins = np.linspace(0.0, RATE / 2.0, _BINS)
    rising = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    falling = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (hz[2:] - hz[:-2]))[:, None]


def packaged_model() -> Path:
    """The model in an installed pipecat-ai. Raises ConfigError."""
    # find_spec of the top package only: of an inner one it would import it.
    spec = importlib.util.find_spec("pipecat")
    path = Path(spec.origin).parent / _MODEL if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise ConfigError(
            "Smart Turn is not there: set turn.model_path to its .onnx file, or take it from a package that carries "
            "it: pip install --no-deps pipecat-ai"
        )
    return path


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(hz < _KNEE_HZ, hz / _LINEAR_HZ, _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _STEP)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(
        mel < _KNEE_MEL, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    )


def _open(path: Path) -> _Session:
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError:
        ort = None
    if ort is None:
        raise ConfigError("Smart Turn needs onnxruntime; run: pip install 'voiceloop[local]'")
    if not path.is_file():
        raise ConfigError(f"turn.model_path: there is no file {path}.")
    return cast("_Session", ort.InferenceSession(str(path), onnx_options(ort), providers=["CPUExecutionProvider"]))
