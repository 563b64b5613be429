"""OpenAI's SDK for Python: both endpoints in every format, streams, errors, retries."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.program import misheard

from .said import FOX, check_events, check_verbose, cues, heard_kennedy, in_order
from .serving import HERE, Server, python, run, serving, told
from .sound import decoded, words_of

FORMATS = {
    "mp3": ("mp3", "mp3", 24_000),
    "opus": ("opus", "ogg", 48_000),
    "aac": ("aac", "aac", 24_000),
    "flac": ("flac", "flac", 24_000),
    "wav": ("pcm_s16le", "wav", 24_000),
    "pcm": ("pcm_s16le", "s16le", 24_000),
}
"""Codec, container and rate."""

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client works."""
    return tmp_path_factory.mktemp("sdk")


@pytest.fixture(scope="module")
def seen(server: Server, folder: Path, recording_mp3: Path) -> Seen:
    """What one run of the client saw."""
    script = HERE / "foreign" / "openai_sdk.py"
    return told(run(python("openai"), script, recording_mp3, folder=folder, env=server.variables))


@pytest.fixture(scope="module")
def heard(seen: Seen, folder: Path) -> dict[str, str]:
    """The words in all sound that it got."""
    names = [*seen["each_speech_format"].values(), seen["speech_to_a_file"], *seen["asynchronous"]["files"]]
    return words_of([folder / name for name in names], folder / "heard")


@pytest.mark.parametrize("form", FORMATS)
def test_each_speech_format(seen: Seen, folder: Path, heard: dict[str, str], form: str) -> None:
    """Decoded by ffmpeg without a complaint: codec, rate, duration, loudness and words are right."""
    names = seen["each_speech_format"]
    found, plain = decoded(folder / names[form]), decoded(folder / names["pcm"])
    codec, container, rate = FORMATS[form]
    assert (found.codec, found.container, found.rate, found.channels) == (codec, container, rate, 1)
    assert abs(found.seconds - plain.seconds) < 0.1  # encoders pad to whole frames
    assert 0.8 < found.rms / plain.rms < 1.25
    assert 2.0 < found.seconds < 5.0
    assert misheard(FOX, heard[names[form]]) == 0


