"""Text to speech by any service with OpenAI's `POST audio/speech` (shared/WIRE.md section 1)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import numpy as np

from voiceloop.adapters.http import Answer, Client, Service
from voiceloop.core.audio import Pcm
from voiceloop.errors import ProviderError
from voiceloop.ports import Manner

PCM_HZ = 24_000
"""What `response_format: pcm` means at OpenAI: s16le mono at this rate, no header."""

LONGEST = 4096
"""Characters that one request may carry."""

ENDLESS = 0x7FFF_0000
"""WAV sizes from here on, and 0, stand for "unknown": writers put 0x7FFFFFFF or 0xFFFFFFFF, some less their header."""

_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"')\u201d\u2019]*\s+|[\u3002\uff01\uff1f]|\n+")
_OTHER_FORMATS = {b"ID3": "MP3", b"OggS": "Ogg", b"fLaC": "FLAC"}
_TEXT_STARTS = (b'{"error', b'{"detail', b'{"message', b"<!doctype", b"<html", b"<?xml")


class OpenAiSynthesizer:
    """A Synthesizer that gives the speech while it comes in."""

    rate = PCM_HZ

    def __init__(
        self,
        service: Service,
        model: str = "tts-1",
        voice: str = "alloy",
        speed: float = 1.0,
        instructions: str | None = None,
    ) -> None:
        """speed: 0.25..4.0. instructions: how to speak, for models that take them."""
        self._http = service.client("tts")
        self._request: dict[str, object] = {"model": model, "voice": voice, "response_format": "pcm"}
        if speed != 1.0:
            self._request["speed"] = speed
        if instructions:
            self._request["instructions"] = instructions

    @property
    def voices(self) -> tuple[str, ...]:
        """Any: the service knows."""
        return ()

    async def warm_up(self) -> None:
        """Opens the connection; does not fail."""
        await self._http.warm_up()

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """int16 (n,), n > 0, 24 kHz, as it arrives. Raises ProviderError, also when the speech ends early.

        Nothing is sent for a text without a letter or digit. May be cancelled: the connection is closed.
        """
        for piece in pieces(text):
            request = {**self._request, "input": piece}
            async with self._http.open("audio/speech", json=request, private=[piece]) as answer:
                decoder = _Decoder(self._http)
                async with aclosing(answer.chunks()) as chunks:
                    async for data in chunks:
                        if decoder.fresh and _is_text(answer, decoder.head + data):
                            raise answer.unexpected(decoder.head + data + await _rest(chunks), "speech")
                        pcm = decoder.feed(data, answer.content_type)
                        if pcm.size:
                            yield pcm
                decoder.finish()

    async def aclose(self) -> None:
        """Gives the connection back. Twice is legal."""
        await self._http.aclose()


def pieces(text: str, longest: int = LONGEST) -> Iterator[str]:
    """Text in parts of at most `longest` characters, cut behind sentences, else at spaces, else anywhere.

    Parts without anything to pronounce are left out.
    """
    text = text.strip()
    while text:
        cut = len(text)
        if cut > longest:
            ends = [m.end() for m in _SENTENCE_END.finditer(text, 0, longest)]
            cut = ends[-1] if ends else text.rfind(" ", 0, longest) + 1 or longest
        piece, text = text[:cut].strip(), text[cut:].lstrip()
        if any(c.isalnum() for c in piece):
            yield piece


def _is_text(answer: Answer, head: bytes) -> bool:
    """Whether a service that said 200 sent words about a failure and not audio."""
    kind = answer.content_type
    if kind.startswith("text/") or kind.endswith(("json", "xml")):
        # Some servers leave their framework's default type on real audio.
        return not head.startswith(b"RIFF")
    return head[:16].lower().lstrip().startswith(_TEXT_STARTS)


async def _rest(chunks: AsyncGenerator[bytes, None], limit: int = 65_536) -> bytes:
    """What else an error has to say; an error that breaks off is still one."""
    body = b""
    try:
        async for data in chunks:
            body += data
            if len(body) > limit:
                break
    except ProviderError:
        pass
    return body


class _Decoder:
    """Bytes of a body to samples: skips a WAV header, keeps odd bytes, notices other formats and early ends."""

    def __init__(self, http: Client) -> None:
        self._http = http
        self.head: bytes = b""
        self.fresh = True
        self._n = 0
        self._left: int | None = None

    def feed(self, data: bytes, content_type: str) -> Pcm:
        """The samples that are complete, perhaps none. Raises ProviderError on a format that is not ours."""
        data = self.head + data
        if self.fresh:
            start = self._start(data, content_type)
            if start is None:
                self.head = data
                return np.zeros(0, np.int16)
            data, self.fresh = data[start:], False
        if self._left is not None:  # what follows the samples of a WAV is about them
            data = data[: self._left]
        whole = len(data) & ~1
        self.head = data[whole:]
        if self._left is not None:
            self._left -= whole
        self._n += whole
        return np.frombuffer(data[:whole], "<i2").astype(np.int16)

    def finish(self) -> None:
        """Raises ProviderError unless the body was whole."""
        if self.fresh and self.head[:4] == b"RIFF":
            raise self._http.error("broke off its speech in the header.", retryable=True)
        if len(self.head) % 2 or self._left:
            raise self._http.error(f"broke off its speech after {self._n} bytes: look at its log.", retryable=True)
        if self._n == 0:
            raise self._http.error("sent no speech: check model and voice.", retryable=True)

    def _start(self, data: bytes, content_type: str) -> int | None:
        """Where the samples begin; None until that can be said."""
        if len(data) < 4:
            return None
        for magic, name in _OTHER_FORMATS.items():
            if data.startswith(magic):
                raise self._unasked(name)
        # FF E0 is also a quiet sample of pcm, so the label must agree.
        if content_type in ("audio/mpeg", "audio/mp3", "audio/aac") and data[0] == 0xFF and 0xE0 <= data[1] < 0xFF:
            raise self._unasked("MP3" if content_type != "audio/aac" else "AAC")
        return self._wav_start(data) if data[:4] == b"RIFF" else 0

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
            at += 8 + size + size % 2
        if at > 65_536:
            raise self._unasked("a WAV without samples")
        return None

    def _check(self, fmt: bytes) -> None:
        kind, channels, rate_hz, bits = (
            int.from_bytes(fmt[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (14, 16))
        )
        if kind not in (1, 0xFFFE) or channels != 1 or bits != 16 or rate_hz != PCM_HZ:
            raise self._unasked(f"a WAV of {rate_hz} Hz, {channels} channel(s), {bits} bits (format {kind})")

    def _unasked(self, what: str) -> ProviderError:
        return self._http.refused(
            f"sent {what} instead of 16-bit mono pcm at {PCM_HZ} Hz: choose a model or server that can give it."
        )
