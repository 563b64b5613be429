"""`POST /v1/audio/speech`: what is ordered, and what comes back."""

import base64
import json
from pathlib import Path

import httpx
import pytest

from tests.server.serving import FACTS, HELLO, Script, app_of, bench, client, error_of
from voiceloop.errors import ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.sections import ServeSection
from voiceloop.server.failures import refusal
from voiceloop.server.orders import Facts, Sound, Speech
from voiceloop.testing import FakeSynthesizer
from voiceloop.wire.speech_answers import CONTENT_TYPES
from voiceloop.wire.speech_api import AUDIO_FORMATS
from voiceloop.wire.speech_errors import Refusal


async def speak(work, folder: Path, settings: ServeSection | None = None, **fields) -> httpx.Response:
    async with client(app_of(work, folder, settings=settings)) as http:
        return await http.post("/v1/audio/speech", json={**HELLO, **fields})


@pytest.mark.parametrize("form", AUDIO_FORMATS)
async def test_sound_as_it_was_made(tmp_path: Path, form) -> None:
    work = Script(Sound(b"one"), Sound(b"two"))
    answer = await speak(work, tmp_path, response_format=form)
    assert (answer.status_code, answer.content) == (200, b"onetwo")
    assert answer.headers["content-type"] == CONTENT_TYPES[form]
    assert "content-length" not in answer.headers
    assert work.orders == [Speech("Hello there.", form)]
    assert work.ended == 1


async def test_everything_reaches_the_engine(tmp_path: Path) -> None:
    work = Script(Sound(b"x"), facts=Facts("fake", "fake", ["tone", "bell"], False))
    settings = ServeSection(models={"tts-1-hd": "better"}, voices={"alloy": "bell"})
    await speak(work, tmp_path, settings, model="tts-1-hd", speed=2, instructions="Softly.", voice={"id": "alloy"})
    assert work.orders == [Speech("Hello there.", "mp3", "bell", 2.0, "Softly.", "better")]


@pytest.mark.parametrize(
    ("present", "name", "voice"),
    [
        (["tone"], "alloy", ""),
        (["tone"], "Marin", ""),
        (["tone"], "tone", "tone"),
        ([], "whatever", "whatever"),
        ([], "alloy", "alloy"),
    ],
)
async def test_names_of_voices(tmp_path: Path, present: list[str], name: str, voice: str) -> None:
    work = Script(Sound(b"x"), facts=Facts("fake", "fake", present, False))
    await speak(work, tmp_path, voice=name)
    assert [order.voice for order in work.orders if isinstance(order, Speech)] == [voice]


async def test_an_unknown_voice_lists_those_there_are(tmp_path: Path) -> None:
    answer = await speak(Script(facts=FACTS), tmp_path, ServeSection(voices={"mine": "tone"}), voice="nobody")
    assert error_of(answer) == (400, "voice", "voice_not_found")
    for name in ("alloy", "cedar", "mine", "tone"):
        assert name in answer.json()["error"]["message"]


@pytest.mark.parametrize(("unknown", "status"), [("default", 200), ("error", 404)])
async def test_unknown_models(tmp_path: Path, unknown, status: int) -> None:
    settings = ServeSection(unknown_models=unknown, models={"mine": "m"})
    answer = await speak(Script(Sound(b"x")), tmp_path, settings, model="gpt-9")
    assert answer.status_code == status
    if status == 404:
        assert error_of(answer) == (404, "model", "model_not_found")
    assert (await speak(Script(Sound(b"x")), tmp_path, settings, model="mine")).status_code == 200


async def test_models_are_listed(tmp_path: Path) -> None:
    async with client(app_of(Script(), tmp_path, settings=ServeSection(models={"a/b": "x"}))) as http:
        listed = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
        assert {"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "whisper-1", "gpt-4o-transcribe", "a/b"} <= set(listed)
        assert (await http.get("/v1/models/a/b")).json()["id"] == "a/b"
        assert error_of(await http.get("/v1/models/none")) == (404, "model", "model_not_found")


async def test_health(tmp_path: Path) -> None:
    async with client(app_of(Script(), tmp_path)) as http:
        answer = await http.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert answer.json()["engines"] == {"stt": "fake", "tts": "fake"}
        assert (await http.head("/health")).status_code == 200
    async with client(app_of(Script(facts=None), tmp_path)) as http:
        answer = await http.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "starting")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.x+json"])
