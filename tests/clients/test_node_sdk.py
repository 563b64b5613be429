"""OpenAI's SDK for JavaScript, in node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.program import misheard

from .said import FOX, check_events, check_verbose, cues, heard_kennedy
from .serving import HERE, Server, node, run, told
from .sound import decoded, words_of

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client writes."""
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def seen(server: Server, folder: Path, recording_mp3: Path) -> Seen:
    """What one run of the client saw."""
    source = (HERE / "foreign" / "openai_sdk.mjs").read_text(encoding="utf-8")
    env = {**server.variables, "RECORDING": str(recording_mp3), "FOLDER": str(folder)}
    return told(run("node", "--input-type=module", folder=node(), env=env, text=source))


@pytest.mark.parametrize(
    ("request_name", "content_type", "codec"),
    [("speech", "audio/mpeg", "mp3"), ("streamedSpeech", "audio/wav", "pcm_s16le")],
)
def test_speech(seen: Seen, folder: Path, request_name: str, content_type: str, codec: str) -> None:
    found = seen[request_name]
    assert found["contentType"] == content_type
    path = folder / found["file"]
    assert decoded(path).codec == codec
    assert misheard(FOX, words_of([path], folder / "heard")[path.name]) == 0


@pytest.mark.parametrize("request_name", ["fileStream", "buffer"])
def test_uploads(seen: Seen, request_name: str) -> None:
    """A stream comes chunked, without a length."""
    heard_kennedy(seen[request_name]["text"])


def test_verbose(seen: Seen) -> None:
    check_verbose(seen["verbose"], words=True)


def test_srt(seen: Seen) -> None:
    heard_kennedy(" ".join(text for _, _, text in cues(seen["srt"])))


def test_streamed_text(seen: Seen) -> None:
    check_events(seen["streamedText"])


def test_models(seen: Seen) -> None:
    assert {"tts-1", "whisper-1"} <= set(seen["models"])


@pytest.mark.parametrize(
    ("request_name", "kind", "status", "param"),
    [
        ("wrongKey", "AuthenticationError", 401, None),
        ("noSuchVoice", "BadRequestError", 400, "voice"),
        ("noSound", "BadRequestError", 400, "file"),
    ],
)
def test_errors(seen: Seen, request_name: str, kind: str, status: int, param: str | None) -> None:
    found = seen[request_name]
    assert (found["name"], found["status"], found["param"]) == (kind, status, param)
    assert found["requestID"]
