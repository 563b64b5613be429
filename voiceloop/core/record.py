"""Inputs and actions <-> JSON lines: one form for the journal and for replay.

A line is `{"now":..,"at":..,"<name of the class>":{<its fields>}}`. It is ASCII, and writing what was read gives the
same bytes, so that two recordings can be compared as text. JSON has no tuples and no classes: the type hints of the
fields say where a list was a tuple, and an object a `Policy`.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

from voiceloop.core import events as ev

_INPUTS: tuple[type, ...] = get_args(ev.Input)
_TYPES: dict[str, type] = {cls.__name__: cls for cls in _INPUTS + get_args(ev.Action)}

_LATER: dict[type, str] = {ev.Voice: "echo", ev.Interrupt: "reply"}
"""Fields that older versions did not know: they are left out while they say nothing. Most frames have no echo."""


def to_line(now: int, at: int, what: ev.Input | ev.Action) -> str:
    """One line, without its end. now, at: the two clocks after the step, ticks."""
    return json.dumps({"now": now, "at": at, type(what).__name__: what}, separators=(",", ":"), default=_plain)


def from_line(line: str) -> tuple[int, int, ev.Input | ev.Action]:
    """What `to_line` was given. Raises ValueError if the line is none of its own."""
    try:
        found = json.loads(line)
        now, at, name = found
        what = cast("ev.Input | ev.Action", _revived(_TYPES[name], found[name]))
    except (ValueError, TypeError, LookupError, StopIteration) as exc:
        raise ValueError(f"not a line of a recording: {line[:80]!r}") from exc
    if (now, at) != ("now", "at"):
        raise ValueError(f"not a line of a recording: {line[:80]!r}")
    return found["now"], found["at"], what


def is_input(what: ev.Input | ev.Action) -> bool:
    """Whether it was told to the core, and not by it."""
    return isinstance(what, _INPUTS)


def plain(what: object) -> Any:
    """A dataclass as what JSON can hold; the inverse is `revived`."""
    return json.loads(json.dumps(what, default=_plain))


def revived(kind: type, value: Any) -> Any:
    """A dataclass of that kind from its `plain` form. Raises ValueError if it is none."""
    try:
        return _revived(kind, value)
    except (ValueError, TypeError, LookupError, StopIteration) as exc:
        raise ValueError(f"not a {kind.__name__}: {exc}") from exc


def _plain(what: object) -> dict[str, Any]:
    found = {f.name: getattr(what, f.name) for f in fields(cast("Any", what))}
    if (name := _LATER.get(type(what))) and not found[name]:
        del found[name]
    return found


def _revived(kind: Any, value: Any) -> Any:
    match value:
        case dict():
            known = cast("dict[str, Any]", value)
            if get_origin(kind) is dict:
                return {name: _revived(get_args(kind)[1], each) for name, each in known.items()}
            cls = next(each for each in (kind, *get_args(kind)) if is_dataclass(each))
            hints = _hints(cast("type", cls))
            return cast("Any", cls)(**{name: _revived(hints[name], each) for name, each in known.items()})
        case list():
            several = cast("list[Any]", value)
            row = next(each for each in (kind, *get_args(kind)) if get_origin(each) is tuple)
            inner = get_args(row)
            kinds = inner[:1] * len(several) if inner[-1] is Ellipsis else inner
            return tuple(_revived(each, item) for each, item in zip(kinds, several, strict=True))
        case _ if isinstance(kind, type) and is_dataclass(kind):
            raise TypeError(f"{value!r} is no {kind.__name__}")
        case _:
            return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
