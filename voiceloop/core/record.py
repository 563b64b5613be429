"""Inputs and actions <-> JSON lines: one form for the journal and for replay.

A line is `{"now":..,"at":..,"<name of the class>":{<its fields>}}`. It is ASCII, and writing what was read gives the
same bytes, so that two recordings can be compared as text.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, cast, get_args

from voiceloop.core import events as ev
from voiceloop.core.policy import Policy

_TYPES: dict[str, type] = {cls.__name__: cls for cls in get_args(ev.Input) + get_args(ev.Action)}


def to_line(now: int, at: int, what: ev.Input | ev.Action) -> str:
    """One line, without its end. now, at: the two clocks after the step, ticks."""
    body = _plain(what)
    if isinstance(what, ev.Configure):
        body["policy"] = _plain(what.policy)
    return json.dumps({"now": now, "at": at, type(what).__name__: body}, separators=(",", ":"))


def from_line(line: str) -> tuple[int, int, ev.Input | ev.Action]:
    """What `to_line` was given. Raises ValueError if the line is none of its own."""
    try:
        found = json.loads(line)
        now, at, name = found
        body: dict[str, Any] = found[name]
        if name == "Configure":
            body["policy"] = read_policy(body["policy"])
        what = cast("ev.Input | ev.Action", _TYPES[name](**body))
    except (ValueError, TypeError, LookupError) as exc:
        raise ValueError(f"not a line of a recording: {line[:80]!r}") from exc
    if (now, at) != ("now", "at"):
        raise ValueError(f"not a line of a recording: {line[:80]!r}")
    return found["now"], found["at"], what


def read_policy(values: dict[str, Any]) -> Policy:
    """A policy from its fields as JSON gives them. Raises TypeError."""
    policy = Policy(**values)
    return replace(policy, waits=tuple((p, n) for p, n in policy.waits))


def _plain(what: object) -> dict[str, Any]:
    return {f.name: getattr(what, f.name) for f in fields(cast("Any", what))}
