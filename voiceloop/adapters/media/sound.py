"""What decoder, encoder and files share of PyAV: frames to samples, and its errors as ours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, cast

import av
import numpy as np
from av import logging
from av.error import FFmpegError

from voiceloop.core.audio import Pcm, silence
from voiceloop.errors import MediaError

RATES_HZ = (1_000, 768_000)
"""What is slower or faster is no sound but a broken header, and would make a few samples into gigabytes."""

# FFmpeg writes to standard error what it thinks of a file; its errors say enough.
logging.set_level(logging.PANIC)


class Packet(Protocol):
    """What a codec takes, as bytes."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class Codec(Protocol):
    """What is used of PyAV's AudioCodecContext, whose own types leave packets open."""

    sample_rate: int
    thread_count: int
    options: dict[str, str]

    def parse(self, raw_input: bytes | None) -> list[Packet]: ...
    def decode(self, packet: Packet | None) -> list[av.AudioFrame]: ...


def decoder_of(name: str, rate: int = 0, layout: str = "", head: bytes = b"") -> Codec:
    """A codec by FFmpeg's name; the rest for those that do not find it in the packets."""
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.thread_count = 1
    if rate:
        context.sample_rate, context.layout = rate, layout
    if head:
        context.extradata = head
    return cast("Codec", context)


def packet_of(data: bytes) -> Packet:
    """Bytes for a codec."""
    return cast("Packet", av.Packet(data))


class Mono:
    """Frames of any format, layout and rate to int16 mono at one rate; the channels are mixed as FFmpeg does."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None

    def feed(self, frame: av.AudioFrame) -> Pcm:
        """The samples that can be given so far. Raises MediaError on a rate that cannot be meant."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        rest = silence(0)
        if shape != self._shape:
            if not RATES_HZ[0] <= frame.sample_rate <= RATES_HZ[1]:
                raise MediaError(f"The sound says that it has {frame.sample_rate} samples a second: it is broken.")
            rest, self._shape = self.flush(), shape
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._rate)
        assert self._resampler is not None
        # Times of packets are not times of samples: a gap in them would be filled.
        frame.pts = None
        return _joined(rest, self._resampler.resample(frame))

    def flush(self) -> Pcm:
        """What was held back, and starts anew."""
        resampler, self._resampler, self._shape = self._resampler, None, None
        return _joined(silence(0), resampler.resample(None)) if resampler else silence(0)


def frame_of(pcm: Pcm, rate: int) -> av.AudioFrame:
    """int16 mono samples as a frame."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


@contextmanager
def media_errors(what: str) -> Generator[None, None, None]:
    """What PyAV raises, as MediaError. what: begins the sentence, as in "x.mp3 cannot be read as audio"."""
    try:
        yield
    except FFmpegError as exc:
        raise MediaError(f"{what} ({(exc.strerror or 'unknown').rstrip('.')}).") from exc
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as exc:
        raise MediaError(f"{what}.") from exc


def _joined(first: Pcm, frames: list[av.AudioFrame]) -> Pcm:
    parts = [first, *(np.asarray(frame.to_ndarray(), np.int16).reshape(-1) for frame in frames)]
    return np.concatenate(parts) if len(parts) > 1 else first
