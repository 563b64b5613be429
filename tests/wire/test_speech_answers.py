"""What clients are answered."""

import base64
import json
import zlib

import pytest

from voiceloop.core.transcript import Document, Segment, Word
from voiceloop.wire import speech_answers as answers
from voiceloop.wire.speech_api import TextRequest
from voiceloop.wire.speech_errors import Refusal, bad, too_large, too_many
from voiceloop.wire.speech_languages import english_name

HELLO = Word("Hello", 0.5, 0.9)
DOCUMENT = Document(
    "Hello there.", 2.25, "de", (Segment("Hello", 0.5, 0.9, -0.25, (HELLO,)), Segment("there.", 1.0, 1.5))
)


def event(data: bytes) -> dict[str, object]:
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    return json.loads(data[6:])


def test_json() -> None:
    assert json.loads(answers.json_answer(DOCUMENT)) == {
        "text": "Hello there.",
        "usage": {"type": "duration", "seconds": 3},
    }


def test_verbose_json_has_every_field() -> None:
    answer = json.loads(answers.verbose_answer(DOCUMENT, TextRequest("whisper-1", temperature=0.2, words=True)))
    assert (answer["task"], answer["language"], answer["duration"]) == ("transcribe", "german", 2.25)
    assert answer["segments"][0] == {
        "id": 0,
        "seek": 50,
        "start": 0.5,
        "end": 0.9,
        "text": "Hello",
        "tokens": [],
        "temperature": 0.2,
        "avg_logprob": -0.25,
        "compression_ratio": round(5 / len(zlib.compress(b"Hello")), 3),
        "no_speech_prob": 0.0,
    }
    assert answer["segments"][1]["avg_logprob"] == 0.0
    assert answer["words"] == [{"word": "Hello", "start": 0.5, "end": 0.9}]


def test_verbose_json_has_only_the_times_asked_for() -> None:
    assert "words" not in json.loads(answers.verbose_answer(DOCUMENT, TextRequest("whisper-1")))
    only_words = TextRequest("whisper-1", words=True, segments=False)
    assert "segments" not in json.loads(answers.verbose_answer(DOCUMENT, only_words))


@pytest.mark.parametrize(
    ("task", "told", "asked", "language"),
    [
        ("translate", "de", "", "english"),
        ("transcribe", None, "fr", "french"),
        ("transcribe", None, "", "unknown"),
        ("transcribe", "tlh", "", "tlh"),
    ],
)
def test_language(task: str, told: str | None, asked: str, language: str) -> None:
    request = TextRequest("whisper-1", "translate" if task == "translate" else "transcribe", asked)
    assert json.loads(answers.verbose_answer(Document("", 0.0, told), request))["language"] == language


def test_names_of_languages() -> None:
    assert (english_name("en"), english_name("zh"), english_name("yue")) == ("english", "chinese", "cantonese")


def test_events_of_a_transcript() -> None:
    assert event(answers.text_delta(" there")) == {"type": "transcript.text.delta", "delta": " there"}
    assert event(answers.text_done("Hello there")) == {"type": "transcript.text.done", "text": "Hello there"}
    assert answers.joined(["Hello", "", "there"]) == "Hello there"


def test_events_of_speech() -> None:
    delta = event(answers.audio_delta(b"\x00\xff"))
    assert (delta["type"], base64.b64decode(str(delta["audio"]))) == ("speech.audio.delta", b"\x00\xff")
    done = event(answers.audio_done())
    assert done["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def test_an_error_in_a_stream() -> None:
    assert event(answers.error_event(Refusal(503, "No."))) == {
        "type": "error",
        "error": {"message": "No.", "type": "server_error", "param": None, "code": None},
    }


def test_models() -> None:
    listed = json.loads(answers.models(["tts-1", "mine"]))
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["tts-1", "mine"]
    assert listed["data"][0] == json.loads(answers.model("tts-1"))
    assert set(listed["data"][0]) == {"id", "object", "created", "owned_by"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_errors_have_four_keys(status: int, kind: str) -> None:
    assert json.loads(Refusal(status, "No.", param="x").body()) == {
        "error": {"message": "No.", "type": kind, "param": "x", "code": None}
    }


def test_kinds_of_refusal() -> None:
    assert (bad("voice", "No.").status, bad("voice", "No.", "c").code) == (400, "c")
    assert (too_large("No.", "file").status, too_large("No.").headers) == (413, {"connection": "close"})


@pytest.mark.parametrize(("wait_s", "seconds", "ms"), [(1.2, "2", "1200"), (0.0, "1", "1"), (30.0, "30", "30000")])
def test_when_to_come_back(wait_s: float, seconds: str, ms: str) -> None:
    refusal = too_many("Later.", wait_s)
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert refusal.headers == {"retry-after": seconds, "retry-after-ms": ms}
