"""voicebench, a test tool for voice agents by others, unmodified, against `/ws`: it judges by the audio alone.

It plays recordings of people: a command, another one over the story that answers it, and one after that is answered.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.program import DATA

from .serving import python, run, serving

SETTINGS = '\n[handler]\nname = "storyteller:answer"\n'
FORWARD, CLUBS = "go forward ten meters", "ten of clubs"


def scenario(url: str, key: str) -> dict[str, Any]:
    """As its `websocket` example, but with people who say something. Its deadlines are those of a conversation that is
    broken, not of one that is slow: how fast it is the report says."""
    return {
        "name": "people",
        "sample_rate": 16_000,
        "max_duration_ms": 90_000,
        "adapter": {
            "type": "websocket",
            "options": {"url": url, "agent_sample_rate": 24_000, "headers": {"Authorization": f"Bearer {key}"}},
        },
        "defaults": {"response_timeout_ms": 20_000, "max_stop_ms": 5_000},
        "turns": [
            {
                "id": "command",
                "audio": {"file": "ps_goforward.wav"},
                "start": {"after": "session_start", "delay_ms": 500},
                "text": FORWARD,
            },
            {
                "id": "over the story",
                "audio": {"file": "ps_card001.wav"},
                "start": {"after": "agent_speech_start", "delay_ms": 2_000, "timeout_ms": 25_000},
                "expect": "stop",
                "text": CLUBS,
            },
            {
                "id": "after the answer",
                "audio": {"file": "ps_goforward.wav"},
                "start": {"after": "agent_speech_end", "delay_ms": 1_500, "timeout_ms": 25_000},
                "text": FORWARD,
            },
        ],
        "assert": {"max_missed_responses": 0, "min_barge_in_success_rate": 1.0, "max_wer": 0.34},
    }


def test_voicebench(tmp_path: Path) -> None:
    for name in ("ps_goforward", "ps_card001"):
        subprocess.run(["ffmpeg", "-v", "error", "-i", DATA / f"{name}.flac", tmp_path / f"{name}.wav"], check=True)
    with serving(tmp_path / "server", SETTINGS, talk=True) as server:
        file = tmp_path / "people.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(scenario(server.root.replace("http", "ws", 1) + "/ws", server.key)))
        said = run(
            python("voicebench"), "-m", "voicebench", "run", file, "--out", tmp_path / "report", "--format", "json",
            folder=tmp_path, env={}, timeout_s=150,
        )  # fmt: skip
    print(said)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["summary"]["turns_passed"] == report["summary"]["turns"] == 3, said
