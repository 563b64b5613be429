"""The whole thing loses its devices: cables, a sound server that is killed, a source that is suspended.

Real PortAudio, real sound server, real engines. Each time the session goes on, remembers, and answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import misheard, recording
from voiceloop.core.audio import RATE, silence

from .soundserver import MICBUS, MICROPHONE, SPEAKER, SoundServer
from .test_talk import Talk, said_in, talking

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("embedded")]

ROOT = Path(__file__).resolve().parent.parent.parent

LONG = (
    "There was once a lighthouse keeper who lived alone on a small rock in the sea. Every evening he climbed the "
    "stairs and lit the lamp."
)
COUNTER = f"""
def answer(text, turn):
    n = len([message for message in turn.history if message.role == "user"])
    return {LONG!r} if n == 0 else f"That was question {{n + 1}}."
answer.early = True
"""


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    soundfile.write(path, np.concatenate([silence(RATE // 5), recording("ps_goforward.flac"), silence(RATE)]), RATE)
    return path


@pytest.fixture
def talk(server: SoundServer, tmp_path: Path) -> Iterator[Talk]:
    (tmp_path / "counter.py").write_text(COUNTER)
    with running(server, tmp_path) as talk:
        yield talk
        assert talk.stop() == ""


def running(server: SoundServer, home: Path, **variables: str) -> AbstractContextManager[Talk]:
    """With headphones; a gap in a virtual cable is digital silence, and no dead microphone."""
    return talking(
        server, home, "--handler", "counter:answer",
        PYTHONPATH=f"{ROOT}:{home}", VOICELOOP_AUDIO_ECHO="off", VOICELOOP_AUDIO_DEAD_S="0", **variables,
    )  # fmt: skip


def ask(talk: Talk, server: SoundServer, question: Path, answer: str) -> None:
    """A question that is understood, and answered as one who remembers what was asked before."""
    server.speak(question)
    while (ended := talk.until("ReplyEnded"))["turn"] is None:  # a chime
        pass
    assert misheard("go forward ten meters", talk.of("Heard")[-1]["text"]) <= 0.25, talk.story()
    assert (ended["ending"], ended["heard"]) == ("completed", answer), talk.story()


def kill(server: SoundServer) -> None:
    server.stop()


def restart(server: SoundServer) -> None:
    server.start()


def pull(server: SoundServer) -> None:
    """All cables at once: there is nothing left that a stream could be moved to."""
    for module in ("module-remap-source", "module-null-sink"):
        server.pactl("unload-module", module)


def plug(server: SoundServer) -> None:
    for name in (SPEAKER, MICBUS):
        server.pactl("load-module", "module-null-sink", f"sink_name={name}", "rate=48000", "channels=2", "norewinds=1")
    server.pactl("load-module", "module-remap-source", f"master={MICBUS}.monitor", f"source_name={MICROPHONE}")
    server.pactl("set-default-sink", SPEAKER)
    server.pactl("set-default-source", MICROPHONE)


def suspend(server: SoundServer) -> None:
    server.suspend()
    server.pactl("suspend-sink", SPEAKER, "1")


def wake(server: SoundServer) -> None:
    server.suspend(on=False)
    server.pactl("suspend-sink", SPEAKER, "0")


Move = Callable[[SoundServer], None]


@pytest.mark.parametrize(
    ("lose", "find"), [(kill, restart), (pull, plug), (suspend, wake)], ids=["server", "cables", "suspended"]
)
def test_a_conversation_goes_on_after_the_device_was_lost(
    server: SoundServer, talk: Talk, question: Path, lose: Move, find: Move
) -> None:
    ask(talk, server, question, LONG)
    for n in (2, 3):
        lose(server)
        talk.until("DeviceLost")
        time.sleep(1)
        find(server)
        back = talk.until("DeviceBack")
        assert back["device"] == "default"
        ask(talk, server, question, f"That was question {n}.")


def test_a_reply_goes_on_where_the_server_was_killed(
    server: SoundServer, talk: Talk, question: Path, tmp_path: Path
) -> None:
    before, after = tmp_path / "before.wav", tmp_path / "after.wav"
    with server.listen(before):
        server.speak(question)
        talk.until("ReplyStarted")
        time.sleep(2)
        server.stop()
    talk.until("DeviceLost")
    server.start()
    with server.listen(after):
        ended = talk.until("ReplyEnded")
        time.sleep(0.5)
    assert (ended["ending"], ended["heard"], ended["cut_at"]) == ("completed", LONG, None)
    heard = f"{said_in(before)} {said_in(after)}"
    assert misheard(LONG, heard) <= 0.35, heard


def test_a_session_may_wait_for_its_first_device(server: SoundServer, tmp_path: Path, question: Path) -> None:
    (tmp_path / "counter.py").write_text(COUNTER)
    server.stop()
    later = threading.Timer(8, server.start)
    later.start()
    with running(server, tmp_path, VOICELOOP_AUDIO_WAIT="true") as talk:
        later.join()
        assert "Waiting until there is one." in [event["text"] for event in talk.of("Notice")]
        ask(talk, server, question, LONG)
        assert talk.stop() == ""


def test_the_default_microphone_is_another_one_for_a_while(server: SoundServer, talk: Talk, question: Path) -> None:
    """The sound server moves the streams by itself, and back: nobody has to hear of it."""
    ask(talk, server, question, LONG)
    server.pactl("unload-module", "module-remap-source")
    time.sleep(1)
    server.pactl("load-module", "module-remap-source", f"master={MICBUS}.monitor", f"source_name={MICROPHONE}")
    server.pactl("set-default-source", MICROPHONE)
    time.sleep(0.5)
    ask(talk, server, question, "That was question 2.")
