"""Keys of a terminal: a pseudo-terminal in this process, and `voiceloop run` in one of its own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.program import DATA, ROOT, environment
from voiceloop.core import events as ev
from voiceloop.keys import Held, Keys
from voiceloop.process import at_leave, wait_for
from voiceloop.virtual import VirtualLoop

if sys.platform == "win32":
    pytest.skip("terminals of this kind", allow_module_level=True)

import pty
import termios


@dataclass
class FakeSession:
    """Notes what the keys ask for."""

    did: list[object] = field(default_factory=list)
    volume: float = 0.95

    def mute(self, on: bool = True) -> None:
        self.did.append(("mute", on))

    def push_to_talk(self, down: bool) -> None:
        self.did.append(("down", down))

    def feed(self, event: object) -> None:
        self.did.append(event)

    def close(self) -> None:
        self.did.append("close")


@dataclass
class Terminal:
    """ours: what is written here is typed there."""

    ours: int
    theirs: int

    @property
    def mode(self) -> list[object]:
        return termios.tcgetattr(self.theirs)[:4]

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())
        select.select([self.theirs], [], [], 5)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    yield Terminal(ours, theirs)
    os.close(ours)
    os.close(theirs)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_key_does_what_it_says(terminal: Terminal) -> None:
    session, before = FakeSession(), terminal.mode
    with Keys(session, talk=False, fd=terminal.theirs) as keys:
        assert keys.active
        assert terminal.mode != before
        terminal.type("mM")
        terminal.type("s+")
        await settle()
        assert session.did == [("mute", True), ("mute", False), ev.Interrupt()]
        assert session.volume == 1.0
        terminal.type("--- xyz")
        await settle()
        assert session.volume == 0.7
        terminal.type("\x1b")
        await settle()
        terminal.type("\x1b[A\x1bOP\x1b[15~q")
        await settle()
        assert session.did[3:] == [ev.Interrupt(), "close"], "an arrow is no Esc"
    assert terminal.mode == before
    assert at_leave == []


class Deaf(FakeSession):
    """Does not listen yet, and takes so much until it does."""

    def mute(self, on: bool = True) -> None:
        if len(self.did) == 2:
            raise RuntimeError("too much is asked of a session that does not listen yet")
        super().mute(on)


async def test_a_key_that_is_held_while_the_session_loads_is_no_trouble(terminal: Terminal) -> None:
    session, troubles = Deaf(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
    with Keys(session, talk=True, fd=terminal.theirs):
        terminal.type("mmmm")
        await settle()
        session.did.clear()
        terminal.type("m")
        await settle()
        terminal.type("q")
        await settle()
    assert troubles == []
    assert session.did == [("mute", True), "close"], "what was not taken does not count"


async def test_the_volume_ends_at_nothing(terminal: Terminal) -> None:
    session = FakeSession(volume=0.1)
    with Keys(session, talk=False, fd=terminal.theirs):
        terminal.type("---")
        await settle()
    assert session.volume == 0.0


@pytest.mark.parametrize("way", ["raise", "leave"])
async def test_the_terminal_is_given_back(terminal: Terminal, way: str) -> None:
    before = terminal.mode

    def fail() -> None:
        with Keys(FakeSession(), talk=True, fd=terminal.theirs):
            assert terminal.mode != before
            if way == "leave":
                for put_right in at_leave:
                    put_right()
                assert terminal.mode == before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert terminal.mode == before
    assert at_leave == []


async def test_after_a_stop_the_terminal_is_taken_again(terminal: Terminal) -> None:
    before = terminal.mode
    handler = signal.getsignal(signal.SIGCONT)
    with Keys(FakeSession(), talk=False, fd=terminal.theirs):
        taken = terminal.mode
        termios.tcsetattr(terminal.theirs, termios.TCSANOW, termios.tcgetattr(terminal.ours))
        shell = termios.tcgetattr(terminal.theirs)
        shell[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(terminal.theirs, termios.TCSANOW, shell)
        os.kill(os.getpid(), signal.SIGCONT)
        await settle()
        assert terminal.mode == taken
    assert terminal.mode == before
    assert signal.getsignal(signal.SIGCONT) == handler


async def test_no_terminal_no_keys() -> None:
    read, write = os.pipe()
    with Keys(FakeSession(), talk=True, fd=read) as keys:
        assert not keys.active
        assert keys.hint == ""
    os.close(read)
    os.close(write)


async def test_a_terminal_that_goes_away_ends_the_reading(terminal: Terminal) -> None:
    session = FakeSession()
    other = os.dup(terminal.theirs)
    with Keys(session, talk=False, fd=other):
        os.close(terminal.ours)
        await settle()
        loop = asyncio.get_running_loop()
        assert not loop.remove_reader(other)
        assert session.did == []
    os.close(other)
    terminal.ours = os.open(os.devnull, os.O_RDWR)


# --- push-to-talk ---


def pressed(*at: float) -> list[tuple[float, bool]]:
    """When the key went down and up, for spaces at these times."""
    told: list[tuple[float, bool]] = []

    async def act() -> None:
        loop = asyncio.get_running_loop()
        held = Held(lambda down: told.append((round(loop.time(), 2), down)))
        for when in at:
            loop.call_at(when, held.press)
        await asyncio.sleep(60)
        held.close()

    wait_for(act(), VirtualLoop)
    return told


def test_one_press_begins_and_the_next_one_ends() -> None:
    assert pressed(1.0, 4.0, 6.0, 7.0) == [(1.0, True), (4.12, False), (6.0, True), (7.12, False)]


@pytest.mark.parametrize(("delay", "every"), [(0.5, 0.033), (0.25, 0.1), (0.66, 0.04)])
def test_a_key_that_is_held_ends_with_its_last_repetition(delay: float, every: float) -> None:
    repeats = [1.0 + delay + i * every for i in range(50)]
    assert pressed(1.0, *repeats) == [(1.0, True), (round(repeats[-1] + 0.25, 2), False)]


# --- the program ---


WAIT_S = 30.0


def shown(ours: int, until: str) -> str:
    """What the terminal shows up to these words, without colours."""
    found = ""
    while until not in found:
        assert select.select([ours], [], [], WAIT_S)[0], found
        found = re.sub(r"\x1b\[[\d;]*m", "", found + os.read(ours, 65_536).decode(errors="replace"))
    return found


@pytest.mark.e2e
@pytest.mark.parametrize("end", ["q", signal.SIGTERM, signal.SIGINT])
def test_voiceloop_run_in_a_terminal(tmp_path: Path, end: str | signal.Signals) -> None:
    pytest.importorskip("moonshine_voice")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)[:4]
    long = DATA / "sb_spk1_snt5.flac"
    with subprocess.Popen(
        [sys.executable, "-m", "voiceloop", "run", "--handler", "echo", "--paced", "--input", *[str(long)] * 20],
        cwd=tmp_path, env=environment(tmp_path, PYTHONPATH=str(ROOT)), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
    ) as process:  # fmt: skip
        try:
            assert "Keys: m mutes" in shown(ours, "Listening.")
            assert termios.tcgetattr(theirs)[:4] != before
            os.write(ours, b"m")
            shown(ours, "Muted.")
            os.write(ours, b"m")
            shown(ours, "Listening again.")
            os.write(ours, b"-")
            shown(ours, "volume 90%")
            if isinstance(end, str):
                os.write(ours, end.encode())
            else:
                process.send_signal(end)
            while select.select([ours], [], [], 0.2)[0] or process.poll() is None:
                os.read(ours, 65_536)
            assert process.wait(WAIT_S) == (0 if isinstance(end, str) else 128 + end)
        finally:
            process.kill()
    assert termios.tcgetattr(theirs)[:4] == before
    os.close(ours)
    os.close(theirs)
