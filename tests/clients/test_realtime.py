"""Clients of OpenAI Realtime that others wrote, unmodified: a spoken turn, a barge-in with truncate, a function call.

Each speaks "go forward ten meters" and, while a story is told, "ten of clubs" (recordings of people).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.program import DATA, misheard

from .house.storyteller import STORY
from .serving import HERE, Server, node, python, run, serving, told

Seen = dict[str, Any]

FORWARD, CLUBS = "go forward ten meters", "ten of clubs"
SETTINGS = '\n[handler]\nname = "storyteller:answer"\n'


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that talks, with the embedded engines."""
    with serving(tmp_path_factory.mktemp("talker"), SETTINGS, talk=True) as running:
        yield running


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both as the clients want them: 24 kHz."""
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("ps_goforward", "ps_card001"):
        command = ["ffmpeg", "-v", "error", "-i", DATA / f"{name}.flac", "-ar", "24000", folder / f"{name}.wav"]
        subprocess.run([str(part) for part in command], check=True)
    return [folder / "ps_goforward.wav", folder / "ps_card001.wav"]


def variables(server: Server) -> dict[str, str]:
    return {**server.variables, "REALTIME_URL": server.base_url.replace("http", "ws", 1) + "/realtime"}


def ran(client: str, script: str, server: Server, folder: Path, *arguments: str | Path) -> Seen:
    source = HERE / "foreign" / script
    return told(run(python(client), source, *arguments, folder=folder, env=variables(server), timeout_s=120))


def heard_both(words: list[str]) -> None:
    assert misheard(FORWARD, words[0]) <= 0.25
    assert misheard(CLUBS, words[-1]) <= 0.34


def a_part_of_the_story(text: str) -> None:
    assert 20 < len(text) < len(STORY)
    assert STORY.startswith(text)


def test_openai_python(talker: Server, recordings: list[Path], tmp_path: Path) -> None:
    seen = ran("openai", "realtime_openai.py", talker, tmp_path, *recordings)
    heard_both(seen["words"])
    assert seen["done"] == [["cancelled", "turn_detected"], ["completed", None]]
    assert 2000 < seen["truncated"] <= seen["heard_ms"]
    a_part_of_the_story(seen["kept"])
    assert seen["call"] == ["weather", {"city": "Rome"}]
    assert seen["after_call"] == "The weather is sunny."
    assert "errors" not in seen


def test_openai_agents_python(talker: Server, recordings: list[Path], tmp_path: Path) -> None:
    seen = ran("agents", "realtime_agents.py", talker, tmp_path, *recordings)
    talk, call = seen["history"]
    heard_both([talk[0][1][0], talk[2][1][0]])
    a_part_of_the_story(talk[1][1][0])
    assert seen["done"] == ["cancelled", "completed", "completed", "completed"]
    assert seen["types"]["audio_interrupted"] == 1
    assert seen["truncated"] > 2000
    assert (seen["call"], call[-1][1]) == ("Rome", ["The weather is sunny."])
    assert "errors" not in seen


def test_openai_agents_node(talker: Server, recordings: list[Path]) -> None:
    source = (HERE / "foreign" / "realtime_agents.mjs").read_text(encoding="utf-8")
    files = dict(zip(("GO_FORWARD", "TEN_OF_CLUBS"), map(str, recordings), strict=True))
    env = {**variables(talker), **files}
    talk = told(run("node", "--input-type=module", folder=node(), env=env, text=source))
    user, story, more, _ = talk["history"]
    heard_both([user[3], more[3]])
    a_part_of_the_story(story[3])
    assert story[2] == "incomplete"
    assert (talk["interrupted"], talk["types"]["conversation.item.truncated"], talk["errors"]) == (1, 1, [])
    call = told(run("node", "--input-type=module", folder=node(), env={**env, "MODE": "tool"}, text=source))
    assert (call["call"], call["history"][-1][3], call["errors"]) == ("Rome", "The weather is sunny.", [])


def test_livekit(talker: Server, recordings: list[Path], tmp_path: Path) -> None:
    seen = ran("livekit", "realtime_livekit.py", talker, tmp_path, *recordings)
    begun, first, again, second = seen["events"]
    assert begun == again == "speech_started"
    heard_both([first, second])
    story, _, call, weather = seen["generations"]
    a_part_of_the_story(story["text"])
    assert call["calls"][0][:2] == ["weather", '{"city": "Rome"}']
    assert weather["text"] == "The weather is sunny."
    assert seen["truncated"] > 2000


def test_pipecat(talker: Server, recordings: list[Path], tmp_path: Path) -> None:
    talk = ran("pipecat", "realtime_pipecat.py", talker, tmp_path, *recordings, "talk")
    users = [message["content"] for message in talk["context"] if message["role"] == "user"]
    heard_both(users[1:])
    assert talk["frames"]["InterruptionFrame"] >= 1
    assert talk["sent"]["conversation.item.truncate"] >= 1
    call = ran("pipecat", "realtime_pipecat.py", talker, tmp_path, *recordings, "tool")
    assert (call["call"], "".join(call["said"])) == ({"city": "Rome"}, "The weather is sunny.")
    assert talk["errors"] == call["errors"] == []
