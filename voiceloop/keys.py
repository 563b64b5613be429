"""Keys of the terminal while `voiceloop run` talks: mute, volume, stop, push-to-talk, quit.

Nothing is typed into the conversation. The terminal is given back on every exit: at the end of the block, by
`process.at_leave` where the process ends without one, and while it is stopped (Ctrl-Z).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from voiceloop.core import events as ev
from voiceloop.process import at_leave

if sys.platform != "win32":
    import termios
    import tty

STEP = 0.1
"""Of the volume, for each press."""

_AGAIN_S = 0.12
"""A key that is held repeats every 30 to 100 ms; who presses it a second time does not press it again so soon."""
_GONE_S = 0.25
"""A key that was held and does not repeat for so long is up."""

_SEQUENCE = re.compile(rb"\x1b[\[O][0-?]*[ -/]*[@-~]")
"""What arrow and function keys send; an Esc alone is followed by none of it."""


class Held:
    """Space as the key of push-to-talk. A terminal tells no release, so one press begins and the next one ends; but
    while the key is held down, its repetitions are seen, and it ends with the last of them.

    say: told True when the key goes down, False when it goes up. Needs a running loop.
    """

    def __init__(self, say: Callable[[bool], object]) -> None:
        self._say = say
        self._down = False
        self._timer: asyncio.TimerHandle | None = None

    def press(self) -> None:
        """The terminal sent a space."""
        if not self._down:
            self._say(True)
            self._down = True
            return
        held = self._timer is not None
        self._wait(_GONE_S if held else _AGAIN_S)

    def close(self) -> None:
        """Nobody presses any more."""
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _wait(self, seconds: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._up)

    def _up(self) -> None:
        self._timer, self._down = None, False
        self._say(False)


class Controls(Protocol):
    """What the keys act on: a `Session`."""

    @property
    def volume(self) -> float: ...
    @volume.setter
    def volume(self, volume: float) -> None: ...
    def mute(self, on: bool = True) -> None: ...
    def push_to_talk(self, down: bool) -> None: ...
    def feed(self, event: ev.Interrupt) -> None: ...
    def close(self) -> None: ...


class Keys:
    """Reads single keys from a terminal while the block runs, on the running loop.

    talk: space is the key of push-to-talk. Where there is no terminal, or it belongs to another program, nothing is
    read and nothing changed; `active` says whether it is.
    """

    def __init__(self, session: Controls, *, talk: bool, fd: int = 0) -> None:
        self._session = session
        self._fd = fd
        self._muted = False
        self._held = Held(session.push_to_talk) if talk else None
        self._terminal = _Terminal(fd)
        self._continued: object = None
        self.active = False
        """Whether there is a terminal whose keys are read."""

    @property
    def hint(self) -> str:
        """One line for the user, or nothing."""
        if not self.active:
            return ""
        talk = "Hold space to talk, or press it before and after. " if self._held else ""
        return f"{talk}Keys: m mutes, s stops the reply, + and - volume, q quits."

    def __enter__(self) -> Keys:
        self.active = self._terminal.take()
        if self.active:
            asyncio.get_running_loop().add_reader(self._fd, self._read)
            at_leave.append(self._terminal.give_back)
            self._continued = signal.signal(signal.SIGCONT, self._resume)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._held.close()
        if self.active:
            signal.signal(signal.SIGCONT, self._continued)  # type: ignore[arg-type]  what signal() gave
            asyncio.get_running_loop().remove_reader(self._fd)
            self._terminal.give_back()
            at_leave.remove(self._terminal.give_back)

    def _resume(self, number: int, frame: object) -> None:
        """The process goes on after Ctrl-Z."""
        if self._terminal.take():
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        typed = b""
        if self._terminal.ours:  # else reading would stop this process
            with suppress(OSError):
                typed = os.read(self._fd, 1024)
        if not typed:  # the terminal has gone, or is another's
            asyncio.get_running_loop().remove_reader(self._fd)
        for byte in _SEQUENCE.sub(b"", typed):
            self._press(chr(byte))

    def _press(self, key: str) -> None:
        session = self._session
        table: Mapping[str, Callable[[], object]] = {
            "m": self._mute,
            "s": lambda: session.feed(ev.Interrupt()),
            "\x1b": lambda: session.feed(ev.Interrupt()),
            "+": lambda: self._louder(STEP),
            "=": lambda: self._louder(STEP),  # + without shift
            "-": lambda: self._louder(-STEP),
            "q": session.close,
            " ": self._held.press if self._held else lambda: None,
        }
        if act := table.get(key.lower()):
            with suppress(RuntimeError):  # it does not listen yet, and a key that is held would ask too much of it
                act()

    def _mute(self) -> None:
        self._session.mute(not self._muted)
        self._muted = not self._muted

    def _louder(self, step: float) -> None:
        self._session.volume = round(min(max(self._session.volume + step, 0.0), 1.0), 2)


class _Terminal:
    """A terminal that gives each key at once and shows none; Ctrl-C and Ctrl-Z do what they always do."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[object] | None = None

    @property
    def taken(self) -> bool:
        """Whether it is as we want it, or was when this process was stopped."""
        return self._before is not None

    @property
    def ours(self) -> bool:
        """Whether what is typed is meant for this process: it is no job in the background."""
        if sys.platform == "win32" or not os.isatty(self._fd):
            return False
        with suppress(OSError):  # it is a terminal without job control
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        return True

    def take(self) -> bool:
        """True if it can be had."""
        if sys.platform == "win32" or not self.ours:
            return False
        with suppress(termios.error):
            if self._before is None:
                self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSANOW)
        return self.taken

    def give_back(self) -> None:
        """As it was. Twice is legal."""
        if sys.platform == "win32" or self._before is None:
            return
        before, self._before = self._before, None
        if self.ours:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)  # type: ignore[arg-type]  what tcgetattr gave