async def test_json_by_other_names(tmp_path: Path, kind: str) -> None:
    async with client(app_of(Script(Sound(b"x")), tmp_path)) as http:
        answer = await http.post("/v1/audio/speech", content=json.dumps(HELLO), headers={"content-type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_what_is_not_json(tmp_path: Path, kind: str) -> None:
    async with client(app_of(Script(), tmp_path)) as http:
        answer = await http.post("/v1/audio/speech", content=json.dumps(HELLO), headers={"content-type": kind})
    assert error_of(answer) == (415, None, "unsupported_type")


async def test_wrong_json(tmp_path: Path) -> None:
    async with client(app_of(Script(), tmp_path)) as http:
        answer = await http.post("/v1/audio/speech", content=b"{", headers={"content-type": "application/json"})
        assert error_of(answer) == (400, None, "invalid_json")
        answer = await http.post("/v1/audio/speech", json={**HELLO, "input": "x" * 300_000})
        assert error_of(answer) == (413, None, "payload_too_large")
        answer = await http.post("/v1/audio/speech", json={**HELLO, "input": "x" * 5000})
        assert error_of(answer) == (400, "input", "string_above_max_length")


async def test_events(tmp_path: Path) -> None:
    answer = await speak(Script(Sound(b"one"), Sound(b"two")), tmp_path, stream_format="sse")
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert [event["type"] for event in events] == ["speech.audio.delta", "speech.audio.delta", "speech.audio.done"]
    assert [base64.b64decode(event["audio"]) for event in events[:2]] == [b"one", b"two"]


BUSY = Refusal(503, "Not now.", code="worker_unavailable", headers={"retry-after": "2"})


async def test_an_error_before_the_first_sound_is_an_answer(tmp_path: Path) -> None:
    answer = await speak(Script(BUSY), tmp_path)
    assert error_of(answer) == (503, None, "worker_unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_an_error_later_breaks_the_answer_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts: list[dict[str, object]] = []

    async def send(message) -> None:
        parts.append(message)

    body = json.dumps(HELLO).encode()
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        return next(sent, None) or await __import__("asyncio").Event().wait()

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/audio/speech", "headers": headers, "scheme": "http"}
    await app_of(Script(Sound(b"one"), BUSY), tmp_path)(scope, receive, send)
    assert [part.get("body") for part in parts] == [None, b"one"]
    assert parts[-1]["more_body"]
    assert "broke off" in caplog.text


async def test_an_error_among_events_is_an_event(tmp_path: Path) -> None:
    answer = await speak(Script(Sound(b"one"), BUSY), tmp_path, stream_format="sse")
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert [event["type"] for event in events] == ["speech.audio.delta", "error"]
    assert events[1]["error"]["code"] == "worker_unavailable"


# --- with the real work ---


async def test_a_tone_of_the_right_length(tmp_path: Path) -> None:
    work = bench(synthesizer=FakeSynthesizer(delay_s=0, letter_s=0.1))
    answer = await speak(work, tmp_path, input="Tenletters", response_format="pcm")
    assert len(answer.content) == pytest.approx(2 * 24_000, rel=0.01)


@pytest.mark.parametrize("form", AUDIO_FORMATS)
async def test_nothing_to_pronounce_is_a_short_silence(tmp_path: Path, form) -> None:
    class Mute(FakeSynthesizer):
        async def speak(self, text, manner=None):
            return
            yield

    answer = await speak(bench(synthesizer=Mute()), tmp_path, input="\N{GRINNING FACE}" * 4096, response_format=form)
    assert answer.status_code == 200
    if form == "pcm":
        assert answer.content == bytes(2 * 6000)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProviderTimeout("Late.", stage="tts"), 504, "timeout"),
        (ProviderRefused("No.", stage="tts"), 502, "upstream_error"),
        (ProviderError("Gone.", stage="tts", retryable=True), 503, "engine_error"),
        (ProviderError("Bad.", stage="tts"), 500, "engine_error"),
    ],
)
async def test_engines_that_fail(tmp_path: Path, error: Exception, status: int, code: str) -> None:
    work = bench(synthesizer=FakeSynthesizer(delay_s=0, fail={"Hello": error}))
    assert error_of(await speak(work, tmp_path)) == (status, None, code)


def test_a_refusal_stays_what_it_is() -> None:
    assert refusal(BUSY) is BUSY
