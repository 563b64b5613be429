"""Compressed sound that arrives in pieces: MP3, Ogg/Opus, AAC (ADTS), FLAC and WAV to samples as they come.

FFmpeg's demuxers pull, so they would need a thread that waits for the network. Its parsers and codecs can be pushed:
they do MP3, AAC and FLAC; the pages of Ogg and the head of a WAV are read by `streams.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np

from voiceloop.adapters.media.sound import Mono, media_errors
from voiceloop.adapters.media.streams import Adts, Flac, Mp3, OggOpus, Wav
from voiceloop.core.audio import Pcm, silence
from voiceloop.errors import MediaError

_HEAD = 16
"""Bytes that tell the format."""


class _Stream(Protocol):
    @property
    def early(self) -> bool: ...
    def feed(self, data: bytes) -> Iterator[av.AudioFrame]: ...
    def finish(self) -> Iterator[av.AudioFrame]: ...


class Decoder:
    """Bytes of one sound of unknown format, told by its first bytes, to int16 mono at `rate`.

    Call `feed` with each piece and `finish` at the end. Synchronous: about 4 ms for a second of MP3 in all, so a
    piece of some kB may be decoded on the loop. Keeps what is incomplete, at most some packets. FLAC comes about ten
    of its frames late, as FFmpeg wants to see so many before it believes the first one.
    """

    def __init__(self, rate: int) -> None:
        self._mono = Mono(rate)
        self._head = b""
        self._stream: _Stream | None = None

    @property
    def early(self) -> bool:
        """After `finish`: whether the bytes ended before the sound did. Where the format cannot tell it is False."""
        return self._stream is None or self._stream.early

    def feed(self, data: bytes) -> Pcm:
        """The samples that can be given so far, perhaps none. Raises MediaError if it is no sound that is known."""
        if self._stream is None:
            data = self._head + data
            if len(data) < _HEAD:
                self._head = data
                return silence(0)
            self._stream, self._head = _stream(data), b""
        with media_errors("The sound cannot be decoded"):
            return self._mixed(self._stream.feed(data))

    def finish(self) -> Pcm:
        """The rest. Raises MediaError if there was nothing, or nothing that is known."""
        if self._stream is None:
            raise MediaError("There is no sound: too few bytes came.")
        with media_errors("The sound cannot be decoded"):
            rest = self._mixed(self._stream.finish())
            return np.concatenate((rest, self._mono.flush()))

    def _mixed(self, frames: Iterator[av.AudioFrame]) -> Pcm:
        parts = [self._mono.feed(frame) for frame in frames]
        return np.concatenate(parts) if parts else silence(0)


def _stream(head: bytes) -> _Stream:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return Wav()
    if head[:4] == b"fLaC":
        return Flac()
    if head[:4] == b"OggS":
        return OggOpus()
    # Eleven set bits begin a frame of both; layer 0 is only legal in ADTS. A tag may stand before an MP3.
    if head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Adts()
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return Mp3()
    raise MediaError("The sound is in no known format: MP3, Ogg/Opus, AAC, FLAC and WAV can be played.")
