"""Speech over HTTP, against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.http import Service as Http
from voiceloop.adapters.media.decode import Decoder
from voiceloop.adapters.media.encode import Encoder
from voiceloop.adapters.tts.body import Means
from voiceloop.adapters.tts.openai import OpenAiSynthesizer, pieces
from voiceloop.core.audio import Pcm
from voiceloop.errors import ConfigError, ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.media import resampler
from voiceloop.ports import Manner, Synthesizer

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
    sse,
    until_close,
)
from .strict import strict

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


# --- parameters ---


async def sent(
    *manners: Manner | None, script: Script | None = None, text: str = "Hi.", **options: object
) -> list[dict[str, object]]:
    """The bodies of the requests, each checked against OpenAI's schema."""
    async with Service(strict(script or answer(RAW, "audio/pcm"))) as service:
        engine = OpenAiSynthesizer(Http(service.url, retries=0), **options)
        for manner in manners or (None,):
            async for _ in engine.speak(text, manner):
                pass
        await engine.aclose()
        return [json.loads(request.body) for request in service.requests]


async def test_a_voice_of_ones_own_is_an_id() -> None:
    first, second = await sent(None, Manner(voice="nova"), voice="id:voice_12")
    assert first["voice"] == {"id": "voice_12"}
    assert second["voice"] == "nova"


async def test_a_manner_is_for_one_call() -> None:
    manner = Manner(voice="id:v", speed=1.0, instructions="Sadly.", model="gpt-4o-mini-tts")
    found = await sent(None, manner, None, voice="coral", speed=1.5)
    usual = {"model": "tts-1", "voice": "coral", "response_format": "pcm", "input": "Hi.", "speed": 1.5}
    assert found[0] == found[2] == usual
    assert found[1] == {
        "model": "gpt-4o-mini-tts",
        "voice": {"id": "v"},
        "response_format": "pcm",
        "input": "Hi.",
        "instructions": "Sadly.",
    }


async def test_more_fields() -> None:
    async with Service(answer(RAW, "audio/pcm")) as service:
        engine = OpenAiSynthesizer(Http(service.url), options={"lang_code": "a", "normalization": {"unit": True}})
        async for _ in engine.speak("Hi."):
            pass
        await engine.aclose()
        body = json.loads(service.requests[0].body)
    assert (body["lang_code"], body["normalization"]) == ("a", {"unit": True})


# --- formats ---

SECOND: Pcm = (np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000) * 8000).astype(np.int16)
MEANS = Means(resampler, Decoder)


def encoded(kind: str, rate: int = 24_000) -> bytes:
    encoder = Encoder(kind, rate)
    return encoder.feed(SECOND) + encoder.finish()


async def played(*scripts: Script, means: Means = MEANS, **options: object) -> Pcm:
    async with Service(*scripts) as service:
        engine = OpenAiSynthesizer(Http(service.url, retries=0), means=means, **options)
        try:
            return np.concatenate([np.zeros(0, np.int16), *[chunk async for chunk in engine.speak("Hello.")]])
        finally:
            await engine.aclose()


def pitch_hz(pcm: Pcm) -> float:
    """Of a tone, by its zero crossings in the middle."""
    middle = pcm[4_000:20_000]
    return float(np.count_nonzero(np.diff(np.signbit(middle)))) / 2 / (middle.size / 24_000)


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("size", [100, 5000])
async def test_each_format_is_decoded_as_it_comes(kind: str, size: int) -> None:
    types = {"mp3": "audio/mpeg", "opus": "audio/ogg"}
    script = strict(chunked(cut(encoded(kind), size), types.get(kind, f"audio/{kind}")))
    pcm = await played(script, response_format=kind)
    assert pcm.size == pytest.approx(24_000, abs=2500)
    assert pitch_hz(pcm) == pytest.approx(440, abs=3)


