"""Telephone sound: 16-bit samples <-> the bytes of ITU-T G.711, mu-law and A-law, at 8 kHz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import Pcm

RATE = 8_000

_Bytes = NDArray[np.uint8]


def _exponents(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """How many bits each number has."""
    return np.frexp(magnitude.astype(np.float64))[1].astype(np.int32)


def _mu_encoded(pcm: Pcm) -> _Bytes:
    # 14 bits and a bias of 33: the segments then begin at powers of two (G.711 table 2).
    x = pcm.astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(x) + 33, 8191)
    segment = _exponents(magnitude) - 6
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 15)
    return (code ^ np.where(x < 0, 0x7F, 0xFF)).astype(np.uint8)


def _mu_decoded(code: _Bytes) -> Pcm:
    inverse = ~code.astype(np.int32)
    magnitude = ((((inverse & 15) << 3) + 132) << ((inverse >> 4) & 7)) - 132
    return np.where(inverse & 128, -magnitude, magnitude).astype(np.int16)


def _a_encoded(pcm: Pcm) -> _Bytes:
    x = pcm.astype(np.int32) >> 3
    magnitude = np.where(x < 0, -x - 1, x)
    segment = np.maximum(_exponents(magnitude) - 5, 0)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 15)
    return (code ^ np.where(x < 0, 0x55, 0xD5)).astype(np.uint8)


def _a_decoded(code: _Bytes) -> Pcm:
    even = code.astype(np.int32) ^ 0x55
    segment, step = (even >> 4) & 7, ((even & 15) << 4) + 8
    magnitude = np.where(segment == 0, step, (step + 256) << np.maximum(segment - 1, 0))
    return np.where(even & 128, magnitude, -magnitude).astype(np.int16)


_Pair = tuple[NDArray[np.uint8], NDArray[np.int16]]


def _tables(encoded: Callable[[Pcm], _Bytes], decoded: Callable[[_Bytes], Pcm]) -> _Pair:
    every = np.arange(65_536, dtype=np.uint16).view(np.int16)
    return encoded(every), decoded(np.arange(256, dtype=np.uint8))


_LAWS: dict[str, _Pair] = {"mu": _tables(_mu_encoded, _mu_decoded), "a": _tables(_a_encoded, _a_decoded)}


def encode(pcm: Pcm, law: str) -> bytes:
    """One byte a sample. pcm: int16 (n,). law: `mu` or `a`."""
    return _LAWS[law][0][pcm.view(np.uint16)].tobytes()


def decode(data: bytes, law: str) -> Pcm:
    """One sample a byte, int16 (n,). law: `mu` or `a`."""
    return _LAWS[law][1][np.frombuffer(data, np.uint8)]
