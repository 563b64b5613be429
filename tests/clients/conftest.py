"""One server for all clients: it starts as a user starts it, with the embedded engines and a key."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import DATA

from .serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the embedded engines."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def recording_mp3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven seconds of a president."""
    path = tmp_path_factory.mktemp("recording") / "audio.mp3"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(DATA / "jfk.flac"), str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def recording_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at 48 kHz, as a microphone gives it."""
    path = tmp_path_factory.mktemp("recording") / "audio.wav"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(DATA / "jfk.flac"), "-ar", "48000", str(path)], check=True)
    return path
