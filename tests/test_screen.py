"""What the user is shown about his devices."""

from __future__ import annotations

import io

from rich.console import Console

from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.silence import CHIME
from voiceloop.screen import Screen
from voiceloop.session.observe import Ready


def line(screen: Screen) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(screen)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_lost_device_is_told_in_plain_words() -> None:
    file = io.StringIO()
    screen = Screen(file)
    screen(Ready("s"))
    assert "listening" in line(screen)
    screen(ev.DeviceLost("The sound device was lost: connect it again, or start the sound server."))
    assert "waiting for the sound device" in line(screen)
    screen(ev.DeviceBack("USB Audio", ticks(3.21)))
    assert "listening" in line(screen)
    screen(ev.ReplyEnded(1, None, "completed", CHIME, CHIME))
    screen(ev.Notice("audio", "The microphone gives sound again."))
    assert file.getvalue().splitlines()[1:] == [
        "The sound device was lost: connect it again, or start the sound server. The conversation waits for it.",
        "Sound is back after 3.2 s, through USB Audio.",
        "The microphone gives sound again.",
    ]
