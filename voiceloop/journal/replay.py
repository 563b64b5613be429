"""The recorded inputs through a new core, on the recorded clocks: the same actions, byte for byte (invariant 10)."""

from __future__ import annotations

from dataclasses import dataclass

from voiceloop.core import events as ev
from voiceloop.core.record import to_line
from voiceloop.core.turns import Turns
from voiceloop.journal.reader import Recording


@dataclass(frozen=True, slots=True)
class Difference:
    """An input, counted from 1, that did not lead to the same. recorded, replayed: its actions as JSON lines."""

    number: int
    now: int
    at: int
    event: ev.Input
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a replay gave. n_inputs, n_actions: how many were recorded."""

    n_inputs: int
    n_actions: int
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> bool:
        """Whether all actions are the same, byte for byte."""
        return not self.differences


def replay(recording: Recording) -> Comparison:
    """Feeds all inputs to a core that begins with the recorded policy. What it raises, it raised then too."""
    turns = Turns(recording.policy)
    found: list[Difference] = []
    for number, step in enumerate(recording.steps, 1):
        actions = turns.feed(step.event, now=step.now)
        lines = tuple(to_line(step.now, turns.at, action) for action in actions)
        if lines != step.lines or turns.at != step.at:
            found.append(Difference(number, step.now, step.at, step.event, step.lines, lines))
    return Comparison(len(recording.steps), sum(len(step.lines) for step in recording.steps), tuple(found))
