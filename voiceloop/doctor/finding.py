"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | bool | None | Sequence[str] | Sequence[float]

Verdict = Literal["ok", "warn", "bad"]
"""ok: it works. warn: it works, but not as well as it could. bad: voiceloop cannot be used like this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. name: short, for programs too. text: what was found, without its name. todo: what to do
    about it, one sentence. data: the figures, seconds and decibels as their names say; never a key or a spoken word of
    the user's."""

    name: str
    verdict: Verdict
    text: str
    todo: str = ""
    data: Mapping[str, Value] = field(default_factory=dict[str, Value])


def advice(sentence: str) -> tuple[str, str]:
    """The sentence of an error as what is wrong and what to do; all of it as the first if it lists something."""
    what, colon, todo = sentence.partition(": ")
    return (what, todo[:1].upper() + todo[1:]) if colon and ";" not in what else (sentence, "")
