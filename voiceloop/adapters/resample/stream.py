"""Resampling of a live stream with libsamplerate, which holds back 1.2 ms (soxr: 12 to 29)."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import Pcm, silence, to_float, to_pcm


class _Converter(Protocol):
    def process(
        self, input_data: NDArray[np.float32], ratio: float, end_of_input: bool = False
    ) -> NDArray[np.float32]: ...
    def reset(self) -> None: ...


class _Library(Protocol):
    def Resampler(self, converter_type: str, channels: int) -> _Converter: ...


class StreamResampler:
    """A `Resampler` between two fixed rates, Hz.

    After `flush` exactly round(n * target / source) samples have come out for n that went in.
    Equal rates give back what they get. Raises ValueError on rates below 1.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        if source_hz < 1 or target_hz < 1:
            raise ValueError(f"rates are positive, not {source_hz} and {target_hz}")
        self._source_hz = source_hz
        self._target_hz = target_hz
        self._converter: _Converter | None = None
        if source_hz != target_hz:
            library = cast("_Library", importlib.import_module("samplerate"))
            self._converter = library.Resampler("sinc_fastest", channels=1)
        self._n_in = 0
        self._n_out = 0

    def process(self, pcm: Pcm) -> Pcm:
        """The samples that can be given so far. pcm: int16 (n,), any n. Raises ValueError on any other shape."""
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        if self._converter is None:
            return pcm
        if pcm.size == 0:
            return silence(0)
        self._n_in += pcm.size
        # Rounding may let one sample out early; the total is a promise.
        return self._give(self._convert(self._converter, pcm))

    def flush(self) -> Pcm:
        """What was held back, and starts anew."""
        if self._converter is None or self._n_in == 0:
            return silence(0)
        # Not end_of_input: the binding makes room for ceil(n * ratio) samples only, so the tail would be lost.
        tail: list[Pcm] = []
        while (missing := self._total - self._n_out) > 0:
            zeros = silence(missing * self._source_hz // self._target_hz + 64)
            tail.append(self._give(self._convert(self._converter, zeros)))
        self._converter.reset()
        self._n_in = self._n_out = 0
        return np.concatenate(tail) if tail else silence(0)

    @property
    def _total(self) -> int:
        """Samples due for what went in so far, rounded half up."""
        return (2 * self._n_in * self._target_hz + self._source_hz) // (2 * self._source_hz)

    def _give(self, pcm: Pcm) -> Pcm:
        pcm = pcm[: self._total - self._n_out]
        self._n_out += pcm.size
        return pcm

    def _convert(self, converter: _Converter, pcm: Pcm) -> Pcm:
        return to_pcm(converter.process(to_float(pcm), self._target_hz / self._source_hz))
