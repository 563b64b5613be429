"""Where the time of a turn went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE

_KEPT = 8
"""Turns and replies that are followed at a time; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the last speech sample of a turn to each step of its reply; told when it is first heard.

    words: known. text: first of the handler. ready: first speech synthesized. decided: the turn ended. released: the
    reply took the floor. heard: its first sample was played. Steps before `decided` ran ahead.
    """

    turn: int
    reply: int
    words_ms: int
    text_ms: int
    ready_ms: int
    decided_ms: int
    released_ms: int
    heard_ms: int


@dataclass(slots=True)
class _Marks:
    turn: int
    words: int = 0
    text: int = 0
    ready: int = 0
    ended: int = 0
    decided: int = 0
    released: int = 0


class Stopwatch:
    """Sees each step of the core, and gives the `Latency` of a turn when its reply is first heard."""

    def __init__(self) -> None:
        self._turns: dict[int, _Marks] = {}
        self._replies: dict[int, _Marks] = {}
        self._runs: dict[int, _Marks] = {}

    def see(self, now: int, event: ev.Input, actions: Sequence[ev.Action]) -> Latency | None:
        """One step: the input, fed at `now`, and its actions."""
        match event:
            case ev.ReplyText(run=run) if marks := self._runs.get(run):
                marks.text = marks.text or now
            case ev.Prepared(run=run, n=n) if n and (marks := self._runs.get(run)):
                marks.ready = marks.ready or now
            case _:
                pass
        for action in actions:
            self._mark(now, action)
        if isinstance(event, ev.Played) and event.n > 0:
            return self._first_heard(now, event.reply)
        return None

    def _mark(self, now: int, action: ev.Action) -> None:
        match action:
            case ev.SpeechStarted(turn=turn):
                self._turns[turn] = _Marks(turn)
                for known in (self._turns, self._replies, self._runs):
                    for old in list(known)[:-_KEPT]:
                        del known[old]
            case ev.Answer(run=run, turn=turn, reply=reply) if marks := self._turns.get(turn):
                marks.words, marks.text, marks.ready = now, 0, 0
                self._replies[reply] = self._runs[run] = marks
            case ev.Synthesize(run=run, reply=reply) if marks := self._replies.get(reply):
                self._runs[run] = marks
            case ev.Decided(turn=turn, waited=waited) if marks := self._turns.get(turn):
                marks.decided, marks.ended = now, now - waited
            case ev.ReplyStarted(reply=reply) if marks := self._replies.get(reply):
                marks.released = now
            case _:
                pass

    def _first_heard(self, now: int, reply: int) -> Latency | None:
        marks = self._replies.pop(reply, None)
        if marks is None:
            return None
        ready = marks.ready or now
        text = marks.text or ready  # a handler that failed gave none: what is heard is an apology of our own
        steps = (marks.words, text, ready, marks.decided, marks.released, now)
        return Latency(marks.turn, reply, *(round((step - marks.ended) * 1000 / RATE) for step in steps))
