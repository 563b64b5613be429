"""Why things were decided in the last sessions: kept without being asked for, because it holds no word and no sound.

One file of JSON lines for each of the last five sessions, of at most 1 MB: the `Trace` actions of the core and the
`Latency` of each turn. When half of that is full, what is older than the half before is let go.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import platformdirs

from voiceloop import __version__
from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.core.policy import Policy
from voiceloop.core.record import from_line, to_line
from voiceloop.errors import MediaError
from voiceloop.journal.pen import Pen
from voiceloop.journal.reader import Recording, read
from voiceloop.journal.writer import SUFFIX
from voiceloop.session.latency import Latency, Stopwatch

_SESSIONS = 5
_HALF = 1 << 19
_WAITING = 1000
_CLOSE_S = 1.0
_NAME = re.compile(r"(\d{6})-\w+\.jsonl")
_OLDER = ".older"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing worth telling. now: ticks of the session's clock. text: words, only from a recording."""

    now: int
    what: ev.Trace | Latency | ev.Heard | ev.ReplyEnded


def trace_folder() -> Path:
    """Where programs of this user keep what they can do without: in XDG_STATE_HOME, or as the system has it."""
    return platformdirs.user_state_path("voiceloop", appauthor=False) / "traces"


class TraceLog:
    """A `Tap` and an observer that writes the trace of one session into a folder. No failure of it is ever an error.

    latency: False for a session that runs as fast as it can, whose milliseconds mean nothing.
    """

    def __init__(self, folder: Path, *, latency: bool = True) -> None:
        self._folder = folder
        self._latency = latency
        self._now = self._at = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._pen = Pen[str](self._write, self._finish, most=_WAITING, name="voiceloop-trace")

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        """The session listens from now on."""
        self._pen.put(json.dumps({"voiceloop": __version__, "session": session}))

    def mic(self, pcm: Pcm) -> None:
        """No sound is kept."""

    def out(self, reply: int, pcm: Pcm) -> None:
        """No sound is kept."""

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        """Keeps the decisions of one step."""
        self._now, self._at = now, at
        for action in actions:
            if isinstance(action, ev.Trace):
                self._pen.put(to_line(now, at, action))

    def __call__(self, event: object) -> None:
        """Keeps latencies, which the session tells within the step."""
        if self._latency and isinstance(event, Latency):
            self._pen.put(json.dumps({"now": self._now, "at": self._at, "Latency": asdict(event)}))

    def close(self) -> None:
        """Writes what is left, within a second."""
        self._pen.close(_CLOSE_S)

    # --- on the pen's thread ---

    def _write(self, line: str) -> None:
        if self._file is None or self._path is None:
            session = json.loads(line)["session"]
            self._path, self._file = _create(self._folder, session)
        if self._file.tell() + len(line) > _HALF:
            self._file.close()
            os.replace(self._path, self._path.with_name(self._path.name + _OLDER))
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115  `_finish` closes it
        self._file.write(line.encode() + b"\n")

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


def newest(folder: Path) -> Path | None:
    """The trace of the last session, if there is one."""
    found = _traces(folder)
    return found[-1] if found else None


def entries(path: Path) -> list[Entry]:
    """What a trace or a recording tells, in order. Raises MediaError."""
    if path.name.endswith(SUFFIX):
        return list(_recorded(read(path)))
    try:
        older = path.with_name(path.name + _OLDER)
        text = (older.read_text("utf-8") if older.exists() else "") + path.read_text("utf-8")
        return list(_traced(text))
    except OSError as exc:
        raise MediaError(f"the file {path} cannot be read ({exc.strerror}): check the name.") from exc
    except (ValueError, TypeError, LookupError) as exc:
        raise MediaError(f"{path} is neither a recording nor a trace of voiceloop.") from exc


def _create(folder: Path, session: str) -> tuple[Path, BinaryIO]:
    folder.mkdir(parents=True, exist_ok=True)
    known = _traces(folder)
    number = int(known[-1].name[:6]) + 1 if known else 1
    for old in known[: -_SESSIONS + 1]:
        for each in (old, old.with_name(old.name + _OLDER)):
            with suppress(OSError):
                each.unlink()
    path = folder / f"{number:06}-{session}.jsonl"
    return path, open(path, "wb", buffering=0)


def _traces(folder: Path) -> list[Path]:
    """Oldest first. Numbers, because clocks are set and files are copied."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return []


def _traced(text: str) -> Iterator[Entry]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # it was being written when the program was killed
    for line in lines:
        found = json.loads(line)
        if "voiceloop" in found:
            continue
        if "Latency" in found:
            yield Entry(found["now"], Latency(**found["Latency"]))
            continue
        now, _, what = from_line(line)
        if not isinstance(what, ev.Trace):
            raise ValueError("no trace")
        yield Entry(now, what)


def _recorded(recording: Recording) -> Iterator[Entry]:
    stopwatch = Stopwatch()
    for step in recording.steps:
        latency = stopwatch.see(step.now, step.event, step.actions)
        for action in step.actions:
            if isinstance(action, ev.Trace | ev.Heard | ev.ReplyEnded):
                yield Entry(step.now, action)
        if latency is not None and not recording.facts.get("stepped"):
            yield Entry(step.now, latency)
