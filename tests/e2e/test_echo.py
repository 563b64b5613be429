"""Open speakers for real: PortAudio, a sound server, and the loudspeaker in the microphone's ear at -6 dB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import misheard, recording
from voiceloop.core.audio import RATE, silence

from .soundserver import SoundServer, available, sound_server
from .test_talk import STORY, SUNDAY, talking

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not available(), reason="needs pulseaudio, pulseaudio-utils and libasound2-plugins"),
]

LONG = f"{STORY} He burned his chairs, one after the other, and in the morning every ship was safe."


@pytest.fixture(scope="module", autouse=True)
def _local() -> None:
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("hibari")


@pytest.fixture(scope="module")
def server() -> Iterator[SoundServer]:
    with sound_server() as server:
        yield server


def spoken(name: str, home: Path) -> Path:
    """A recording with a little silence before and after."""
    path = home / f"{name}.wav"
    soundfile.write(path, np.concatenate([silence(RATE // 5), recording(f"{name}.flac"), silence(RATE)]), RATE)
    return path


def test_a_long_reply_plays_to_its_end_and_a_person_interrupts_it(server: SoundServer, tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(
        f"def answer(text, turn):\n    return {SUNDAY!r} if 'sunday' in text.lower() else {LONG!r}\n"
        "answer.early = True\n"
    )
    question, person = spoken("ps_goforward", tmp_path), spoken("sb_spk1_snt5", tmp_path)
    with server.echo(level_db=-6), talking(server, tmp_path, "--handler", "teller:answer") as talk:
        server.speak(question)
        first = talk.until("ReplyEnded")
        assert (first["ending"], first["heard"]) == ("completed", LONG), talk.story()
        assert len(talk.of("SpeechStarted")) == 1, talk.story()
        server.speak(question)
        talk.until("ReplySaid", clause=1)
        server.speak(person)
        second, third = talk.until("ReplyEnded"), talk.until("ReplyEnded")
        talk.last_sound()
        assert talk.stop() == ""
    assert second["ending"] == "interrupted", talk.story()
    assert LONG.startswith(second["heard"])
    assert (third["ending"], third["heard"]) == ("completed", SUNDAY), talk.story()
    heard = [event["text"] for event in talk.of("Heard")]
    assert misheard("sunday is the best part of the week", heard[-1]) <= 0.4
