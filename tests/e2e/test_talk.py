"""The whole thing: a recording of a person into a virtual microphone, and what the virtual loudspeaker gave back.

Real PortAudio, real sound server, real engines, real time; `voiceloop run` in a process of its own.
"""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.program import environment, events, misheard, voiceloop

from .soundserver import SoundServer, unless_stalled

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("embedded")]

WAIT_S = 40.0
STORY = (
    "There was once a lighthouse keeper who lived alone on a small rock in the sea. Every evening he climbed the "
    "stairs and lit the lamp. One stormy night the lamp would not burn, and he had to think of something else."
)
SUNDAY = "On Sunday the shops are closed, and the bells ring in the morning."


class Talk:
    """A running `voiceloop run --json`: its events as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, name: str, **fields: object) -> dict[str, Any]:
        """The next event with that name and these fields."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                (event,) = events(self._lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no {name} {fields} came after {self.story()}") from None
            self.seen.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return event

    def last_sound(self) -> None:
        """Waits half a second: what was played last is on its way to the recording."""
        for _ in range(5):
            self.until("Level")

    def of(self, *names: str) -> list[dict[str, Any]]:
        """What was seen so far of these names."""
        return [event for event in self.seen if event["event"] in names]

    def story(self) -> list[dict[str, Any]]:
        """All but levels."""
        return [event for event in self.seen if event["event"] != "Level"]

    def stop(self) -> str:
        """Ctrl-C; what was said on standard error."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(WAIT_S) == 130
        self._reader.join()
        assert self.process.stderr
        return self.process.stderr.read()

    def kill(self) -> None:
        """At once, if it still runs."""
        self.process.kill()
        self._reader.join()


def reaching(server: SoundServer, home: Path) -> dict[str, str]:
    """The environment of a process that finds the sound server and nothing else of ours."""
    return {**environment(home), **{n: v for n, v in server.env.items() if n.startswith(("PULSE", "ALSA", "XDG"))}}


@contextmanager
def talking(server: SoundServer, home: Path, *arguments: str, command: str = "run", **variables: str) -> Iterator[Talk]:
    """A conversation through the sound server, already listening."""
    with subprocess.Popen(
        [sys.executable, "-m", "voiceloop", command, "--json", *arguments],
        cwd=home, env=reaching(server, home) | variables,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        talk = Talk(process)
        try:
            talk.until("Ready")
            yield talk
        finally:
            talk.kill()


def said_in(path: Path) -> str:
    """The words of a recording."""
    return voiceloop("transcribe", path, home=path.parent).stdout


def storyteller(home: Path) -> str:
    """A handler that tells a story, and then about Sunday."""
    (home / "teller.py").write_text(
        f"def answer(text, turn):\n    return {SUNDAY!r} if turn.history else {STORY!r}\nanswer.early = True\n"
    )
    return "teller:answer"


def check_barge_in(talk: Talk, most: float = 0.25) -> str:
    """That the story was interrupted and the question about Sunday answered to the end; what was heard of both.

    most: word error rate of that question.
    """
    first, second = talk.of("ReplyEnded")
    assert first["ending"] == "interrupted", talk.story()
    assert first["heard"]
    assert STORY.startswith(first["heard"])
    assert len(first["heard"]) < len(STORY)
    story, sunday = talk.of("Heard")
    assert misheard("go forward ten meters", story["text"]) <= 0.25
    assert misheard("sunday is the best part of the week", sunday["text"]) <= most
    assert (second["ending"], second["heard"]) == ("completed", SUNDAY), talk.story()
    return f"{first['heard']} {SUNDAY}"


def test_a_spoken_question_gets_a_spoken_answer(server: SoundServer, tmp_path: Path, spoken: dict[str, Path]) -> None:
    heard = tmp_path / "loudspeaker.wav"
    with talking(server, tmp_path) as talk:
        with server.listen(heard):
            server.speak(spoken["ps_goforward"])
            ended = talk.until("ReplyEnded")
            talk.last_sound()
        assert talk.stop() == ""
    (question,) = talk.of("Heard")
    assert misheard("go forward ten meters", question["text"]) <= 0.25
    assert ended["ending"] == "completed"
    assert ended["heard"] == ended["said"]
    assert misheard(ended["said"], said_in(heard)) <= 0.15, said_in(heard)


def test_barge_in_with_headphones(server: SoundServer, tmp_path: Path, spoken: dict[str, Path]) -> None:
    heard = tmp_path / "loudspeaker.wav"
    handler = storyteller(tmp_path)
    with talking(server, tmp_path, "--handler", handler) as talk:
        with server.listen(heard):
            server.speak(spoken["ps_goforward"])
            talk.until("ReplySaid", clause=1)  # by then it knows that no echo comes back
            server.speak(spoken["sb_spk1_snt5"])
            talk.until("ReplyEnded")
            talk.until("ReplyEnded")
            talk.last_sound()
        assert talk.stop() == ""
    assert misheard(check_barge_in(talk), said_in(heard)) <= 0.2, said_in(heard)


def test_over_its_own_echo_it_hears_people_and_not_itself(
    server: SoundServer, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    def scene() -> None:
        with server.echo(), talking(server, tmp_path, "--handler", storyteller(tmp_path)) as talk:
            server.speak(spoken["ps_goforward"])
            talk.until("ReplySaid", clause=1)
            assert len(talk.of("SpeechStarted")) == 1, talk.story()
            server.speak(spoken["sb_spk1_snt5"])
            talk.until("ReplyEnded")
            talk.until("ReplyEnded")
            talk.last_sound()
            assert talk.stop() == ""
        check_barge_in(talk, most=0.6)  # its first words are spoken at once with the reply, which costs some of them

    unless_stalled(scene)


def test_without_echo_cancellation_it_would_hear_itself(
    server: SoundServer, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    """That the test before can fail."""
    handler = storyteller(tmp_path)
    with server.echo(), talking(server, tmp_path, "--handler", handler, VOICELOOP_AUDIO_ECHO="off") as talk:
        server.speak(spoken["ps_goforward"])
        talk.until("StateChanged", state="speaking")
        talk.until("StateChanged", state="hearing")
        talk.stop()


def test_say_and_devices(server: SoundServer, tmp_path: Path) -> None:
    heard = tmp_path / "loudspeaker.wav"
    with server.listen(heard):
        done = voiceloop("say", "Sunday is the best part of the week.", home=tmp_path, env=reaching(server, tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert misheard("sunday is the best part of the week", said_in(heard)) <= 0.15, said_in(heard)
    done = voiceloop("devices", home=tmp_path, env=reaching(server, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["default", "number", "name", "in", "out", "kHz", "opens", "at", "kHz", "through"]
    assert [re.sub(" +", " ", row.strip()) for row in rows if "desk" in row or "default" in row] == [
        "0 desk 32 32 44.1 8 16 24 32 44.1 48 96 ALSA",
        "mic, speaker 2 default 32 32 44.1 8 16 24 32 44.1 48 96 ALSA",
    ]


def test_mistakes_on_a_real_device(server: SoundServer, tmp_path: Path) -> None:
    nobody = {
        **reaching(server, tmp_path),
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "VOICELOOP_SERVICE_RETRIES": "0",
        "VOICELOOP_TTS_FALLBACK": "[]",
    }
    for arguments, said in {
        ("say", "hello", "--tts", "openai"): "The speech service at 127.0.0.1:9 ",
        ("run", "--input", "nonsense"): 'No microphone is called "nonsense"; there are: ',
        ("run", "--output", "77"): 'No loudspeaker is called "77"; there are: ',
    }.items():
        done = voiceloop(*arguments, home=tmp_path, env=nobody)
        assert done.returncode == 1
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
