"""What other programs play, on PulseAudio and PipeWire: lowered while we listen and speak, and put back.

Through `pactl`, which both have, on a thread of its own. What was before is written down before it is changed, so that
the next start can put right what a crash has left: sound servers remember the volume of a program, and one that ended
while it was lowered would begin low for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

Run = Callable[[Sequence[str]], str]
"""Runs `pactl` with these arguments and gives its output. Raises OSError or subprocess.SubprocessError."""

_PATIENCE_S = 2.0
_LOOK_S = 1.0
"""How often to look for programs that begin to play while they should be lower."""
_LINGER_S = 0.5
"""How long nobody must speak before the others come back: between question and answer they would only pump."""

_count = itertools.count()

log = logging.getLogger("voiceloop.audio")


def available() -> bool:
    """Whether there is a `pactl` to do it with."""
    return shutil.which("pactl") is not None


def unrepaired(folder: Path) -> bool:
    """Whether a process that ended in a crash may have left something lowered."""
    return any(folder.glob("lowered-*.json"))


@dataclass(frozen=True, slots=True)
class _Stream:
    """What one program plays. name: by which the server remembers its volume. volumes: raw, one for each channel."""

    index: int
    pid: str
    name: str
    volumes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A stream that we have lowered: what it was before, and what we made of it."""

    name: str
    before: tuple[int, ...]
    lowered: tuple[int, ...]


class PulseOthers:
    """An `OtherSound`. factor: what is left of their amplitude, 0..1. folder: for what must survive a crash.

    A volume that the user changes meanwhile stays as he set it. Our own sound is known by the process.
    """

    def __init__(self, factor: float, folder: Path, *, run: Run | None = None, linger_s: float = _LINGER_S) -> None:
        self._factor = factor
        self._linger_s = linger_s
        self._run = run or _pactl
        self._memory = _Memory(folder)
        self._kept: dict[int, _Kept] = {}
        self._gone: dict[str, _Kept] = {}
        self._wish = threading.Condition()
        self._low = False
        self._over = False
        self._told = False
        self._thread: threading.Thread | None = None

    def lower(self) -> None:
        """They are to be heard less from now on. Returns at once."""
        self._want(low=True)

    def restore(self) -> None:
        """They may be heard again, if it stays so for half a second. Returns at once."""
        self._want(low=False)

    async def aclose(self) -> None:
        """Puts back what is lowered, within a second or so."""
        if (thread := self._thread) is None:
            return
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def wait() -> None:
            thread.join(_PATIENCE_S)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        with self._wish:
            self._over = True
            self._wish.notify()
        threading.Thread(target=wait, name="voiceloop-others-end", daemon=True).start()
        await done.wait()
        atexit.unregister(self.put_back)

    def put_back(self) -> None:
        """Puts back what is lowered, now. For the end of a process that ends in no other way."""
        with suppress(OSError, ValueError, subprocess.SubprocessError):
            self._restore()

    def _want(self, *, low: bool) -> None:
        with self._wish:
            self._low = low
            self._wish.notify()
            if self._thread is None and not self._over:
                self._thread = threading.Thread(target=self._main, name="voiceloop-others", daemon=True)
                self._thread.start()
                atexit.register(self.put_back)

    # --- on the thread ---

    def _main(self) -> None:
        self._gone = {kept.name: kept for kept in self._memory.left_behind()}
        self._do(self._restore)
        while True:
            with self._wish:
                if not (self._low or self._over or self._kept):
                    self._wish.wait()
                low, over = self._low, self._over
                if not low and not over and self._kept:
                    self._wish.wait_for(lambda: self._low or self._over, self._linger_s)
                    low, over = self._low, self._over
            self._do(self._lower if low and not over else self._restore)
            if over:
                return
            if low:
                with self._wish:
                    self._wish.wait_for(lambda: self._over or not self._low, _LOOK_S)

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, ValueError, subprocess.SubprocessError) as exc:
            if not self._told:
                log.warning("other programs cannot be made quieter: pactl failed with %s", type(exc).__name__)
            self._told = True
            if act == self._restore:
                self._kept.clear()  # a server that has gone has taken them along; the memory stays

    def _lower(self) -> None:
        streams = [stream for stream in self._streams() if stream.pid != str(os.getpid())]
        self._miss(streams)
        new = [stream for stream in streams if stream.index not in self._kept]
        taken = {(kept.name, kept.lowered) for kept in self._memory.of_others()} if new else set[object]()
        for stream in new:
            if (stream.name, stream.volumes) in taken:  # to lower it once more would make that its usual volume
                continue
            lowered = tuple(round(volume * self._factor ** (1 / 3)) for volume in stream.volumes)
            kept = _Kept(stream.name, stream.volumes, lowered)
            gone = self._gone.pop(stream.name, None)
            if gone and gone.lowered == stream.volumes:  # it began at the volume that we had left
                kept = gone
            self._kept[stream.index] = kept
            self._write()
            if kept.lowered != stream.volumes:
                self._set(stream.index, kept.lowered)

    def _restore(self) -> None:
        if not (self._kept or self._gone):
            return
        streams = self._streams()
        self._miss(streams)
        for stream in streams:
            kept = self._kept.get(stream.index) or self._gone.get(stream.name)
            if kept and kept.lowered == stream.volumes:
                self._set(stream.index, kept.before)
                self._gone.pop(stream.name, None)
        self._kept.clear()
        self._write()

    def _miss(self, streams: Sequence[_Stream]) -> None:
        """Those that ended while they were low are known by name."""
        there = {stream.index for stream in streams}
        for index in [index for index in self._kept if index not in there]:
            kept = self._kept.pop(index)
            self._gone[kept.name] = kept

    def _write(self) -> None:
        self._memory.write([*self._kept.values(), *self._gone.values()])

    def _set(self, index: int, volumes: tuple[int, ...]) -> None:
        with suppress(subprocess.CalledProcessError):  # it has just ended
            self._run(["set-sink-input-volume", str(index), *map(str, volumes)])

    def _streams(self) -> list[_Stream]:
        return [_stream(row) for row in json.loads(self._run(["-f", "json", "list", "sink-inputs"]))]


