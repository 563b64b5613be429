"""Text to speech by any service with OpenAI's `POST audio/speech` (shared/WIRE.md section 1)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from voiceloop.adapters.http import Answer, Service
from voiceloop.adapters.http_events import Events
from voiceloop.adapters.tts.body import PCM_HZ, Body, Means
from voiceloop.core.audio import Pcm
from voiceloop.errors import ProviderError, ProviderRefused
from voiceloop.ports import Manner

LONGEST = 4096
"""Characters that one request may carry."""

OWN_VOICE = "id:"
"""How a voice begins that is no name but the id of one's own."""

_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"')\u201d\u2019]*\s+|[\u3002\uff01\uff1f]|\n+")
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
        *,
        response_format: str = "pcm",
        stream_format: str = "audio",
        options: Mapping[str, Any] | None = None,
        means: Means | None = None,
    ) -> None:
        """voice: a name, or `id:` and the id of one's own. speed: 0.25..4.0. instructions: how to speak, for models
        that take them. response_format: "pcm", or "mp3", "opus", "aac", "flac", "wav", decoded as they come.
        stream_format: "audio" or "sse". options: more fields of the request. means: to decode and resample with.
        """
        self._http = service.client("tts")
        self._manner = Manner(voice, speed, instructions or "", model)
        self._more: dict[str, object] = {"response_format": response_format}
        if stream_format != "audio":
            self._more["stream_format"] = stream_format
        self._options = dict(options or {})
        self._means = means or Means()

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
            request = self._request(piece, manner or Manner())
            try:
                async with aclosing(self._spoken(request)) as speech:
                    async for pcm in speech:
                        yield pcm
            except ProviderRefused as exc:
                # tts-1 does not stream events, nor does a server that does not know of them.
                if exc.status not in (400, 422) or self._more.pop("stream_format", None) is None:
                    raise
                del request["stream_format"]
                async with aclosing(self._spoken(request)) as speech:
                    async for pcm in speech:
                        yield pcm

    async def aclose(self) -> None:
        """Gives the connection back. Twice is legal."""
        await self._http.aclose()

    def _request(self, text: str, manner: Manner) -> dict[str, object]:
        usual = self._manner
        voice = manner.voice or usual.voice
        found: dict[str, object] = {
            "model": manner.model or usual.model,
            "voice": {"id": voice.removeprefix(OWN_VOICE)} if voice.startswith(OWN_VOICE) else voice,
            **self._more,
            "input": text,
        }
        speed = usual.speed if manner.speed is None else manner.speed
        if speed != 1.0:
            found["speed"] = speed
        if instructions := manner.instructions or usual.instructions:
            found["instructions"] = instructions
        return {**found, **self._options}

    async def _spoken(self, request: dict[str, object]) -> AsyncGenerator[Pcm, None]:
        private, asked = [str(request["input"])], str(request["response_format"])
        async with self._http.open("audio/speech", json=request, private=private) as answer:
            body = Body(self._http, asked, answer.content_type, answer.rate, self._means)
            async with aclosing(answer.chunks()) as chunks, aclosing(_sound(answer, chunks)) as sound:
                async for data in sound:
                    if body.fresh and _is_text(answer, body.head + data):
                        raise answer.unexpected(body.head + data + await _rest(chunks), "speech")
                    if (pcm := body.feed(data)).size:
                        yield pcm
            if (pcm := body.finish()).size:
                yield pcm


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
    if kind == "text/event-stream":
        return False
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


async def _sound(answer: Answer, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The bytes of the speech; of an event stream those that its events carry."""
    if answer.content_type != "text/event-stream":
        async for data in chunks:
            yield data
        return
    events = Events()
    async for data in chunks:
        for event in events.feed(data):
            fields = _object(event)
            match fields.get("type"):
                case "speech.audio.delta":
                    if found := _audio(fields.get("audio")):
                        yield found
                case "speech.audio.done":
                    await _rest(chunks)  # at the end of the body the connection can be used again
                    return
                case "error":
                    raise answer.unexpected(event.encode(), "speech")
                case _:
                    pass
    raise answer.broken("broke off its speech: look at its log.")


def _object(event: str) -> dict[str, object]:
    try:
        found: object = json.loads(event)
    except ValueError:
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _audio(found: object) -> bytes:
    try:
        return base64.b64decode(found) if isinstance(found, str) else b""
    except ValueError:
        return b""
