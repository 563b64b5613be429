"""Clients that others wrote, at their default settings: LiveKit's plug-in and Pipecat's services for OpenAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.program import misheard

from .said import FOX, heard_kennedy
from .serving import HERE, Server, python, run, told
from .sound import decoded, words_of

SCRIPTS = {"livekit": "livekit_plugin.py", "pipecat": "pipecat_service.py"}


@pytest.fixture(scope="module", params=SCRIPTS)
def framework(
    request: pytest.FixtureRequest, server: Server, recording_wav: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Where it works, and what it saw."""
    folder = tmp_path_factory.mktemp(request.param)
    script = HERE / "foreign" / SCRIPTS[request.param]
    output = run(python(request.param), script, recording_wav, FOX, folder=folder, env=server.variables)
    return folder, told(output)


def test_speech(framework: tuple[Path, dict[str, Any]]) -> None:
    """LiveKit asks for mp3 in events and decodes it, Pipecat for pcm."""
    folder, seen = framework
    assert seen["tts"]["rates"] == [[24_000, 1]]
    assert not seen["tts"].get("errors")
    path = folder / seen["tts"]["file"]
    assert 2.0 < decoded(path).seconds < 5.0
    assert misheard(FOX, words_of([path], folder / "heard")[path.name]) == 0


def test_transcription(framework: tuple[Path, dict[str, Any]]) -> None:
    _, seen = framework
    assert not seen["stt"].get("errors")
    heard_kennedy(seen["stt"]["text"] if "text" in seen["stt"] else " ".join(seen["stt"]["texts"]))
