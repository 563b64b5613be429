"""Speech to text by any service with OpenAI's `POST audio/transcriptions` (shared/WIRE.md section 1)."""

from __future__ import annotations

import io
import json
import wave
from typing import cast

import numpy as np

from voiceloop.adapters.http import Service
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.ports import Transcript

SHORTEST = RATE // 10
"""OpenAI refuses recordings below 0.1 s; shorter ones get silence behind them."""


class OpenAiTranscriber:
    """A Transcriber that sends each segment as a WAV."""

    longest = 13_000_000
    """The service takes 25 MB; a sample is two bytes."""

    def __init__(
        self, service: Service, model: str = "whisper-1", language: str | None = None, prompt: str | None = None
    ) -> None:
        """language: ISO 639-1. Both it and prompt can be overridden call by call."""
        self._http = service.client("stt")
        self._model = model
        self._language = language
        self._prompt = prompt

    async def warm_up(self) -> None:
        """Opens the connection; does not fail."""
        await self._http.warm_up()

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """pcm: int16 (n,), 16 kHz mono; nothing is sent for n = 0. Raises ProviderError. May be cancelled."""
        language, prompt = language or self._language, prompt or self._prompt
        if pcm.size == 0:
            return Transcript("", language)
        data = {"model": self._model, "response_format": "json"}
        if language:
            data["language"] = language
        if prompt:
            data["prompt"] = prompt
        files = {"file": ("speech.wav", wav(pcm), "audio/wav")}
        async with self._http.open(
            "audio/transcriptions", data=data, files=files, private=[prompt] if prompt else []
        ) as answer:
            body = await answer.read()
            try:
                found: object = json.loads(body)
            except ValueError:
                found = None
            fields = cast("dict[str, object]", found) if isinstance(found, dict) else {}
            text = fields.get("text")
            if not isinstance(text, str):
                raise answer.unexpected(body, "a transcript")
        heard = fields.get("language")
        # verbose answers write the language out ("english"); only codes are passed on.
        return Transcript(text.strip(), heard if isinstance(heard, str) and len(heard) == 2 else language)

    async def aclose(self) -> None:
        """Gives the connection back. Twice is legal."""
        await self._http.aclose()


def wav(pcm: Pcm) -> bytes:
    """A 16 kHz mono WAV file of at least 0.1 s."""
    if pcm.size < SHORTEST:
        pcm = np.concatenate((pcm, silence(SHORTEST - pcm.size)))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(pcm.astype("<i2", copy=False).tobytes())
    return file.getvalue()
