"""Turns as a person would tell of them: what was said, how soon it was answered, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE
from voiceloop.journal.reader import Step
from voiceloop.session.latency import Stopwatch
from voiceloop.whatif.memory import UNKNOWN_ANSWER, UNKNOWN_WORDS

SOON_S = 1.5
"""A person who goes on this soon after a turn was decided had not finished."""


@dataclass(slots=True)
class Turn:
    """One turn. start, end: microphone samples, end the last of its speech. Milliseconds count from there.

    words, reply: None if they cannot be known. estimated: the reply is not known, so the time it was heard is a guess.
    went_on_s: how soon the person went on after the decision, if that was soon. reopened: how often.
    """

    turn: int
    start: int
    end: int
    words: str | None = ""
    reply: str | None = ""
    decided_ms: int | None = None
    heard_ms: int | None = None
    ending: str = "completed"
    dropped: str = ""
    reopened: int = 0
    went_on_s: float | None = None

    @property
    def estimated(self) -> bool:
        """Whether its times follow from a guess."""
        return self.words is None or self.reply is None

    @property
    def marks(self) -> tuple[str, ...]:
        """What went wrong, a few words each."""
        found = [
            f"the person went on {self.went_on_s:.2f} s later" if self.went_on_s is not None else "",
            f"reopened{f' {self.reopened} times' if self.reopened > 1 else ''}" if self.reopened else "",
            self.ending if self.ending != "completed" else "",
            f"dropped: {self.dropped}" if self.dropped else "",
        ]
        return tuple(filter(None, found))


@dataclass(frozen=True, slots=True)
class Pair:
    """Turns of both runs that share sound."""

    recorded: tuple[Turn, ...]
    what_if: tuple[Turn, ...]


def turns(steps: Sequence[Step]) -> list[Turn]:
    """The decided turns of a session, in order."""
    known: dict[int, Turn] = {}
    replies: dict[int, Turn] = {}
    decided: dict[int, int] = {}
    stopwatch = Stopwatch()
    for step in steps:
        latency = stopwatch.see(step.now, step.event, step.actions)
        for action in step.actions:
            _note(known, replies, action)
            if isinstance(action, ev.Decided) and (turn := known.get(action.turn)):
                decided[action.turn] = step.at
                turn.end = max(turn.start, step.at - action.waited)
        if latency is not None and latency.turn in known:
            known[latency.turn].heard_ms = latency.heard_ms
    found = [turn for turn in known.values() if turn.turn in decided]
    starts = sorted(turn.start for turn in known.values())
    for turn in found:
        later = next((start for start in starts if start > turn.start), None)
        if later is not None and later - decided[turn.turn] < SOON_S * RATE:
            turn.went_on_s = max(0, later - decided[turn.turn]) / RATE
    return found


def pairs(recorded: Sequence[Turn], what_if: Sequence[Turn]) -> list[Pair]:
    """Turns matched by the sound they are about, in order."""
    rows = sorted(
        [(turn.start, turn.end, 0, turn) for turn in recorded] + [(turn.start, turn.end, 1, turn) for turn in what_if],
        key=lambda row: row[:3],
    )
    groups: list[tuple[list[Turn], list[Turn]]] = []
    reach = -1
    for start, end, side, turn in rows:
        if start >= reach:
            groups.append(([], []))
        groups[-1][side].append(turn)
        reach = max(reach, end)
    return [Pair(tuple(left), tuple(right)) for left, right in groups]


def alike(one: Turn, other: Turn) -> bool:
    """Whether nobody would notice a difference."""
    same = (one.words, one.reply, one.ending, one.dropped, one.reopened, one.went_on_s is None) == (
        (other.words, other.reply, other.ending, other.dropped, other.reopened, other.went_on_s is None)
    )
    return same and near(one.decided_ms, other.decided_ms) and near(one.heard_ms, other.heard_ms)


def near(one: int | None, other: int | None) -> bool:
    """Whether two times are the same: what is played is counted by frames, so they are no better than that."""
    return one == other or (one is not None and other is not None and abs(one - other) <= 1000 * FRAME // RATE)


def typical(values: Sequence[int | None]) -> int | None:
    """The median of what is known."""
    known = [value for value in values if value is not None]
    return round(median(known)) if known else None


def _note(known: dict[int, Turn], replies: dict[int, Turn], action: ev.Action) -> None:
    match action:
        case ev.SpeechStarted(turn=id, start=start):
            known.setdefault(id, Turn(id, start, start))  # a turn that may be reopened starts again
        case ev.SpeechRejected(turn=id) if (turn := known.get(id)) and turn.decided_ms is None:
            del known[id]
        case ev.Decided(turn=id, waited=waited) if turn := known.get(id):
            turn.decided_ms = round(waited * 1000 / RATE)
        case ev.Heard(turn=id, text=text) if turn := known.get(id):
            turn.words = None if UNKNOWN_WORDS in text else text
        case ev.Reopened(turn=id) if turn := known.get(id):
            turn.reopened += 1
        case ev.TurnDropped(turn=id, reason=reason) if turn := known.get(id):
            turn.dropped = reason
        case ev.ReplyStarted(reply=reply, turn=int(id)) if turn := known.get(id):
            replies[reply] = turn
            turn.reply, turn.ending = "", "still playing"
        case ev.ReplySaid(reply=reply, text=text) if turn := replies.get(reply):
            turn.reply = None if text == UNKNOWN_ANSWER or turn.reply is None else f"{turn.reply} {text}".strip()
        case ev.ReplyEnded(reply=reply, ending=ending, said=said) if turn := replies.get(reply):
            turn.ending = ending
            turn.reply = None if UNKNOWN_ANSWER in said else said
        case _:
            pass
