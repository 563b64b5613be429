"""What benchmarks/bridge.py measures is what happened: times that can be told by hand, and the whole once for real."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from voiceloop.core.audio import FRAME, RATE
from voiceloop.testing import tone

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def crowd() -> ModuleType:
    return importlib.import_module("crowd")


def bridge() -> ModuleType:
    return importlib.import_module("bridge")


def test_a_microphone_says_where_speech_begins_and_ends() -> None:
    spoken = crowd().utterance("one", tone(1.01))
    microphone = crowd().Microphone(iter([50, (spoken, False), 10, (spoken, True)]))
    frames = list(microphone.frames())
    assert {len(frame) for frame in frames} == {2 * FRAME}
    assert len(frames) == 50 + 51 + 10 + 51
    first, second = microphone.said
    assert (first.over, first.start, first.end) == (False, RATE, RATE + round(1.01 * RATE))
    assert (second.over, second.start) == (True, (50 + 51 + 10) * FRAME)


def test_a_loudspeaker_plays_in_real_time_behind_its_buffer() -> None:
    speaker = crowd().Loudspeaker()
    speaker.begin(7, 0, 10.0)
    speaker.sound(24_000, 10.0)
    assert speaker.played(10.05) == 0
    assert speaker.played(10.58) == 12_000
    assert speaker.playing(10.5)
    assert not speaker.playing(11.0)  # nearly over: who speaks now interrupts nothing
    assert speaker.clear(10.58) == 12_000
    assert speaker.played(20.0) == 12_000


def test_sound_that_comes_too_late_is_counted() -> None:
    speaker = crowd().Loudspeaker()
    speaker.begin(1, 0, 0.0)
    speaker.sound(2400, 0.0)
    speaker.sound(2400, 0.1)
    assert speaker.underruns == 0
    speaker.sound(2400, 0.5)
    assert speaker.underruns == 1
    assert speaker.played(0.55) == 4800 + 1200


def test_latency_counts_from_the_last_sample_of_speech() -> None:
    said = crowd().Said("one", False, RATE, 2 * RATE)
    assert bridge().answered(said, 100.0, [100.5, 102.75]) == pytest.approx(750)
    assert bridge().answered(said, 100.0, [101.5, 102.75]) == pytest.approx(-500)  # a cut-off
    assert bridge().answered(said, 100.0, [100.5]) is None


def test_only_a_voice_over_an_audible_answer_counts_as_an_interruption() -> None:
    said = [crowd().Said("one", True, at * RATE, (at + 1) * RATE) for at in (1, 5, 9)]
    noted = crowd().Noted(began=10.0, clears=[11.1, 15.2], busy=[True, False, True])
    assert bridge().cleared(said, noted) == [pytest.approx(100), None]


def test_a_late_generator_refuses() -> None:
    stage = bridge().Stage(n=1, window=(0.0, 1.0), core=0.1, others=0.1, memory_mb=1.0, load=0.0, late=[0.5] * 100)
    assert not stage.refused
    stage.late[-5:] = [30.0] * 5
    assert "generator" in stage.refused


def test_it_runs() -> None:
    """Four people for a few seconds, on a real server; how fast it is does not count here."""
    command = [sys.executable, str(BENCHMARKS / "bridge.py"), str(ROOT / "tests" / "data"), "--questions", "1"]
    ended = subprocess.run(
        [*command, "--sessions", "4", "--seconds", "6"], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    lines = ended.stdout.splitlines()
    assert ended.stderr == ""
    assert any(line.startswith("voice to voice over /ws") and line.split()[5] == "1" for line in lines)
    assert any(line.startswith("4 sessions") for line in lines)
    assert not any(" x " in line for line in lines)  # no notice and no error came
