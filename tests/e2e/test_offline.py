"""Embedded engines open no socket: every attempt is refused and written down, and everything works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import DATA, environment, events, preloading, voiceloop

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("embedded")]

# asyncio's own socketpair raises none of these events.
GUARD = """
import sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open({report!r}, "a") as report:
            print(event, arguments, file=report)
        raise OSError("no network in this test")
sys.addaudithook(guard)
"""


class Guarded:
    """Commands without network. attempts: what they tried all the same."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._report = home / "attempts.txt"
        self._env = environment(home, **preloading(home / "site", GUARD.format(report=str(self._report))))

    def run(self, *arguments: str | Path, **variables: str) -> str:
        done = voiceloop(*arguments, home=self.home, env=self._env | variables)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def attempts(self) -> str:
        return self._report.read_text() if self._report.exists() else ""


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


@pytest.mark.parametrize("flags", [["--offline"], [], ["--tts", "espeak", "--vad", "webrtc"]], ids=" ".join)
def test_a_conversation_opens_no_socket(guarded: Guarded, flags: list[str]) -> None:
    recordings = (DATA / "ps_goforward.flac", DATA / "sb_spk1_snt5.flac")
    # A service that is configured, but not asked for, is left alone too.
    found = guarded.run("run", "--json", *flags, "--input", *recordings, OPENAI_API_KEY="sk-1")
    assert [e["text"] for e in events(found, "Heard")] == [
        "Go forward ten meters.",
        "Sunday is the best part of the week.",
    ]
    assert [e["ending"] for e in events(found, "ReplyEnded")] == ["completed", "completed"]
    assert guarded.attempts == ""
    # onnxruntime's telemetry is native code, which no audit hook sees: but it keeps a folder.
    assert not list(guarded.home.rglob("Microsoft"))


def test_the_other_commands_open_no_socket(guarded: Guarded) -> None:
    guarded.run("say", "Hello there.", "-o", "out.wav", "--offline")
    assert guarded.run("transcribe", "out.wav", "--offline") == "Hello there.\n"
    assert guarded.attempts == ""


def test_the_guard_sees_what_a_service_needs(guarded: Guarded) -> None:
    found = guarded.run(
        "run", "--json", "--stt", "openai", "--input", DATA / "ps_card001.flac",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1", VOICELOOP_SERVICE_RETRIES="0",
    )  # fmt: skip
    assert "socket.connect" in guarded.attempts
    (notice,) = events(found, "Notice")
    assert notice["stage"] == "stt"
