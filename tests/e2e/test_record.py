"""A session recorded by the real program with the real engines: cut in half, replayed, asked why, asked what if."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.program import DATA, environment, events, recording, voiceloop
from voiceloop import testing
from voiceloop.journal.reader import read

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("embedded")]

FORWARD, AMERICANS = DATA / "ps_goforward.flac", DATA / "jfk.flac"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a stepped conversation with an interruption was recorded, and one in real time."""
    found = tmp_path_factory.mktemp("record")
    plain = environment(found, VOICELOOP_TURN_WAIT_S="0.6", VOICELOOP_TURN_REOPEN_S="0")
    done = voiceloop("run", "--input", FORWARD, AMERICANS, "--record", "talk.voiceloop", home=found, env=plain)
    assert (done.returncode, done.stderr) == (0, "")
    second = done.stdout.splitlines()[1]
    assert second == "Recording to talk.voiceloop: it will hold your voice, and all that is said."
    card = DATA / "ps_card001.flac"
    arguments = ("--json", "--handler", "echo", "--paced", "--input", card, "--record", "paced.voiceloop")
    done = voiceloop("run", *arguments, home=found)
    assert (done.returncode, done.stderr) == (0, "")
    assert events(done.stdout, "Notice")[0]["text"].startswith("Recording to paced.voiceloop")
    return found


@pytest.mark.parametrize("name", ["talk", "paced"])
def test_a_replay_is_identical(home: Path, name: str) -> None:
    done = voiceloop("replay", f"{name}.voiceloop", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("identical: ")
    assert done.stdout.count("\n") == 1


def test_the_microphone_is_in_it_unchanged(home: Path) -> None:
    found = read(home / "talk.voiceloop")
    said = recording(FORWARD.name)
    assert np.array_equal(found.mic[: said.size], said)
    assert found.out.any()


def test_half_of_it_is_read(home: Path) -> None:
    data = (home / "talk.voiceloop").read_bytes()
    (home / "half.voiceloop").write_bytes(data[: len(data) // 2])
    done = voiceloop("replay", "half.voiceloop", home=home)
    assert done.returncode == 0
    assert "half.voiceloop was not finished; its first " in done.stdout
    assert "identical: " in done.stdout
    assert voiceloop("why", "half.voiceloop", home=home).returncode == 0


def test_what_a_longer_wait_would_have_changed(home: Path) -> None:
    done = voiceloop("replay", "talk.voiceloop", "--json", "--set", "turn.wait_s=1.1", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)["turns"]
    before = [turn for row in rows for turn in row["recorded"]]
    after = [turn for row in rows for turn in row["what_if"]]
    assert before[0]["words"] == after[0]["words"] == "Go forward ten meters."
    assert before[0]["reply"] == after[0]["reply"]
    assert after[0]["decided_ms"] == 1100
    assert len(after) < len(before)  # the speech is in one piece
    assert (after[-1]["reply"], after[-1]["estimated"]) == (None, True)


def test_the_same_settings_change_nothing(home: Path) -> None:
    for name in ("talk.voiceloop", "paced.voiceloop"):
        found = read(home / name)
        wait_s = found.facts["config"]["turn"]["wait_s"]
        done = voiceloop("replay", name, "--set", f"turn.wait_s={wait_s}", home=home)
        assert (done.returncode, done.stderr) == (0, "")
        assert " both " in done.stdout
        assert "recorded" not in done.stdout


def test_every_session_leaves_a_trace_without_a_word(home: Path) -> None:
    traces = sorted((home / "state" / "voiceloop" / "traces").iterdir())
    assert len(traces) >= 2
    assert all("forward" not in path.read_text().casefold() for path in traces)
    done = voiceloop("why", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "after your last sound: words " in done.stdout  # the last one ran in real time


def test_the_trace_can_be_left_out(tmp_path: Path) -> None:
    env = environment(tmp_path, VOICELOOP_JOURNAL_TRACE="false")
    done = voiceloop("run", "--handler", "echo", "--input", DATA / "ps_card001.flac", home=tmp_path, env=env)
    assert done.returncode == 0
    assert not (tmp_path / "state").exists()
    assert voiceloop("why", home=tmp_path, env=env).returncode == 1


def test_a_name_that_is_none(tmp_path: Path) -> None:
    for name, said in {
        "talk.wav": "talk.wav: the name of a recorded session ends in .voiceloop.",
        "no/talk.voiceloop": "no/talk.voiceloop cannot be written (No such file or directory): choose another place.",
    }.items():
        done = voiceloop("run", "--input", FORWARD, "--record", name, home=tmp_path)
        assert (done.returncode, done.stderr) == (1, said + "\n")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_recorded_before_it_was_stopped_is_there(tmp_path: Path, number: signal.Signals) -> None:
    command = ("run", "--json", "--paced", "--input", str(AMERICANS), "--record", "talk.voiceloop")
    with subprocess.Popen(
        [sys.executable, "-m", "voiceloop", *command], cwd=tmp_path, env=environment(tmp_path),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if '"Heard"' in line:  # after more than two seconds of speech
                process.send_signal(number)
                break
        process.stdout.read()
    found = read(tmp_path / "talk.voiceloop")
    assert found.whole == (number == signal.SIGINT)
    assert found.steps
    assert found.mic.size >= found.steps[-1].at
    assert testing.replay(tmp_path / "talk.voiceloop").identical
