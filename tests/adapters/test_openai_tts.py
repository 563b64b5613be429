"""Speech over HTTP, against a real server."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.http import Service as Http
from voiceloop.adapters.tts.openai import OpenAiSynthesizer, pieces
from voiceloop.core.audio import Pcm
from voiceloop.errors import ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.ports import Synthesizer

from .service import (
    Script,
    Service,
    answer,
    chunked,
    error,
    half,
    html,
    json_answer,
    never,
    resets,
    slams,
    until_close,
)

TONE: Pcm = (np.arange(3000) * 7 % 2000 - 1000).astype(np.int16)
RAW = TONE.astype("<i2").tobytes()


def wav(
    data: bytes, *, size: int | None = None, rate: int = 24_000, channels: int = 1, bits: int = 16, extra: bytes = b""
) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, bits)
    size = len(data) if size is None else size
    body = b"fmt " + struct.pack("<I", 16) + fmt + extra + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF if size > 2**31 - 9 else size + 36) + b"WAVE" + body


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """data in pieces of these sizes, again and again."""
    found, at, n = [], 0, 0
    while at < len(data):
        found.append(data[at : at + sizes[n % len(sizes)]])
        at, n = at + sizes[n % len(sizes)], n + 1
    return found


async def speak(*scripts: Script, text: str = "Hello there.", **options: float) -> Pcm:
    async with Service(*scripts) as service:
        engine: Synthesizer = OpenAiSynthesizer(
            Http(service.url, "key", **{"retries": 0, "chunk_s": 20.0, "backoff_s": 0.001, **options})  # pyright: ignore
        )
        try:
            async with aclosing(engine.speak(text)) as chunks:
                got = [chunk async for chunk in chunks]
        finally:
            await engine.aclose()
    assert all(chunk.size and chunk.dtype == np.int16 and chunk.flags.writeable for chunk in got)
    return np.concatenate(got) if got else np.zeros(0, np.int16)


@pytest.mark.parametrize("sizes", [(6000,), (1,), (3,), (1, 2, 3, 5, 7), (5999, 1), (44, 1, 1000)])
@pytest.mark.parametrize("body", [RAW, wav(RAW), wav(RAW, extra=b"LIST\x05\x00\x00\x00abcde\x00")])
async def test_chunks_of_any_size(body: bytes, sizes: tuple[int, ...]) -> None:
    assert np.array_equal(await speak(chunked(cut(body, *sizes))), TONE)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36])
async def test_wav_of_unknown_length(size: int) -> None:
    assert np.array_equal(await speak(until_close(wav(RAW, size=size), "audio/wav")), TONE)


async def test_what_follows_the_samples_of_a_wav_is_not_played() -> None:
    body = wav(RAW) + b"LIST\x04\x00\x00\x00abcd"
    assert np.array_equal(await speak(chunked(cut(body, 999), "audio/wav")), TONE)


@pytest.mark.parametrize("kind", ["application/octet-stream", "audio/pcm;rate=24000", "audio/mpeg", ""])
async def test_labels_are_not_trusted(kind: str) -> None:
    assert np.array_equal(await speak(answer(RAW, kind)), TONE)


async def test_request() -> None:
    async with Service(answer(RAW)) as service:
        http = Http(service.url)
        plain = OpenAiSynthesizer(http)
        rich = OpenAiSynthesizer(http, "gpt-4o-mini-tts", "coral", 1.25, "Cheerfully.")
        for engine in (plain, rich):
            await engine.warm_up()
            assert engine.rate == 24_000
            with pytest.raises(ProviderRefused):  # json is no speech
                async for _ in engine.speak("Hi."):
                    pass
            await engine.aclose()
        first, second = (json.loads(r.body) for r in service.requests)
        assert service.requests[0].path == "/v1/audio/speech"
    assert first == {"model": "tts-1", "voice": "alloy", "response_format": "pcm", "input": "Hi."}
    assert second["speed"] == 1.25
    assert second["instructions"] == "Cheerfully."
    assert second["voice"] == "coral"


@pytest.mark.parametrize("text", ["", "  ", "...", "?!", "\U0001f642"])
async def test_nothing_to_pronounce_is_not_sent(text: str) -> None:
    assert (await speak(never, text=text)).size == 0


async def test_first_chunk_comes_before_the_last_is_sent() -> None:
    async with Service(chunked([RAW], then=never)) as service:
        engine = OpenAiSynthesizer(Http(service.url))
        async with aclosing(engine.speak("Hello.")) as chunks:
            assert np.array_equal(await anext(chunks), TONE)
        await asyncio.wait_for(service.cancelled.wait(), 20)
        await engine.aclose()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (half(RAW, len(RAW) + 2), "broke off its answer after 6000 bytes"),
        (chunked([RAW], ends=False), "broke off its answer after 6000 bytes"),
        (chunked([RAW, b"x"]), "broke off its speech after 6000 bytes"),
        (chunked([b"x"]), "broke off its speech"),
        (until_close(wav(RAW, size=len(RAW) + 2)), "broke off its speech after 6000 bytes"),
        (chunked([wav(RAW)[:30]]), "in the header"),
        (answer(b"", "audio/pcm"), "sent no speech"),
        (answer(wav(b"", size=0), "audio/wav"), "sent no speech"),
        (chunked([RAW], then=never), "paused for 0.05 s"),
        (slams, "broke the connection before it answered"),
        (error("overloaded", 503), "503 (overloaded)"),
    ],
)
async def test_a_speech_that_does_not_come_whole_is_an_error(script: Script, words: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await speak(script, chunk_s=0.05 if "paused" in words else 20.0)
    assert words in str(caught.value)
    assert caught.value.stage == "tts"
    assert caught.value.retryable
    assert isinstance(caught.value, ProviderTimeout) == ("paused" in words)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (html(200, "Log in"), "text/html (a web page: Log in) instead of speech"),
        (json_answer({"error": {"message": "no such voice"}}), "application/json (no such voice) instead of speech"),
        (answer(b'{"detail": "oh no"}', "audio/pcm"), "(oh no) instead of speech"),
        (answer(b"sorry", "text/plain"), "text/plain (sorry) instead of speech"),
        (half(b'{"error": "broken', 99, "application/json"), "instead of speech"),
        (answer(wav(RAW, rate=22_050)), "a WAV of 22050 Hz, 1 channel(s), 16 bits"),
        (answer(wav(RAW, channels=2)), "2 channel(s)"),
        (answer(wav(RAW, bits=8)), "8 bits"),
        (answer(b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + RAW), "a WAV without a format"),
        (answer(b"RIFF\0\0\0\0WAVEjunk" + struct.pack("<I", 70_000) + bytes(70_000)), "a WAV without samples"),
        (answer(b"ID3\x04" + RAW, "audio/mpeg"), "sent MP3 instead of"),
        (answer(b"\xff\xfb\x90\x00" + RAW, "audio/mpeg"), "sent MP3 instead of"),
        (answer(b"\xff\xf1\x50\x80" + RAW, "audio/aac"), "sent AAC instead of"),
        (answer(b"OggS" + RAW, "audio/ogg"), "sent Ogg instead of"),
        (answer(b"fLaC" + RAW, "application/octet-stream"), "sent FLAC instead of"),
    ],
)
async def test_what_is_not_pcm_is_refused(script: Script, words: str) -> None:
    with pytest.raises(ProviderRefused) as caught:
        await speak(script)
    assert words in str(caught.value)
    assert not caught.value.retryable


async def test_retried_before_the_first_byte_and_never_after() -> None:
    assert np.array_equal(await speak(error("later", 429), resets, answer(RAW, "audio/pcm"), retries=2), TONE)
    async with Service(half(RAW, 9999), answer(RAW, "audio/pcm")) as service:
        engine = OpenAiSynthesizer(Http(service.url, retries=2))
        with pytest.raises(ProviderError):
            async for _ in engine.speak("Hello."):
                pass
        await engine.aclose()
        assert len(service.requests) == 1


async def test_long_text_goes_in_several_requests() -> None:
    text = "This is a sentence. " * 300
    async with Service(answer(RAW, "audio/pcm")) as service:
        engine = OpenAiSynthesizer(Http(service.url))
        got = [chunk async for chunk in engine.speak(text)]
        await engine.aclose()
        sent = [json.loads(r.body)["input"] for r in service.requests]
        assert service.n_connections == 1
    assert sum(chunk.size for chunk in got) == 2 * TONE.size
    assert all(len(piece) <= 4096 and piece.endswith("sentence.") for piece in sent)
    assert " ".join(sent) == text.strip()


@given(st.text(alphabet="ab. \n!\u3002", max_size=80), st.integers(1, 20))
def test_pieces_lose_no_letter(text: str, longest: int) -> None:
    found = list(pieces(text, longest))
    assert all(0 < len(piece) <= longest for piece in found)
    letters = [c for piece in found for c in piece if c.isalnum()]
    assert letters == [c for c in text if c.isalnum()]
