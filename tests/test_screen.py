"""What the user is shown about his devices."""

from __future__ import annotations

import io

from rich.console import Console

from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.silence import CHIME
from voiceloop.satellite.news import ServerBack, ServerLost
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


def test_so_is_a_lost_server() -> None:
    file = io.StringIO()
    screen = Screen(file)
    screen(Ready("s"))
    screen(ServerLost("The connection to the server was lost.", kept=True))
    assert "waiting for the server" in line(screen)
    screen(ev.DeviceLost("The sound device was lost."))
    assert "waiting for the server and the sound device" in line(screen)
    screen(ServerBack(3.21, again=True))
    assert "waiting for the sound device" in line(screen)
    screen(ev.DeviceBack("USB Audio", ticks(3.21)))
    screen(ServerLost("The server has stopped.", kept=False))
    screen(ServerBack(60.0, again=False))
    screen(ev.Notice("session", "Said by a server:\x1b[2J no."))
    assert [told for told in file.getvalue().splitlines()[1:] if "ound" not in told] == [
        "The connection to the server was lost. The conversation waits for it, and what you say is kept.",
        "The server is back after 3.2 s.",
        "The server has stopped. It is waited for.",
        "The server is back after 60.0 s: this is a new conversation, which knows nothing of the one before.",
        "Said by a server: [2J no.",
    ]