class _Memory:
    """What is lowered now, in a file of its own; that of other loops; and what processes left that are no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"lowered-{os.getpid()}-{next(_count)}.json"

    def write(self, kept: Sequence[_Kept]) -> None:
        """No failure of it is an error: then a crash is not repaired."""
        with suppress(OSError):
            if not kept:
                self._path.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps([asdict(each) for each in kept]))
            os.replace(part, self._path)

    def of_others(self) -> list[_Kept]:
        """What loops that run have lowered, in this process and in others."""
        with suppress(OSError):
            return [kept for path in self._folder.glob("lowered-*.json") if path != self._path for kept in _read(path)]
        return []

    def left_behind(self) -> list[_Kept]:
        """Takes over what is on file of processes that are gone."""
        found: list[_Kept] = []
        with suppress(OSError):
            for path in sorted(self._folder.glob("lowered-*.json")):
                pid = path.stem.split("-")[1]
                if path == self._path or (pid.isdecimal() and _alive(int(pid))):
                    continue
                found += _read(path)
                path.unlink(missing_ok=True)
        return found


def _read(path: Path) -> list[_Kept]:
    with suppress(ValueError, TypeError, LookupError, OSError, RecursionError):
        rows = json.loads(path.read_text())
        return [_Kept(r["name"], tuple(r["before"]), tuple(r["lowered"])) for r in rows]
    return []


def _stream(row: dict[str, Any]) -> _Stream:
    names = cast("dict[str, str]", row.get("properties") or {})
    name = next((names[key] for key in ("module-stream-restore.id", "application.name") if names.get(key)), "")
    volumes = tuple(int(channel["value"]) for channel in row["volume"].values())
    return _Stream(int(row["index"]), names.get("application.process.id", ""), name, volumes)


def _pactl(arguments: Sequence[str]) -> str:
    done = subprocess.run(
        ["pactl", *arguments],
        env={**os.environ, "LC_ALL": "C"},  # else numbers in its JSON may have commas
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    return done.stdout


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
