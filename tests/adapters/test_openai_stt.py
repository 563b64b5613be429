"""Transcription over HTTP, against a real server."""

from __future__ import annotations

import io
import json
import wave
from email.parser import BytesParser
from email.policy import HTTP

import numpy as np
import pytest

from voiceloop.adapters.http import Service as Http
from voiceloop.adapters.stt.openai import OpenAiTranscriber, wav
from voiceloop.core.audio import Pcm, silence
from voiceloop.errors import ProviderError, ProviderRefused
from voiceloop.ports import Transcriber, Transcript

from .service import Request, Script, Service, answer, error, html, json_answer, never

SPEECH: Pcm = (np.arange(16_000) % 321 - 160).astype(np.int16)


def form(request: Request) -> dict[str, bytes]:
    """The parts of a multipart request by name; the file's own name under `filename`."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts():
        name = part.get_param("name", header="content-disposition")
        parts[name] = part.get_payload(decode=True)
        if part.get_filename():
            parts["filename"] = part.get_filename().encode()
    return parts


async def transcribe(script: Script, pcm: Pcm = SPEECH, **options: str) -> tuple[Transcript, list[Request]]:
    async with Service(script) as service:
        engine: Transcriber = OpenAiTranscriber(Http(service.url, "key", retries=0), **options)
        try:
            await engine.warm_up()
            return await engine.transcribe(pcm), service.requests
        finally:
            await engine.aclose()


async def test_sends_a_wav_and_the_fields() -> None:
    found, (request,) = await transcribe(
        json_answer({"text": " Hello there. ", "usage": {"type": "duration", "seconds": 1}}),
        model="big",
        language="en",
        prompt="names: Ada",
    )
    assert found == Transcript("Hello there.", "en")
    assert request.path == "/v1/audio/transcriptions"
    parts = form(request)
    assert parts["model"] == b"big"
    assert parts["response_format"] == b"json"
    assert parts["language"] == b"en"
    assert parts["prompt"] == b"names: Ada"
    assert parts["filename"] == b"speech.wav"
    with wave.open(io.BytesIO(parts["file"])) as sent:
        assert (sent.getframerate(), sent.getnchannels(), sent.getsampwidth()) == (16_000, 1, 2)
        assert np.array_equal(np.frombuffer(sent.readframes(sent.getnframes()), "<i2"), SPEECH)


async def test_fields_left_out_and_overridden() -> None:
    async with Service(json_answer({"text": "x"})) as service:
        engine = OpenAiTranscriber(Http(service.url), language="de")
        await engine.transcribe(SPEECH)
        await engine.transcribe(SPEECH, language="fr", prompt="Bonjour")
        await engine.aclose()
        first, second = (form(r) for r in service.requests)
    assert first["model"] == b"whisper-1"
    assert first["language"] == b"de"
    assert "prompt" not in first
    assert (second["language"], second["prompt"]) == (b"fr", b"Bonjour")


async def test_nothing_is_sent_for_nothing() -> None:
    found, requests = await transcribe(never, silence(0))
    assert found.text == ""
    assert requests == []


async def test_short_audio_is_padded_to_what_openai_accepts() -> None:
    _, (request,) = await transcribe(json_answer({"text": ""}), SPEECH[:10])
    with wave.open(io.BytesIO(form(request)["file"])) as sent:
        assert sent.getnframes() == 1600


@pytest.mark.parametrize(
    ("found", "language"), [({"language": "nl"}, "nl"), ({"language": "dutch"}, "de"), ({"language": None}, "de")]
)
async def test_language_of_the_answer(found: dict[str, object], language: str) -> None:
    got, _ = await transcribe(json_answer({"text": "x", **found}), language="de")
    assert got.language == language


@pytest.mark.parametrize(
    "script",
    [
        html(200, "Log in"),
        json_answer({"error": {"message": "no model loaded"}}),
        json_answer({"text": None}),
        json_answer(["text"]),
        answer(b"", "text/plain"),
        answer(b"hello", "text/plain"),
    ],
)
async def test_success_that_is_none(script: Script) -> None:
    with pytest.raises(ProviderRefused, match="instead of a transcript: check the base URL") as caught:
        await transcribe(script)
    assert caught.value.stage == "stt"


async def test_refusal_does_not_repeat_the_prompt() -> None:
    with pytest.raises(ProviderError) as caught:
        await transcribe(error("prompt 'the code is zebra nine' is too long", 400), prompt="the code is zebra nine")
    assert "zebra" not in str(caught.value)
    assert "400" in str(caught.value)


async def test_json_of_any_shape_in_utf8() -> None:
    found, _ = await transcribe(
        answer(json.dumps({"text": "Gr\u00fc\u00dfe \u4f60\u597d"}, ensure_ascii=False).encode())
    )
    assert found.text == "Gr\u00fc\u00dfe \u4f60\u597d"


def test_the_longest_fits_into_an_upload() -> None:
    longest = OpenAiTranscriber(Http("http://127.0.0.1")).longest
    assert longest is not None
    assert len(wav(np.zeros(longest, np.int16))) < 25 * 1024 * 1024
