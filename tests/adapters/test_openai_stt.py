"""Transcription over HTTP, against a real server."""

from __future__ import annotations

import io
import json
import wave

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.http import Service as Http
from voiceloop.adapters.stt.answers import transcript
from voiceloop.adapters.stt.openai import OpenAiTranscriber, Wishes, flac, wav
from voiceloop.core.audio import Pcm, silence
from voiceloop.core.transcript import Segment, Word
from voiceloop.errors import ProviderError, ProviderRefused
from voiceloop.ports import Timed, Transcriber, Transcript, Translator

from .service import Request, Script, Service, answer, chunked, error, html, json_answer, never, sse
from .strict import parts, strict

SPEECH: Pcm = (np.arange(16_000) % 321 - 160).astype(np.int16)


def form(request: Request) -> dict[str, bytes]:
    """The first value of each part of a multipart request by name; the file's own name under `filename`."""
    return {name: values[0] for name, values in parts(request).items()}


async def transcribe(
    script: Script, pcm: Pcm = SPEECH, model: str = "whisper-1", **wishes: object
) -> tuple[Transcript, list[Request]]:
    async with Service(script) as service:
        engine: Transcriber = OpenAiTranscriber(Http(service.url, "key", retries=0), model, Wishes(**wishes))
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
    sent = form(request)
    assert sent["model"] == b"big"
    assert sent["response_format"] == b"verbose_json"
    assert sent["language"] == b"en"
    assert sent["prompt"] == b"names: Ada"
    assert sent["filename"] == b"speech.wav"
    with wave.open(io.BytesIO(sent["file"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert np.array_equal(np.frombuffer(file.readframes(file.getnframes()), "<i2"), SPEECH)


async def test_fields_left_out_and_overridden() -> None:
    async with Service(json_answer({"text": "x"})) as service:
        engine = OpenAiTranscriber(Http(service.url), wishes=Wishes(language="de"))
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
    ("found", "language"),
    [
        ({"language": "nl"}, "nl"),
        ({"language": "dutch"}, "nl"),
        ({"language": "Klingon"}, "de"),
        ({"language": None}, "de"),
    ],
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


# --- all five formats ---

SRT = "1\n00:00:00,500 --> 00:00:01,250\nHello there.\n\n2\n00:00:02,000 --> 01:00:03,000\nHow are\nyou?\n\n"
VTT = (
    "WEBVTT\n\nNOTE made by hand\n\nintro\n00:00.500 --> 00:01.250 align:start\n<v Ada>Hello there.\n\n"
    "00:02.000 --> 01:00:03.000\nHow are\nyou?\n"
)
CAPTIONS = (Segment("Hello there.", 0.5, 1.25), Segment("How are you?", 2.0, 3603.0))
VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 3.0,
    "text": " Hello there. How are you?",
    "segments": [
        {"id": 0, "start": 0.5, "end": 1.25, "text": " Hello there.", "tokens": [1, 2, 3], "avg_logprob": -0.2},
        {"id": 1, "start": 2.0, "end": 9.0, "text": " How are you?", "tokens": [4], "avg_logprob": -0.6},
    ],
    "words": [
        {"word": "Hello", "start": 0.5, "end": 0.8},
        {"word": "there", "start": 0.8, "end": 1.2},
        {"word": "How", "start": 2.0, "end": 2.2},
        {"word": "are", "start": 2.2, "end": 2.4},
        {"word": "you", "start": 2.4, "end": 9.0},
    ],
}


@pytest.mark.parametrize(
    ("kind", "body", "type_", "segments"),
    [
        ("json", b'{"text": "Hello there. How are you?"}', "application/json", ()),
        ("text", b"Hello there. How are you?\n", "text/plain", ()),
        ("srt", SRT.encode(), "text/plain", CAPTIONS),
        ("srt", SRT.replace("\n", "\r\n").encode("utf-8-sig"), "application/x-subrip", CAPTIONS),
        ("vtt", VTT.encode(), "text/vtt", CAPTIONS),
    ],
)
async def test_each_format(kind: str, body: bytes, type_: str, segments: tuple[Segment, ...]) -> None:
    found, (request,) = await transcribe(strict(answer(body, type_)), response_format=kind)
    assert form(request)["response_format"] == kind.encode()
    assert found == Transcript("Hello there. How are you?", segments=segments)


async def test_verbose_json() -> None:
    found, _ = await transcribe(strict(json_answer(VERBOSE)))
    assert (found.text, found.language) == ("Hello there. How are you?", "en")
    assert found.logprob == pytest.approx(-0.3), "weighed by the number of tokens"
    assert [s.logprob for s in found.segments] == [-0.2, -0.6]
    assert [[w.text for w in s.words] for s in found.segments] == [["Hello", "there."], ["How", "are", "you?"]]
    assert (found.p_stop, found.p_comma) == (None, None)


@pytest.mark.parametrize(
    ("change", "text"), [({}, "Hello there."), ({"avg_logprob": -0.9}, None), ({"no_speech_prob": 0.5}, None)]
)
async def test_a_segment_without_speech_is_none(change: dict[str, float], text: str | None) -> None:
    doubtful = {**VERBOSE["segments"][1], "avg_logprob": -1.1, "no_speech_prob": 0.7, **change}
    found, _ = await transcribe(json_answer({**VERBOSE, "segments": [VERBOSE["segments"][0], doubtful], "words": []}))
    assert found.text == (text or "Hello there. How are you?")
    assert len(found.segments) == (1 if text else 2)


@pytest.mark.parametrize(
    "odd",
    [
        {"segments": "none", "words": {"a": 1}, "logprobs": 3},
        {"segments": [None, 1, {"start": "x", "end": 1, "text": "y"}, {"start": 0, "end": True, "text": ""}]},
        {"words": [{"word": "", "start": 0, "end": 1}, {"word": "x", "start": None, "end": 1}]},
        {"logprobs": [{"token": "a"}, None], "segments": [{"start": 0, "end": float("nan"), "text": "a"}]},
    ],
)
async def test_odd_parts_are_left_out(odd: dict[str, object]) -> None:
    found, _ = await transcribe(json_answer({"text": "x", **odd}))
    assert found == Transcript("x")


async def test_words_without_segments() -> None:
    found = transcript(json.dumps({"text": "x y", "words": [{"word": "x", "start": 1, "end": 2}]}).encode(), "")
    assert found
    assert found.segments == (Segment("x", 1.0, 2.0, words=(Word("x", 1.0, 2.0),)),)


async def test_logprobs_of_tokens() -> None:
    tokens = [{"token": "Hi", "logprob": -0.1, "bytes": [72]}, {"token": ".", "logprob": -0.5, "bytes": [46]}]
    script = strict(json_answer({"text": "Hi.", "logprobs": tokens}))
    found, (request,) = await transcribe(script, model="gpt-4o-transcribe")
    assert found.logprob == pytest.approx(-0.3)
    assert form(request)["include[]"] == b"logprobs"
    _, (request,) = await transcribe(script, model="gpt-4o-transcribe-diarize")
    assert "include[]" not in form(request)


# --- what a service does not know ---


async def asked(script: Script, calls: str = "transcribe transcribe", **wishes: object) -> list[str]:
    """response_format of each request, and whether it came as FLAC."""
    async with Service(script) as service:
        engine = OpenAiTranscriber(Http(service.url, retries=0), "x", Wishes(**wishes))
        for call in calls.split():
            await getattr(engine, call)(SPEECH)
        await engine.aclose()
        return [
            f"{parts(r).get('response_format', [b''])[0].decode()}"
            f"{' flac' if parts(r)['filename'] == [b'speech.flac'] else ''}"
            f"{' times' if 'timestamp_granularities[]' in parts(r) else ''}"
            for r in service.requests
        ]


def picky(*refused: str, status: int = 400) -> Script:
    """Refuses requests that hold one of these."""
    ok = json_answer(VERBOSE)

    async def script(request: Request, wire: object) -> None:
        bad = [r for r in refused if r.encode() in request.body]
        await (error(f"{bad[0]} is not supported", status) if bad else ok)(request, wire)

    return script


@pytest.mark.parametrize("status", [400, 422])
async def test_a_format_that_is_refused_is_not_asked_for_again(status: int) -> None:
    found = await asked(picky("verbose_json", status=status), "transcribe transcribe transcribe_timed translate")
    assert found == [
        "verbose_json",
        "json",
        "json",
        "verbose_json times",
        "verbose_json",
        "json",
        "verbose_json",
        "json",
    ]


async def test_times_of_words_that_are_refused() -> None:
    found = await asked(picky("timestamp_granularities"), "transcribe_timed transcribe_timed")
    assert found == ["verbose_json times", "verbose_json", "verbose_json"]


async def test_flac_that_is_refused_is_sent_as_wav_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceloop.adapters.http_errors.is_loopback", lambda host: False)
    assert await asked(picky(), "transcribe") == ["verbose_json flac"]
    assert await asked(picky("fLaC")) == ["verbose_json flac", "verbose_json", "verbose_json"]
    assert await asked(picky("fLaC", status=500), "transcribe") == ["verbose_json flac", "verbose_json"]
    both = await asked(picky("fLaC", "verbose_json"))
    assert both == ["verbose_json flac", "verbose_json", "json flac", "json", "json"]


async def test_what_was_taken_once_is_refused_for_another_reason() -> None:
    async with Service(json_answer(VERBOSE), error("bad sound", 400)) as service:
        engine = OpenAiTranscriber(Http(service.url, retries=0))
        await engine.transcribe(SPEECH)
        with pytest.raises(ProviderRefused) as caught:
            await engine.transcribe(SPEECH)
        assert caught.value.status == 400
        assert len(service.requests) == 2
        await engine.aclose()


@pytest.mark.parametrize(("status", "n"), [(400, 2), (401, 1), (404, 1), (429, 1), (503, 1)])
async def test_only_a_doubtful_request_is_asked_in_another_form(status: int, n: int) -> None:
    async with Service(error("no", status)) as service:
        engine = OpenAiTranscriber(Http(service.url, retries=0))
        with pytest.raises(ProviderRefused):
            await engine.transcribe(SPEECH)
        assert len(service.requests) == n
        await engine.aclose()


# --- times, translation, streams, other fields ---


async def test_times_of_words() -> None:
    async with Service(strict(json_answer(VERBOSE))) as service:
        engine = OpenAiTranscriber(Http(service.url))
        assert isinstance(engine, Timed)
        found = await engine.transcribe_timed(SPEECH, language="en", temperature=0.4)
        sent = parts(service.requests[0])
        await engine.aclose()
    assert sent["timestamp_granularities[]"] == [b"word", b"segment"]
    assert (sent["temperature"], sent["language"]) == ([b"0.4"], [b"en"])
    assert found.segments[1].words[-1] == Word("you?", 1.0, 1.0), "never beyond the sound"


async def test_one_segment_where_there_are_no_times() -> None:
    async with Service(json_answer({"text": "Hello."})) as service:
        engine = OpenAiTranscriber(Http(service.url))
        assert (await engine.transcribe_timed(SPEECH)).segments == (Segment("Hello.", 0.0, 1.0),)
        await engine.aclose()


async def test_a_translation() -> None:
    async with Service(strict(json_answer({**VERBOSE, "language": "german"}))) as service:
        engine = OpenAiTranscriber(Http(service.url), wishes=Wishes(language="de"))
        assert isinstance(engine, Translator)
        found = await engine.translate(SPEECH, prompt="names")
        await engine.aclose()
        assert service.requests[0].path == "/v1/audio/translations"
    assert (found.text, found.language) == ("Hello there. How are you?", "en")


DELTAS = [{"type": "transcript.text.delta", "delta": part} for part in ("Hel", "lo ", "there.")]
DONE = {"type": "transcript.text.done", "text": "Hello there.", "logprobs": [{"token": "x", "logprob": -0.25}]}


async def test_a_streamed_transcript_is_there_when_it_is_done() -> None:
    body = sse(*DELTAS, DONE, done=False)
    pieces = [body[n : n + 7] for n in range(0, len(body), 7)]
    script = strict(chunked(pieces, "text/event-stream", then=never))
    found, (request,) = await transcribe(script, model="gpt-4o-transcribe", stream=True)
    assert found == Transcript("Hello there.", logprob=-0.25)
    assert form(request)["stream"] == b"true"


async def test_a_service_that_does_not_stream_though_it_was_asked_to() -> None:
    found, (request,) = await transcribe(strict(json_answer({"text": "Hello there."})), stream=True)
    assert found.text == "Hello there."
    assert form(request)["response_format"] == b"json"


@pytest.mark.parametrize(
    ("events", "said"),
    [(DELTAS, "broke off its transcript"), ([{"type": "error", "error": {"message": "no luck"}}], "no luck")],
)
async def test_a_stream_without_an_end(events: list[object], said: str) -> None:
    with pytest.raises(ProviderError, match=said):
        await transcribe(chunked([sse(*events, done=False)], "text/event-stream"), stream=True)


async def test_more_fields() -> None:
    vad = {"type": "server_vad", "threshold": 0.4}
    options = {"chunking_strategy": vad, "include": ["logprobs"], "vad_filter": True, "known[]": ["a", "b"]}
    _, (request,) = await transcribe(json_answer({"text": "x"}), model="gpt-4o-transcribe", options=options)
    sent = parts(request)
    assert (sent["chunking_strategy[type]"], sent["chunking_strategy[threshold]"]) == ([b"server_vad"], [b"0.4"])
    assert (sent["include[]"], sent["vad_filter"], sent["known[]"]) == ([b"logprobs"], [b"true"], [b"a", b"b"])


@pytest.mark.parametrize("n", [10, 16_000])
async def test_flac_is_the_same_sound(n: int) -> None:
    _, (request,) = await transcribe(strict(json_answer({"text": "x"})), SPEECH[:n], upload="flac")
    pcm, rate = soundfile.read(io.BytesIO(form(request)["file"]), dtype="int16")
    assert rate == 16_000
    assert np.array_equal(pcm[:n], SPEECH[:n])
    assert len(flac(SPEECH)) < len(wav(SPEECH))
