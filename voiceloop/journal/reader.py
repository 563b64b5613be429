"""A recorded session, read back: whole, or as far as the file goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.policy import Policy
from voiceloop.core.record import from_line, is_input, revived
from voiceloop.errors import MediaError
from voiceloop.journal import flac
from voiceloop.journal.archive import members
from voiceloop.journal.writer import FORMAT


@dataclass(frozen=True, slots=True)
class Step:
    """One input of the core, the clocks after it, its actions, and those as they were written."""

    now: int
    at: int
    event: ev.Input
    actions: tuple[ev.Action, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """One session. facts: the head of the file. mic: int16, 16 kHz, sample n is the core's sample n. out: int16, at
    out_rate, beside it in time. whole: False if the file was cut off, or recording stopped before the session did."""

    name: str
    facts: dict[str, Any]
    policy: Policy
    steps: list[Step] = field(repr=False)
    mic: Pcm = field(repr=False)
    out: Pcm = field(repr=False)
    whole: bool

    @property
    def out_rate(self) -> int:
        """Of the loudspeaker, Hz."""
        return int(self.facts["out_rate"])

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.steps[-1].now / RATE if self.steps else 0.0


def read(path: str | PathLike[str]) -> Recording:
    """The recording in a file, up to the last second that is whole. Raises MediaError."""
    name = Path(path).name
    try:
        found, closed = members(path)
    except OSError as exc:
        raise MediaError(f"the file {path} cannot be read ({exc.strerror}): check the name.") from exc
    content = dict(found)
    if "head.json" not in content:
        raise MediaError(f"{path} is no recording of a session, or nothing is left of it.")
    facts = json.loads(content["head.json"])
    if facts["format"] != FORMAT:
        raise MediaError(f"{path} was recorded by voiceloop {facts['voiceloop']}, in a form unknown to this version.")
    try:
        policy = revived(Policy, facts["policy"])
        lines = [part.decode().splitlines() for each, part in found if each.endswith(".jsonl")]
        steps = list(_steps(line for part in lines for line in part))
    except ValueError as exc:
        raise MediaError(
            f"{path} was recorded by voiceloop {facts['voiceloop']} and cannot be understood by this one ({exc})."
        ) from exc
    end = json.loads(content.get("end.json", b"{}"))
    whole = closed and end.get("reason") == "closed"
    return Recording(name, facts, policy, steps, _sound(found, "mic-"), _sound(found, "out-"), whole)


def _steps(lines: Iterator[str]) -> Iterator[Step]:
    head: tuple[int, int, ev.Input] | None = None
    actions: list[ev.Action] = []
    texts: list[str] = []
    for line in lines:
        now, at, what = from_line(line)
        if is_input(what):
            if head is not None:
                yield Step(*head, tuple(actions), tuple(texts))
            head, actions, texts = (now, at, cast("ev.Input", what)), [], []
        else:
            actions.append(cast("ev.Action", what))
            texts.append(line)
    if head is not None:
        yield Step(*head, tuple(actions), tuple(texts))


def _sound(found: list[tuple[str, bytes]], prefix: str) -> Pcm:
    parts = [content for name, content in found if name.startswith(prefix)]
    return np.concatenate([silence(0), *(flac.decode(part) for part in parts)])
