"""The five examples of the API's page, unchanged but for the base URL and the key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program import misheard

from .serving import HERE, Server, node, python, run
from .sound import decoded, words_of

ORIGIN = "https://api.3xcoder.com/v1"
TEXT = "Hello, welcome to 3xCoder!"
KENNEDY = "ask not what your country can do for you ask what you can do for your country"

Example = Callable[[str], str]


@pytest.fixture
def example(server: Server) -> Example:
    """The text of an example, for our server. The two of curl and the one of node take the key as the page says."""

    def read(name: str) -> str:
        source = (HERE / "page" / name).read_text(encoding="utf-8")
        assert ORIGIN in source
        return source.replace(ORIGIN, server.base_url).replace("your-api-key", server.key)

    return read


def spoken(path: Path, home: Path) -> None:
    """It is a real mp3 of the text."""
    found = decoded(path)
    assert (found.codec, found.container, found.rate, found.channels) == ("mp3", "mp3", 24_000, 1)
    assert 1.0 < found.seconds < 5.0
    heard = words_of([path], home)[path.name].lower()
    assert "hello" in heard
    assert "welcome" in heard


def test_curl_speech(example: Example, server: Server, tmp_path: Path) -> None:
    run("sh", "-e", folder=tmp_path, env=server.variables, text=example("speech.sh"))
    spoken(tmp_path / "speech.mp3", tmp_path / "heard")


def test_python_speech(example: Example, tmp_path: Path) -> None:
    """`stream_to_file` on a whole answer warns that it is deprecated, and works."""
    (tmp_path / "example.py").write_text(example("speech.py"), encoding="utf-8")
    run(python("openai"), "example.py", folder=tmp_path, env={})
    spoken(tmp_path / "speech.mp3", tmp_path / "heard")


def test_javascript_speech(example: Example, server: Server, tmp_path: Path) -> None:
    """The page leaves open what is done with the buffer: it is saved."""
    source = example("speech.mjs") + "import { writeFileSync } from 'node:fs'\n"
    source += "writeFileSync('speech.mp3', Buffer.from(buffer))\n"
    node()
    run("node", "--input-type=module", folder=tmp_path, env=server.variables, text=source)
    spoken(tmp_path / "speech.mp3", tmp_path / "heard")


def test_curl_transcription(example: Example, server: Server, recording_mp3: Path, tmp_path: Path) -> None:
    os.link(recording_mp3, tmp_path / "audio.mp3")
    answer = json.loads(run("sh", "-e", folder=tmp_path, env=server.variables, text=example("transcriptions.sh")))
    assert misheard(KENNEDY, answer["text"][-len(KENNEDY) - 4 :]) < 0.1


def test_python_transcription(example: Example, recording_mp3: Path, tmp_path: Path) -> None:
    os.link(recording_mp3, tmp_path / "audio.mp3")
    (tmp_path / "example.py").write_text(example("transcriptions.py"), encoding="utf-8")
    assert misheard(KENNEDY, run(python("openai"), "example.py", folder=tmp_path, env={})[-len(KENNEDY) - 5 :]) < 0.1
