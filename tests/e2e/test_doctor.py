"""`voiceloop doctor` and `calibrate` on a real sound server, whose echo is as strong as we make it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.program import ROOT, environment

from .soundserver import MICROPHONE, SoundServer

pytestmark = pytest.mark.e2e

LOSS_DB = 20


def run(server: SoundServer, *arguments: str, code: int = 0, **variables: str) -> Any:
    """What it prints as JSON."""
    sound = {name: server.env[name] for name in ("PULSE_SERVER", "ALSA_CONFIG_PATH", "XDG_RUNTIME_DIR")}
    env = environment(server.home, **sound, PYTHONPATH=str(ROOT), **variables)
    command = [sys.executable, "-m", "voiceloop", *arguments, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    assert (done.stderr == "") or "error" in done.stderr
    return json.loads(done.stdout or done.stderr)


def found(report: Any) -> dict[str, Any]:
    return {finding["name"]: finding for finding in report["findings"]}


def test_the_echo_is_measured_kept_and_compared(server: SoundServer) -> None:
    pytest.importorskip("moonshine_voice")
    with server.echo(50):
        (loop,) = json.loads(server.pactl("-f", "json", "list", "sink-inputs"))
        server.pactl("set-sink-input-volume", str(loop["index"]), f"-{LOSS_DB}dB")
        kept = run(server, "calibrate")
        assert kept["found"] == 8
        assert kept["loss_db"] == pytest.approx(LOSS_DB, abs=1.0)
        assert 0.05 < kept["echo_s"] < 0.5
        assert kept["reported_s"] < kept["device_s"] + 0.05, "an echo cannot come before its sound"
        report = run(server, "doctor")
    checks = found(report)
    assert report["bad"] == 0
    assert checks["echo"]["data"]["loss_db"] == pytest.approx(LOSS_DB, abs=1.0)
    assert checks["echo"]["data"]["delay_s"] == pytest.approx(kept["echo_s"], abs=0.06)
    assert checks["calibration"]["data"]["known_echo_s"] == kept["echo_s"]
    assert checks["opened"]["data"]["pair"] == kept["pair"]
    assert checks["microphone"]["verdict"] == "ok"
    assert {"tts", "stt", "vad", "handler", "devices", "configuration", "underruns"} <= checks.keys()


def test_what_is_broken_is_found(server: SoundServer) -> None:
    server.pactl("set-source-mute", MICROPHONE, "1")
    report = run(server, "doctor", "--tts", "nothing", code=1, VOICELOOP_TURN_WAIT="3")
    bad = {finding["name"] for finding in report["findings"] if finding["verdict"] == "bad"}
    assert bad == {"configuration", "microphone"}
    assert run(server, "calibrate", code=1)["error"].startswith("The microphone heard nothing of the test sound")
    server.stop()
    report = run(server, "doctor", "--tts", "nothing", code=1)
    bad = {finding["name"] for finding in report["findings"] if finding["verdict"] == "bad"}
    assert bad == {"engines", "devices"}
    command = [sys.executable, "-m", "voiceloop", "doctor", "--tts", "nothing"]
    env = environment(server.home, PYTHONPATH=str(ROOT), PYTHONIOENCODING="ascii")
    lines = subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout.splitlines()
    assert lines[0] == "ok configuration   is valid"
    assert lines[-3:] == [
        "X  devices         no microphone and no loudspeaker was found",
        "                   Connect one, or start the sound server.",
        "2 broken.",
    ]
