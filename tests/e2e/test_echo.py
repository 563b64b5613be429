"""Open speakers for real: PortAudio, a sound server, and the loudspeaker in the microphone's ear at -6 dB."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import misheard

from .soundserver import SoundServer, unless_stalled
from .test_talk import STORY, SUNDAY, talking

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("embedded")]

LONG = f"{STORY} He burned his chairs, one after the other, and in the morning every ship was safe."


def test_a_long_reply_plays_to_its_end_and_a_person_interrupts_it(
    server: SoundServer, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    (tmp_path / "teller.py").write_text(
        f"def answer(text, turn):\n    return {SUNDAY!r} if 'week' in text.lower() else {LONG!r}\nanswer.early = True\n"
    )
    question, person = spoken["ps_goforward"], spoken["sb_spk1_snt5"]

    def scene() -> None:
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
        assert misheard("sunday is the best part of the week", heard[-1]) <= 0.4, heard

    unless_stalled(scene)
