"""One session as one file: its inputs and actions as JSON lines, and its sound.

    head.json          format, version, session, policy, configuration, names of the engines
    mic-000001.flac    the microphone as the VAD heard it: after echo cancelling and muting, 16 kHz, every sample
    out-000001.flac    the replies as they were heard, beside it in time, at the rate of the loudspeaker
    000001.jsonl       the inputs of that second, each followed by its actions (core/record.py)
    ...
    end.json           why it ended

Numbers count seconds in which something happened. Sound comes before the lines, so that a file that is cut off has
the sound of all that it tells. Sample n of the microphone is the one that the core calls n.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from voiceloop import __version__
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.policy import Policy
from voiceloop.core.record import plain, to_line
from voiceloop.errors import MediaError
from voiceloop.journal import flac
from voiceloop.journal.archive import Archive
from voiceloop.journal.pen import Pen

FORMAT = 1
SUFFIX = ".voiceloop"

_WAITING = 16
"""Seconds of a session that wait for the disk, some 80 kB each."""
_CLOSE_S = 5.0
_KEPT = 8
"""Replies whose sound is kept until it has been heard."""


@dataclass(frozen=True, slots=True)
class _Head:
    content: dict[str, Any]
    out_rate: int


@dataclass(slots=True)
class _Part:
    """One second. rows: what happened, in order: sound given to the loudspeaker, and steps of the core."""

    since: int
    mic: list[Pcm] = field(default_factory=lambda: list[Pcm]())
    rows: list[_Written | _Step] = field(default_factory=lambda: list["_Written | _Step"]())


@dataclass(frozen=True, slots=True)
class _Written:
    reply: int
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class _Step:
    now: int
    at: int
    event: ev.Input
    actions: Sequence[ev.Action]


class Journal:
    """A `Tap` that records one session. Holds voices and words: never without being asked for.

    facts: what else the head is to hold, as the configuration; JSON, no secrets. wait_s: how long a step may wait for a
    slow disk; 0 for a session in real time, which then goes on without a recording.
    Raises MediaError if the file cannot be created. `close` when the session is over.
    """

    def __init__(self, path: str | PathLike[str], facts: Mapping[str, Any], *, wait_s: float = 0.0) -> None:
        self._facts = dict(facts)
        self._wait_s = wait_s
        try:
            self._archive = Archive(path)
        except OSError as exc:
            raise MediaError(f"{path} cannot be written ({exc.strerror}): choose another place.") from exc
        self._path = Path(path)
        self._part = _Part(0)
        self._live = True
        self._told = False
        self._number = 0
        self._speaker: Loudspeaker | None = None
        self._pen = Pen[_Head | _Part](self._write, self._finish, most=_WAITING, name="voiceloop-journal")

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        """The session listens from now on."""
        content = {
            "format": FORMAT,
            "voiceloop": __version__,
            "session": session,
            "out_rate": out_rate,
            "policy": plain(policy),
            **self._facts,
        }
        self._put(_Head(content, out_rate))

    def mic(self, pcm: Pcm) -> None:
        """A frame, as the VAD hears it."""
        if self._live:
            self._part.mic.append(pcm)

    def out(self, reply: int, pcm: Pcm) -> None:
        """Speech of a reply, on its way to the loudspeaker."""
        if self._live:
            self._part.rows.append(_Written(reply, pcm))

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> str | None:
        """One step of the core. Returns a sentence for the user, once, when recording is over before the session."""
        if self._live:
            self._part.rows.append(_Step(now, at, event, actions))
            if now - self._part.since >= RATE:
                self._put(self._part)
                self._part = _Part(now)
        return None if self._live else self._trouble()

    def close(self) -> str | None:
        """Writes what is left, within seconds. Returns a sentence for the user if not all of it could be."""
        if self._live and (self._part.rows or self._part.mic):
            self._put(self._part)
        self._live = False
        self._pen.close(_CLOSE_S)
        return self._trouble()

    def _put(self, item: _Head | _Part) -> None:
        self._live = self._live and self._pen.put(item, wait_s=self._wait_s)

    def _trouble(self) -> str | None:
        if self._told or self._pen.trouble is None:
            return None
        self._told = True
        return f"{self._path.name} ends early, because {self._pen.trouble}. The conversation goes on unrecorded."

    # --- on the pen's thread ---

    def _write(self, item: _Head | _Part) -> None:
        if isinstance(item, _Head):
            self._speaker = Loudspeaker(item.out_rate)
            self._archive.add([("head.json", json.dumps(item.content, indent=1).encode())])
            return
        self._number += 1
        speaker = cast("Loudspeaker", self._speaker)
        lines: list[str] = []
        for row in item.rows:
            if isinstance(row, _Written):
                speaker.write(row.reply, row.pcm)
            else:
                speaker.see(row.event)
                lines += [to_line(row.now, row.at, what) for what in (row.event, *row.actions)]
        found: list[tuple[str, bytes]] = []
        if item.mic:
            found.append((f"mic-{self._number:06}.flac", flac.encode(np.concatenate(item.mic), RATE)))
        if (heard := speaker.take()).size:
            found.append((f"out-{self._number:06}.flac", flac.encode(heard, speaker.rate)))
        found.append((f"{self._number:06}.jsonl", ("\n".join(lines) + "\n").encode()))
        self._archive.add(found)

    def _finish(self) -> None:
        try:
            self._archive.add([("end.json", json.dumps({"reason": self._pen.trouble or "closed"}).encode())])
        finally:
            self._archive.close()


class Loudspeaker:
    """What was heard, beside the microphone in time: put together from what replies wrote and what was played."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._replies: OrderedDict[int, _Speech] = OrderedDict()
        self._due: list[Pcm] = []
        self._frames: list[Pcm] = []
        self._at = 0
        self._end = 0
        self._sounding = False

    def write(self, reply: int, pcm: Pcm) -> None:
        """Samples that are going to be played, or dropped."""
        self._replies.setdefault(reply, _Speech()).add(pcm)
        while len(self._replies) > _KEPT:
            self._replies.popitem(last=False)

    def see(self, event: ev.Input) -> None:
        """One input of the core."""
        match event:
            case ev.Played(reply=reply, n=n) | ev.Flushed(reply=reply, n=n) if speech := self._replies.get(reply):
                self._due.append(speech.take(n))
                if isinstance(event, ev.Flushed) and event.exact:
                    del self._replies[reply]
            case ev.Voice(n=n):
                self._at += n
                self._frame(self._at * self.rate // RATE - self._end)
            case _:
                pass

    def take(self) -> Pcm:
        """All that was heard since the last call, silence included."""
        frames, self._frames = self._frames, []
        return np.concatenate([silence(0), *frames])

    def _frame(self, n: int) -> None:
        """The next n samples. A device reports in blocks of its own, so some may be left for the next frame; speech
        that begins inside a frame lies at its end."""
        heard = np.concatenate([silence(0), *self._due])
        block, rest = heard[:n], heard[n:]
        gap = silence(n - block.size)
        self._frames.append(np.concatenate((block, gap) if self._sounding else (gap, block)))
        self._due = [rest] if rest.size else []
        self._end += n
        self._sounding = bool(heard.size)


class _Speech:
    """What a reply wrote and nobody has heard yet."""

    def __init__(self) -> None:
        self._taken = 0
        self._left = silence(0)

    def add(self, pcm: Pcm) -> None:
        self._left = np.concatenate((self._left, pcm))

    def take(self, n: int) -> Pcm:
        """Up to sample n of the reply."""
        wanted = max(0, n - self._taken)
        given, self._left = self._left[:wanted], self._left[wanted:]
        self._taken += given.size
        return given
