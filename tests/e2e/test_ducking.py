"""`voiceloop run` on a real sound server makes room: what another program plays is lowered, and comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.program import ROOT

from .soundserver import SPEAKER, SoundServer

pytestmark = pytest.mark.e2e

SPEECH = ROOT / "tests" / "data" / "ps_goforward.flac"
WAIT_S = 40.0


@contextmanager
def music(server: SoundServer) -> Iterator[None]:
    """Another program plays zeros without end, at 60 % of its volume on one side."""
    command = ["pacat", "-p", "-d", SPEAKER, "--client-name=music", "--channels=2", "/dev/zero"]
    with subprocess.Popen(command, env=server.env) as player:
        try:
            until(lambda: "music" in server.pactl("list", "sink-inputs"))
            index = next(row["index"] for row in streams(server) if row["properties"]["application.name"] == "music")
            server.pactl("set-sink-input-volume", str(index), "39321", "65536")
            yield
        finally:
            player.kill()


def streams(server: SoundServer) -> list[dict]:
    return json.loads(server.pactl("-f", "json", "list", "sink-inputs"))


def volumes(server: SoundServer, name: str = "music") -> list[int]:
    """Of that program, for each channel."""
    rows = [row for row in streams(server) if name in row["properties"]["application.name"]]
    return [channel["value"] for row in rows for channel in row["volume"].values()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def talking(server: SoundServer) -> Iterator[subprocess.Popen[str]]:
    """`voiceloop run` that listens."""
    pytest.importorskip("moonshine_voice")
    env = {**server.env, "PYTHONPATH": str(ROOT), "VOICELOOP_AUDIO_DUCK_OTHERS": "0.25", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "voiceloop", "run", "--json", "--handler", "echo"]
    env["XDG_STATE_HOME"] = str(server.home / "state")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("Ready" in line for line in process.stdout)
            yield process
        finally:
            process.kill()


BEFORE = [39321, 65536]
LOW = [round(volume * 0.25 ** (1 / 3)) for volume in BEFORE]


def test_others_are_lower_while_it_listens_and_speaks(server: SoundServer) -> None:
    with music(server), talking(server) as process:
        assert volumes(server) == BEFORE
        server.speak(SPEECH)
        assert volumes(server) == LOW
        assert process.stdout is not None
        assert any("ReplyStarted" in line for line in process.stdout)
        assert volumes(server) == LOW
        assert set(volumes(server, "python")) <= {65536}, "its own voice is as loud as ever"
        assert any("ReplyEnded" in line for line in process.stdout)
        until(lambda: volumes(server) == BEFORE)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_they_come_back_when_it_ends_in_the_middle(server: SoundServer, end: signal.Signals) -> None:
    with music(server):
        with talking(server) as process:
            server.speak(SPEECH)
            assert volumes(server) == LOW
            process.send_signal(end)
            process.wait(WAIT_S)
        if end == signal.SIGKILL:
            assert volumes(server) == LOW
            with talking(server) as process:
                server.speak(SPEECH)
                assert process.stdout is not None
                assert any("ReplyEnded" in line for line in process.stdout)
                until(lambda: volumes(server) == BEFORE)
                process.terminate()
                process.wait(WAIT_S)
        assert volumes(server) == BEFORE
        left = [path.read_text() for path in Path(server.home / "state").rglob("lowered-*")]
        assert not any("music" in text for text in left), "only who ended while it was low is remembered"
