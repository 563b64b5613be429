"""Recordings and films in any container that FFmpeg knows, told by what is in them, as mono samples."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError

from voiceloop.adapters.media.sound import Codec, Mono, media_errors
from voiceloop.core.audio import RATE, Pcm
from voiceloop.errors import MediaError

_CONTAINERS = "mp3,mov,matroska,ogg,wav,w64,flac,aac,aiff,au,caf,amr,asf,avi,mpeg,mpegts,ac3,ape,wv,tta,adts,loas,flv"
"""What is opened. Playlists and the like are not: what they name, on this disk or in a network, would be read."""

_FIRM = {"mov", "matroska", "wav", "flac", "asf", "avi", "aiff", "caf"}
"""Containers that say how long they are. The others are estimated from their bit rate, or not at all."""

_EARLY_S = 0.5
"""What may be missing at the end: containers round, and count what codecs add."""


class MediaFile:
    """One recording: looked into when it is made, and read when its turn comes. Raises MediaError.

    Memory stays below some MB whatever the file says of itself: who reads may stop at any piece, and a file of a few
    kB may hold hours. The first sound track is taken; pictures are skipped unread.
    """

    def __init__(self, path: Path, rate: int = RATE) -> None:
        self._path = path
        self._rate = rate
        self._n = 0
        self._length_s: float | None = None
        """How long the container says it is; None where that is a guess."""
        with self._open() as (container, stream):
            self.duration_s = _duration(container, stream)
            if _FIRM & set(container.format.name.split(",")):
                self._length_s = self.duration_s
            # A head alone is no recording.
            if next(self._frames(container, stream), None) is None:
                raise MediaError(f"{path} holds no sound that can be decoded: record it again or choose another file.")
        self.broken = False
        """Whether a part could not be decoded, so far."""

    @property
    def early(self) -> bool:
        """After the last piece: whether the file ends before the sound that it promised, or is damaged."""
        short = self._length_s is not None and self._n / self._rate < self._length_s - _EARLY_S
        return self.broken or short

    def samples(self) -> Iterator[Pcm]:
        """All that can be decoded, in pieces of some thousand samples."""
        mono = Mono(self._rate)
        self._n, self.broken = 0, False
        with self._open() as (container, stream), media_errors(f"{self._path} cannot be read as audio"):
            for frame in self._frames(container, stream):
                if (pcm := mono.feed(frame)).size:
                    self._n += pcm.size
                    yield pcm
            if (pcm := mono.flush()).size:
                self._n += pcm.size
                yield pcm

    @contextmanager
    def _open(self) -> Generator[tuple[InputContainer, av.AudioStream], None, None]:
        path = self._path
        if not path.exists():
            raise MediaError(f"{path} does not exist: check the name.")
        if not path.is_file():
            raise MediaError(f"{path} is not a file: name a recording.")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty: record it again or choose another file.")
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "", "max_streams": "64"}
        # An open file instead of its name: the name would have a say in what it is taken for.
        with path.open("rb") as file:
            with media_errors(f"{path} cannot be read as audio"):
                container = av.open(file, "r", options=options, metadata_errors="replace")
            with container:
                stream = next(iter(container.streams.audio), None)
                if stream is None:
                    what = "is a film without sound" if container.streams.video else "holds no sound"
                    raise MediaError(f"{path} {what}: choose another file.")
                if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]
                    raise MediaError(f"{path} is sound of a kind that cannot be decoded: convert it to WAV or MP3.")
                stream.codec_context.thread_count = 1
                yield container, stream

    def _frames(self, container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        """What can be decoded; a file that is broken off ends where it does."""
        packets, codec = container.demux(stream), cast("Codec", stream.codec_context)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                self.broken = True
                return
            if packet is None:
                return
            try:
                frames = codec.decode(packet)
            except FFmpegError:
                self.broken = True
                continue
            yield from frames


def _duration(container: InputContainer, stream: av.AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None
