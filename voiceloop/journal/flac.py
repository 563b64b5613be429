"""Sound without loss, in half the space."""

from __future__ import annotations

import importlib
from io import BytesIO
from typing import Protocol, cast

from voiceloop.core.audio import Pcm


class _Library(Protocol):
    """What is used of the module `soundfile`, which has no types of its own."""

    def read(self, file: BytesIO, *, dtype: str) -> tuple[Pcm, int]: ...
    def write(self, file: BytesIO, data: Pcm, samplerate: int, *, format: str, subtype: str) -> None: ...


def encode(pcm: Pcm, rate: int) -> bytes:
    """A whole FLAC file."""
    file = BytesIO()
    _library().write(file, pcm, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode(flac: bytes) -> Pcm:
    """The samples of one."""
    return _library().read(BytesIO(flac), dtype="int16")[0]


def _library() -> _Library:
    return cast("_Library", importlib.import_module("soundfile"))
