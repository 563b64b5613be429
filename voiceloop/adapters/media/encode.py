"""Samples to MP3, Ogg/Opus, AAC (ADTS), FLAC, WAV or bare samples, as they come or into a file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast, get_args

import av
import numpy as np

from voiceloop.adapters.media.sound import Packet, frame_of, media_errors
from voiceloop.core.audio import Pcm
from voiceloop.errors import MediaError

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

RATE_HZ = 24_000
"""What every format is written at (shared/WIRE.md section 1). Opus calls itself 48 kHz whatever goes in."""

CONTENT_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_UNKNOWN = 0xFFFF_FFFF
"""WAV sizes of a stream; 0 breaks Python's wave and soundfile."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """codec and container: FFmpeg's names. sample: format that the codec takes. bitrate: 0 where there is none."""

    codec: str
    container: str
    sample: str
    bitrate: int = 0
    codec_options: dict[str, str] = field(default_factory=dict[str, str])
    container_options: dict[str, str] = field(default_factory=dict[str, str])


# Bit rates at which a listener cannot tell speech from the original: twice what speech services send is not heard.
# Ogg pages of 0.1 s: one second is the default, and nobody could listen before it is over. FLAC frames of 24 ms: its
# readers wait for ten of them. An MP3 that is read while it is written has no header with its length.
_KINDS: dict[str, _Kind] = {
    "mp3": _Kind("libmp3lame", "mp3", "s16p", 80_000),
    "opus": _Kind("libopus", "ogg", "s16", 40_000, {"application": "audio"}, {"page_duration": "100000"}),
    "aac": _Kind("aac", "adts", "fltp", 72_000),
    "flac": _Kind("flac", "flac", "s16", 0, {"frame_size": "576"}),
    "m4a": _Kind("aac", "ipod", "fltp", 72_000),
}


class Encoder:
    """One sound: `feed` it the samples, send what comes back at once, and at the end what `finish` gives.

    rate: of the samples that go in, Hz; 24 kHz comes out. Synchronous; a second of speech takes 5 to 15 ms. The first
    bytes come with the first samples (a header), the first sound 25 to 130 ms of speech later. A WAV that is streamed
    has the size 0xFFFFFFFF, FLAC no number of samples. Raises MediaError on an unknown format.
    """

    def __init__(self, format: str, rate: int) -> None:
        if format not in get_args(Format):
            raise MediaError(f"{format!r} is no format of sound: mp3, opus, aac, flac, wav and pcm are.")
        self._pipe = _Pipe()
        self._writer = _writer(format, rate, cast("BinaryIO", self._pipe))
        self.content_type = CONTENT_TYPES[cast("Format", format)]

    def feed(self, pcm: Pcm) -> bytes:
        """What can be sent so far. pcm: int16 (n,), mono, any n."""
        self._writer.feed(pcm)
        return self._pipe.take()

    def finish(self) -> bytes:
        """The rest. Nothing may be fed afterwards."""
        self._writer.finish()
        return self._pipe.take()


@contextmanager
def sound_writer(path: Path, format: str, rate: int) -> Generator[Callable[[Pcm], None], None, None]:
    """A file of a format, or "m4a", to write chunks of int16 mono at `rate` to.

    Complete afterwards, with its length; removed if it was given up. Raises MediaError.
    """
    with ExitStack() as closing:
        try:
            file = closing.enter_context(path.open("w+b"))
        except OSError as exc:
            raise MediaError(f"{path} cannot be written: check that its directory exists and is writable.") from exc
        try:
            writer = _writer(format, rate, file)
            yield writer.feed
            writer.finish()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _writer(format: str, rate: int, file: BinaryIO) -> _Coded | _Plain:
    return _Plain(file, rate, header=format == "wav") if format in ("wav", "pcm") else _Coded(file, format, rate)


class _Pipe:
    """Where FFmpeg writes to; it cannot go back in it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class _Stream(Protocol):
    codec_context: av.AudioCodecContext

    def encode(self, frame: av.AudioFrame | None) -> list[Packet]: ...


class _Container(Protocol):
    """What is used of PyAV's OutputContainer, whose own types leave packets and options open."""

    def add_stream(self, codec_name: str, *, rate: int, options: dict[str, str]) -> _Stream: ...
    def start_encoding(self) -> None: ...
    def mux(self, packets: list[Packet]) -> None: ...
    def close(self) -> None: ...


class _Coded:
    """What FFmpeg encodes."""

    def __init__(self, file: BinaryIO, format: str, rate: int) -> None:
        kind = _KINDS[format]
        self._rate = rate
        with media_errors(f"{format} cannot be written"):
            # Without flush_packets the first 32 kB, seconds of speech, would wait in a buffer.
            options = {"flush_packets": "1", **kind.container_options}
            self._container = cast("_Container", av.open(file, "w", format=kind.container, options=options))
            stream = self._container.add_stream(kind.codec, rate=RATE_HZ, options=kind.codec_options)
            context = stream.codec_context
            context.format, context.layout, context.thread_count = kind.sample, "mono", 1
            if kind.bitrate:
                context.bit_rate = kind.bitrate
            self._container.start_encoding()
            # Codecs want frames of one size; the resampler cuts them.
            size = context.frame_size or None
            self._stream = stream
            self._resampler = av.AudioResampler(format=kind.sample, layout="mono", rate=RATE_HZ, frame_size=size)
        self._n = 0

    def feed(self, pcm: Pcm) -> None:
        if pcm.size:
            with media_errors("The sound cannot be encoded"):
                frame = frame_of(pcm, self._rate)
                frame.pts, frame.time_base = self._n, Fraction(1, self._rate)
                self._n += pcm.size
                self._write(frame)

    def finish(self) -> None:
        with media_errors("The sound cannot be encoded"):
            if self._n:
                self._write(None)
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _write(self, frame: av.AudioFrame | None) -> None:
        for piece in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(piece))


class _Plain:
    """Samples as they are, with the head of a WAV before them or without."""

    def __init__(self, file: BinaryIO, rate: int, *, header: bool) -> None:
        self._file = file
        self._rate = rate
        self._header = header
        self._n_bytes = 0
        self._resampler: av.AudioResampler | None = None
        if rate != RATE_HZ:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        if header:
            file.write(_wav_head(_UNKNOWN))

    def feed(self, pcm: Pcm) -> None:
        if not pcm.size:
            return
        if self._resampler is None:
            self._put(pcm)
        else:
            for piece in self._resampler.resample(frame_of(pcm, self._rate)):
                self._put(np.asarray(piece.to_ndarray(), np.int16))

    def finish(self) -> None:
        if self._resampler is not None and self._n_bytes:
            for piece in self._resampler.resample(None):
                self._put(np.asarray(piece.to_ndarray(), np.int16))
        if self._header and isinstance(self._file, io.BufferedIOBase):
            self._file.seek(0)
            self._file.write(_wav_head(self._n_bytes))

    def _put(self, pcm: Pcm) -> None:
        self._file.write(pcm.astype("<i2", copy=False).tobytes())
        self._n_bytes += 2 * pcm.size


def _wav_head(n_bytes: int) -> bytes:
    """44 bytes before the samples. n_bytes: of samples; above what a WAV can say, it says that it does not know."""
    data = min(n_bytes, _UNKNOWN)
    riff = min(data + 36, _UNKNOWN)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + fmt + struct.pack("<4sI", b"data", data)