def test_what_loses_nothing_is_the_same(seen: Seen, folder: Path) -> None:
    """WAV and FLAC hold the samples of pcm."""
    names = seen["each_speech_format"]
    pcm = (folder / names["pcm"]).read_bytes()
    for form in ("wav", "flac"):
        command = ["ffmpeg", "-v", "error", "-i", folder / names[form], "-f", "s16le", "-"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == pcm


def test_streamed_speech(seen: Seen, folder: Path) -> None:
    """Four times the sentence is nearly four times the sound."""
    streamed = seen["streamed_speech"]
    assert streamed["content_type"] == "audio/pcm"
    one, four = decoded(folder / seen["each_speech_format"]["pcm"]), decoded(folder / streamed["file"])
    assert 3.5 * one.seconds < four.seconds < 5 * one.seconds


def test_speech_to_a_file(seen: Seen, folder: Path, heard: dict[str, str]) -> None:
    assert decoded(folder / seen["speech_to_a_file"]).codec == "mp3"
    assert misheard(FOX, heard[seen["speech_to_a_file"]]) == 0


def test_speech_events(seen: Seen, folder: Path) -> None:
    found = seen["speech_events"]
    *deltas, done = found["events"]
    assert found["content_type"].startswith("text/event-stream")
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert done["type"] == "speech.audio.done"
    assert {"input_tokens", "output_tokens", "total_tokens"} <= set(done["usage"])
    path = folder / "events.wav"
    path.write_bytes(b"".join(base64.b64decode(event["audio"]) for event in deltas))
    assert decoded(path).codec == "pcm_s16le"
    assert misheard(FOX, words_of([path], folder / "heard")["events.wav"]) == 0


def test_every_voice_speaks(seen: Seen) -> None:
    assert len(seen["voices"]) == 14
    assert min(seen["voices"].values()) > 2 * 24_000 // 5


def test_speed(seen: Seen) -> None:
    n = seen["speeds"]
    assert 1.6 < n["0.5"] / n["1.0"] < 2.4
    assert 0.4 < n["2.0"] / n["1.0"] < 0.65


def test_each_text_format(seen: Seen) -> None:
    found = seen["each_text_format"]
    heard_kennedy(found["json"]["text"])
    assert found["json"]["usage"] == {"type": "duration", "seconds": 11}
    heard_kennedy(found["text"])
    check_verbose(found["verbose_json"], words=False)
    assert found["srt"].startswith("1\n")
    assert found["vtt"].startswith("WEBVTT\n")
    for form in ("srt", "vtt"):
        marked = cues(found[form])
        heard_kennedy(" ".join(text for _, _, text in marked))
        in_order([(start, end) for start, end, _ in marked], 11)


def test_word_times(seen: Seen) -> None:
    """ "ask" is said twice, with a long pause before each."""
    check_verbose(seen["word_times"], words=True)
    asks = [w["start"] for w in seen["word_times"]["words"] if w["word"].strip(" ,.").lower() == "ask"]
    assert asks == [pytest.approx(3.3, abs=0.3), pytest.approx(8.2, abs=0.3)]


def test_all_parameters(seen: Seen) -> None:
    check_verbose(seen["all_parameters"], words=False)


def test_streamed_text(seen: Seen) -> None:
    check_events(seen["streamed_text"])
    check_events(seen["streamed_text_asynchronously"])


def test_uploads(seen: Seen) -> None:
    """Neither name nor type of a file is trusted, and the text is always the same."""
    assert set(seen["uploads"]) == {"opened", "unnamed", "misnamed"}
    assert set(seen["uploads"].values()) == {seen["each_text_format"]["json"]["text"]}


def test_models(seen: Seen) -> None:
    assert {"tts-1", "tts-1-hd", "whisper-1"} <= set(seen["models"])
    assert seen["one_model"]["id"] == "tts-1"
    assert seen["one_model"]["object"] == "model"


def test_asynchronous(seen: Seen, heard: dict[str, str]) -> None:
    assert len(seen["asynchronous"]["files"]) == 2
    assert [misheard(FOX, heard[name]) for name in seen["asynchronous"]["files"]] == [0, 0]
    heard_kennedy(seen["asynchronous"]["text"])


ERRORS = {
    "wrong key": ("AuthenticationError", 401, None),
    "no such voice": ("BadRequestError", 400, "voice"),
    "no such format": ("BadRequestError", 400, "response_format"),
    "too fast": ("BadRequestError", 400, "speed"),
    "too long": ("BadRequestError", 400, "input"),
    "nothing to say": ("BadRequestError", 400, "input"),
    "no such model": ("NotFoundError", 404, None),
    "no such path": ("NotFoundError", 404, None),
    "no sound": ("BadRequestError", 400, "file"),
    "empty file": ("BadRequestError", 400, "file"),
    "too large": ("APIStatusError", 413, None),
    "too hot": ("BadRequestError", 400, "temperature"),
    "words of json": ("BadRequestError", 400, "timestamp_granularities"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(seen: Seen, name: str) -> None:
    """The SDK raises the class that a program catches, and knows what OpenAI's own errors tell."""
    kind, status, param = ERRORS[name]
    found = seen["errors"][name]
    assert kind in found["classes"], found
    assert found["status"] == status
    assert set(found["body"]) == {"message", "type", "param", "code"}
    assert param is None or found["param"] == param
    assert found["request_id"]
    assert len(found["body"]["message"]) > 10


def test_an_unknown_voice_is_told_the_known_ones(seen: Seen) -> None:
    message = seen["errors"]["no such voice"]["message"]
    assert all(name in message for name in ("alloy", "echo", "fable", "onyx", "nova", "shimmer"))


def test_translation_is_made_or_refused(seen: Seen) -> None:
    """The embedded engine knows English only: what is English already stays, or the server says that it cannot."""
    found = seen["translated"]
    if "error" in found:
        assert found["error"].startswith(("NotFoundError", "BadRequestError"))
    else:
        heard_kennedy(found["text"])


def test_retries(tmp_path: Path) -> None:
    """A key that asks too often is told when to come again; the SDK's own retries obey that, and then it works."""
    per_minute = 30
    with serving(tmp_path / "server", f"per_minute = {per_minute}\n") as limited:
        script = HERE / "foreign" / "openai_limits.py"
        found = told(run(python("openai"), script, str(10 * per_minute), folder=tmp_path, env=limited.variables))
    assert found["refused"] is not None
    assert found["refused"]["after"] >= per_minute
    assert found["refused"]["status"] == 429
    assert found["refused"]["body"]["type"] == "rate_limit_error"
    assert float(found["refused"]["retry_after"]) > 0
    assert found["retries"] >= 1
    assert found["n_bytes"] > 10_000