async def test_the_first_sound_of_an_mp3_comes_before_its_last_byte() -> None:
    data = encoded("mp3")
    async with Service(chunked([data[: len(data) // 2]], "audio/mpeg", then=never)) as service:
        engine = OpenAiSynthesizer(Http(service.url), response_format="mp3", means=MEANS)
        async with aclosing(engine.speak("Hello.")) as chunks:
            assert (await anext(chunks)).size
        await asyncio.wait_for(service.cancelled.wait(), 20)
        await engine.aclose()


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac"])
async def test_a_format_that_nobody_asked_for_is_decoded_too(kind: str) -> None:
    label = {"mp3": "audio/mpeg", "aac": "audio/aac"}.get(kind, "application/octet-stream")
    assert pitch_hz(await played(answer(encoded(kind), label))) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (48_000, 1), (24_000, 2), (8_000, 2)])
async def test_a_wav_of_another_kind_is_made_ours(rate: int, channels: int) -> None:
    tone = np.sin(np.arange(rate) * 2 * np.pi * 440 / rate) * 8000
    data = np.repeat(tone, channels).astype("<i2").tobytes()
    pcm = await played(chunked(cut(wav(data, rate=rate, channels=channels), 999), "audio/wav"))
    assert pcm.size == pytest.approx(24_000, abs=300)
    assert pitch_hz(pcm) == pytest.approx(440, abs=3)


async def test_pcm_at_the_rate_that_its_label_tells() -> None:
    pcm = await played(chunked(cut(SECOND.astype("<i2").tobytes(), 777), 'audio/l16; rate="48000"; channels=1'))
    assert pcm.size == 12_000
    assert pitch_hz(np.tile(pcm, 2)) == pytest.approx(880, abs=5)


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        (answer(encoded("opus")[:-300], "audio/ogg"), {"response_format": "opus"}, "broke off its speech after"),
        (answer(RAW, "audio/mpeg"), {"response_format": "mp3"}, "sent something else than mp3"),
        (answer(b"fLaC" + RAW, "audio/flac"), {}, "broke off its speech"),
        (answer(wav(RAW, bits=12), "audio/wav"), {}, "cannot be decoded"),
        (answer(b"ID3", "audio/mpeg"), {"response_format": "mp3"}, "broke off|no speech"),
        (answer(RAW, "audio/l16;rate=1000"), {}, "pcm at 1000 Hz"),
        (answer(RAW, "audio/l16;rate=16000"), {"means": Means()}, "pcm at 16000 Hz"),
        (answer(encoded("mp3"), "audio/mpeg"), {"means": Means(decoder=lambda rate: missing())}, "voiceloop.media"),
    ],
)
async def test_what_cannot_be_had(script: Script, options: dict[str, object], said: str) -> None:
    with pytest.raises(ProviderError, match=said):
        await played(script, **options)


def missing() -> Decoder:
    raise ConfigError("PyAV is not installed")


# --- events ---


def events(*pieces: bytes, done: bool = True) -> bytes:
    found = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces]
    return sse(*found, *([{"type": "speech.audio.done", "usage": {"total_tokens": 3}}] if done else []), done=False)


@pytest.mark.parametrize("sizes", [(1000,), (1, 7), (100_000,)])
async def test_speech_as_events(sizes: tuple[int, ...]) -> None:
    script = chunked(cut(events(*cut(RAW, 1001)), *sizes), "text/event-stream")
    assert np.array_equal(await played(script, stream_format="sse"), TONE)
    (body,) = await sent(script=script, model="gpt-4o-mini-tts", stream_format="sse")
    assert body["stream_format"] == "sse"


@pytest.mark.parametrize("kind", ["mp3", "wav"])
async def test_compressed_speech_as_events(kind: str) -> None:
    script = answer(events(*cut(encoded(kind), 999)), "text/event-stream")
    pcm = await played(script, stream_format="sse", response_format=kind)
    assert pitch_hz(pcm) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (events(RAW, done=False), "broke off its speech"),
        (sse({"type": "error", "error": {"message": "no luck"}}), "no luck"),
        (events(), "sent no speech"),
        (sse({"type": "speech.audio.delta", "audio": 3}, "x", {"type": "speech.audio.done"}), "sent no speech"),
    ],
)
async def test_events_that_are_no_speech(body: bytes, said: str) -> None:
    with pytest.raises(ProviderError, match=said):
        await played(answer(body, "text/event-stream"), stream_format="sse")


async def test_a_service_without_events_is_asked_for_sound_from_then_on() -> None:
    async with Service(strict(answer(RAW, "audio/pcm"))) as service:
        engine = OpenAiSynthesizer(Http(service.url, retries=0), "tts-1", stream_format="sse")
        for _ in range(2):
            assert np.array_equal(np.concatenate([chunk async for chunk in engine.speak("Hi.")]), TONE)
        await engine.aclose()
        assert ["stream_format" in json.loads(r.body) for r in service.requests] == [True, False, False]
