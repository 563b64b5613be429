"""The body of a speech answer as samples: raw pcm, WAV, or what a decoder knows, told by its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voiceloop.adapters.http import Client
from voiceloop.core.audio import Pcm, silence
from voiceloop.errors import ConfigError, MediaError, ProviderError
from voiceloop.ports import Resampler

PCM_HZ = 24_000
"""What `response_format: pcm` means at OpenAI: s16le mono at this rate, no header."""

ENDLESS = 0x7FFF_0000
"""WAV sizes from here on, and 0, stand for "unknown": writers put 0x7FFFFFFF or 0xFFFFFFFF, some less their header."""

RATES_HZ = (8_000, 192_000)
"""Rates that a header may claim."""

_OTHER_FORMATS = {b"ID3": "MP3", b"OggS": "Ogg", b"fLaC": "FLAC"}


class Decoder(Protocol):
    """Compressed sound to samples at the rate it was made for."""

    @property
    def early(self) -> bool:
        """After `finish`: whether the bytes ended before the sound did."""
        ...

    def feed(self, data: bytes) -> Pcm:
        """The samples that can be given so far. Raises MediaError."""
        ...

    def finish(self) -> Pcm:
        """The rest. Raises MediaError."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What sound that is not ours is made ours with; None: it is refused. decoder raises ConfigError without its
    library."""

    resampler: Callable[[int, int], Resampler] | None = None
    decoder: Callable[[int], Decoder] | None = None


class Body:
    """Bytes of one answer to int16 samples at 24 kHz. fresh: nothing is known of them yet, they are in `head`."""

    def __init__(self, http: Client, asked: str, content_type: str, rate: int | None, means: Means) -> None:
        """asked: the response_format. content_type, rate: what the answer says it is, which may be wrong."""
        self._http = http
        self._asked = asked
        self._type = content_type
        self._means = means
        self.head: bytes = b""
        self.fresh = True
        self._n = 0
        self._left: int | None = None
        self._rate = rate or PCM_HZ
        self._resampler: Resampler | None = None
        self._decoder: Decoder | None = None

    def feed(self, data: bytes) -> Pcm:
        """The samples that are complete, perhaps none. Raises ProviderError on a format that cannot be had."""
        data = self.head + data
        if self.fresh:
            start = self._start(data)
            if start is None:
                self.head = data
                return silence(0)
            data, self.fresh = data[start:], False
        self.head = b""
        if self._decoder is not None:
            self._n += len(data)
            return self._decoded(self._decoder, data)
        if self._left is not None:  # what follows the samples of a WAV is about them
            data = data[: self._left]
        whole = len(data) & ~1
        self.head = data[whole:]
        self._n += whole
        if self._left is not None:
            self._left -= whole
        pcm = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        return self._resampler.process(pcm) if self._resampler else pcm

    def finish(self) -> Pcm:
        """The rest. Raises ProviderError unless the body was whole."""
        if self.fresh and self.head[:4] == b"RIFF":
            raise self._http.error("broke off its speech in the header.", retryable=True)
        rest, early = silence(0), False
        if self._decoder is not None:
            rest = self._decoded(self._decoder, None)
            early = self._decoder.early
        elif self._resampler is not None:
            rest = self._resampler.flush()
        if early or len(self.head) % 2 or self._left:
            raise self._http.error(f"broke off its speech after {self._n} bytes: look at its log.", retryable=True)
        if self._n == 0:
            raise self._http.error("sent no speech: check model and voice.", retryable=True)
        return rest

    def _decoded(self, decoder: Decoder, data: bytes | None) -> Pcm:
        try:
            return decoder.finish() if data is None else decoder.feed(data)
        except MediaError as exc:
            what = "sent speech that cannot be decoded: choose another response_format."
            raise self._http.error(what, retryable=True) from exc

    def _start(self, data: bytes) -> int | None:
        """Where the samples begin; None until that can be said."""
        if len(data) < 4:
            return None
        if data[:4] == b"RIFF":
            return self._wav_start(data)
        if name := self._compressed(data):
            self._decode(name)
        elif self._asked in ("mp3", "aac", "opus", "flac") and self._type not in ("audio/pcm", "audio/l16"):
            raise self._unasked(f"something else than {self._asked}")
        elif self._rate != PCM_HZ:
            self._resample(f"pcm at {self._rate} Hz")
        return 0

    def _compressed(self, data: bytes) -> str:
        """Its format by its first bytes; empty for what is pcm."""
        for magic, name in _OTHER_FORMATS.items():
            if data.startswith(magic):
                return name
        # FF E0 is also a quiet sample of pcm, so what was asked for or the label must agree.
        likely = self._asked in ("mp3", "aac") or self._type in ("audio/mpeg", "audio/mp3", "audio/aac")
        if likely and data[0] == 0xFF and 0xE0 <= data[1] < 0xFF:
            return "AAC" if data[1] & 0x06 == 0 else "MP3"
        return ""

    def _wav_start(self, data: bytes) -> int | None:
        at, known = 12, False
        while at + 8 <= len(data):
            name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if name == b"data":
                if not known:
                    raise self._unasked("a WAV without a format")
                self._left = None if size == 0 or size >= ENDLESS else size
                return at + 8
            if name == b"fmt ":
                if at + 24 > len(data):
                    return None
                self._check(data[at + 8 : at + 24])
                known = True
                if self._decoder is not None:
                    return 0
            at += 8 + size + size % 2
        if at > 65_536:
            raise self._unasked("a WAV without samples")
        return None

    def _check(self, fmt: bytes) -> None:
        kind, channels, rate_hz, bits = (
            int.from_bytes(fmt[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (14, 16))
        )
        what = f"a WAV of {rate_hz} Hz, {channels} channel(s), {bits} bits (format {kind})"
        if kind not in (1, 0xFFFE) or channels != 1 or bits != 16:
            self._decode(what)
        elif rate_hz != PCM_HZ:
            self._rate = rate_hz
            self._resample(what)

    def _resample(self, what: str) -> None:
        if self._means.resampler is None or not RATES_HZ[0] <= self._rate <= RATES_HZ[1]:
            raise self._unasked(what)
        self._resampler = self._means.resampler(self._rate, PCM_HZ)

    def _decode(self, what: str) -> None:
        if self._means.decoder is None:
            raise self._unasked(what)
        try:
            self._decoder = self._means.decoder(PCM_HZ)
        except ConfigError as exc:
            raise self._unasked(what) from exc

    def _unasked(self, what: str) -> ProviderError:
        return self._http.refused(
            f"sent {what} instead of 16-bit mono pcm at {PCM_HZ} Hz: choose a model or server that can give it"
            f"{'' if self._means.decoder is None else ', or pip install voiceloop[media] to decode it'}."
        )
