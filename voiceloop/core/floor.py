"""Machine: replies, and which of them has the floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from voiceloop.core.clauses import Clauses
from voiceloop.core.events import Ending
from voiceloop.core.ledger import Ledger
from voiceloop.core.policy import BargeIn, Policy

Kind = Literal["answer", "say", "filler", "text"]

_REMEMBERED = 8
"""Ended replies whose ledger is kept for the exact count that may follow."""


@dataclass(slots=True)
class Script:
    """What a reply says: text that streams in, cut into clauses, and what became of them.

    room: characters that it may still take. complete: no more text will come. overlong: there would have been more.
    asked: clauses given to the synthesizer. told: clauses made known. last: the clause after which it stops.
    """

    room: int
    cutter: Clauses = field(default_factory=Clauses)
    ledger: Ledger = field(default_factory=Ledger)
    complete: bool = False
    overlong: bool = False
    asked: int = 0
    told: int = 0
    last: int | None = None

    def write(self, text: str, *, final: bool) -> None:
        """More text, as far as there is room."""
        self.overlong = self.overlong or len(text) > self.room
        self._add(text[: self.room], final=final or self.overlong)
        self.room = max(0, self.room - len(text))

    def end_with(self, text: str, *, whole: bool = False) -> None:
        """A last sentence of our own, however long the rest is. whole: it is a clause as it is."""
        self._add("", final=True)
        if whole:
            self.ledger.add(text)
        else:
            self._add(text, final=True)

    def stop_after_sentence(self, played: int) -> None:
        """Only the sentence that is heard now is to be heard to its end."""
        now = self.ledger.playing(played)
        following = range(min(now, self.ledger.clauses - 1), self.ledger.clauses)
        self.last = next((i for i in following if self.ledger.clause(i).endswith((".", "?", "!"))), now)

    def over(self, played: int) -> bool:
        """Whether the sentence has been heard after which it stops."""
        return self.last is not None and self.ledger.playing(played) > self.last

    def _add(self, text: str, *, final: bool) -> None:
        for clause in [*self.cutter.feed(text), *(self.cutter.flush() if final else [])]:
            self.ledger.add(clause)
        self.complete = self.complete or final


@dataclass(slots=True)
class Wishes:
    """What is asked of the loop beside the text of a reply.

    barge_in: how it may be interrupted; None: as the policy says. expect: what the next turn will hold. tool: which one
    runs. sure: `wanted` if the handler waits until its turn is, `now` if it has to be.
    """

    barge_in: BargeIn | None = None
    expect: str = ""
    tool: str = ""
    sure: str = ""


@dataclass(slots=True)
class Reply:
    """One reply. public: its turn is decided (or it has none), so that it may be heard and will get a terminal event.

    past: turns that had ended, but were not understood yet, when it took the floor. fate: how it ends if it is stopped.
    away: it is held because there was no device.
    """

    id: int
    turn: int | None
    kind: Kind
    policy: Policy
    public: bool
    script: Script
    failed: bool = False
    state: Literal["waiting", "playing", "paused", "away", "hushed"] = "waiting"
    played: int = 0
    past: frozenset[int] = frozenset()
    wishes: Wishes = field(default_factory=Wishes)
    fate: Ending = "interrupted"

    @property
    def ledger(self) -> Ledger:
        """Its clauses and their samples."""
        return self.script.ledger

    @property
    def audible(self) -> bool:
        """Whether it has the floor."""
        return self.state in ("playing", "paused", "away")

    @property
    def low(self) -> bool:
        """Whether it is played at a lower volume meanwhile, instead of being held."""
        return self.state == "paused" and self.policy.duck > 0

    @property
    def begun(self) -> int:
        """How many of its clauses have begun to be heard, or, out of band, are there."""
        if self.kind == "text":
            return self.ledger.clauses
        heard = self.state == "playing" or self.low
        return min(self.script.asked, self.ledger.playing(self.played) + 1) if heard else 0

    @property
    def cut_at(self) -> int | None:
        """Samples of it that were played when it was stopped; None if that was all of it."""
        led = self.ledger
        whole = self.script.complete and led.done == led.clauses and self.played >= led.total
        return None if whole else min(self.played, led.total)

    @property
    def ending(self) -> Ending | None:
        """How it ended, if there is nothing left of it."""
        if not self.public or not self.script.complete or self.state == "hushed":
            return None
        led = self.ledger
        played = self.audible and led.done == led.clauses and self.played >= led.total
        if self.kind != "text" and led.clauses and not played:
            return None
        if self.failed:
            return "failed"
        return "completed" if self.kind == "text" or led.total else "empty"


class Floor:
    """At most one reply is audible (playing or paused); the others wait in the order they came."""

    def __init__(self) -> None:
        self._last = 0
        self._last_said = 0
        self._replies: dict[int, Reply] = {}
        self._ended: dict[int, Reply] = {}
        self._n_samples = 0
        self._length = 0.0

    def add(self, kind: Kind, policy: Policy, *, turn: int | None = None, public: bool = True) -> Reply:
        """A new reply of our own."""
        self._last += 1
        return self._add(self._last, kind, policy, turn, public)

    def add_said(self, reply: int, policy: Policy) -> Reply:
        """A new reply of the host's. Raises ValueError if the id is not below all before it."""
        if reply >= self._last_said:
            raise ValueError(f"the id {reply} of an announcement is not below {self._last_said}")
        self._last_said = reply
        return self._add(reply, "say", policy, None, True)

    def _add(self, reply: int, kind: Kind, policy: Policy, turn: int | None, public: bool) -> Reply:
        new = self._replies[reply] = Reply(reply, turn, kind, policy, public, Script(policy.max_reply_chars))
        return new

    def get(self, reply: int | None) -> Reply | None:
        """A reply, if it has not ended."""
        return self._replies.get(reply) if reply is not None else None

    def __getitem__(self, reply: int) -> Reply:
        """A reply that has not ended."""
        return self._replies[reply]

    @property
    def empty(self) -> bool:
        """Whether there is no reply that has not ended."""
        return not self._replies

    @property
    def audible(self) -> Reply | None:
        """The reply that has the floor."""
        return next((r for r in self._replies.values() if r.audible), None)

    @property
    def settling(self) -> bool:
        """Whether a reply was stopped and it is not known yet what was heard of it."""
        return any(r.state == "hushed" for r in self._replies.values())

    def replies(self) -> list[Reply]:
        """All that have not ended, in the order in which they will be heard: a sign of life goes before others."""
        if len(self._replies) < 2:
            return list(self._replies.values())
        return sorted(self._replies.values(), key=lambda r: (r.state == "waiting", r.kind != "filler"))

    def count(self, kind: Kind) -> int:
        """How many replies of a kind have not ended."""
        return sum(r.kind == kind for r in self._replies.values())

    def waiting(self) -> bool:
        """Whether an answer is due of which nothing is heard yet."""
        return any(r.kind == "answer" and r.public and r.state == "waiting" for r in self._replies.values())

    def prepared(self, reply: Reply, clause: int, n: int, *, final: bool) -> None:
        """A clause has n samples so far."""
        reply.ledger.size(clause, n, final=final)
        if final:
            self._n_samples += n
            self._length += reply.ledger.length(clause)

    def heard(self, reply: Reply) -> str:
        """The words of a reply that have been played."""
        return reply.ledger.heard(reply.played, self._pace)

    def words(self, reply: int) -> tuple[tuple[str, int], ...]:
        """The words of a reply that goes on, as far as synthesized, and the sample at which each has been said."""
        found = self._replies.get(reply)
        return tuple(found.ledger.words(self._pace)) if found else ()

    def clauses(self, reply: int) -> tuple[tuple[str, int], ...]:
        """The clauses of a reply that goes on, as far as there is sound of them, each with its first sample."""
        found = self._replies.get(reply)
        return tuple(found.ledger.begun()) if found else ()

    def whole(self) -> tuple[int, int] | None:
        """The reply that has the floor, and its samples, if all of it is there and only remains to be heard."""
        reply = self.audible
        if reply is None or reply.failed or not reply.script.complete or reply.ledger.done < reply.ledger.clauses:
            return None
        return reply.id, reply.ledger.total

    @property
    def _pace(self) -> float:
        """Samples a unit of `Ledger.length`, of all that was said so far; 0 if nothing was."""
        return self._n_samples / max(1.0, self._length)

    def lately(self) -> str:
        """What was heard last: of the reply that has the floor, or of the one that ended last."""
        reply = self.audible or next(reversed(self._ended.values()), None)
        return self.heard(reply) if reply else ""

    def to_synthesize(self) -> Iterator[Reply]:
        """Replies whose next clause should be synthesized now: of the one that is heard, of the next one, and of one
        that may never be heard."""
        following = self._following(answers=True)
        for reply in self.replies():
            if reply.kind == "text" or not (reply.audible or reply is following or not reply.public):
                continue
            if reply.script.asked < reply.ledger.clauses and reply.script.asked == reply.ledger.done:
                if reply.public:
                    due = reply.script.asked <= reply.ledger.playing(reply.played) + reply.policy.ahead
                else:
                    due = reply.script.asked == 0 and reply.policy.reaches("speech")
                if due:
                    yield reply

    def to_release(self, *, answers: bool) -> Reply | None:
        """The reply that may take the floor, if it is free. answers: they too, not only what has no turn."""
        return None if self.audible or self.settling else self._following(answers=answers)

    def _following(self, *, answers: bool) -> Reply | None:
        kinds = ("filler", "say", "answer") if answers else ("filler", "say")
        older = False  # an answer that is still made goes before newer ones
        for reply in self.replies():
            if reply.kind not in kinds or not reply.public or reply.state != "waiting":
                continue
            if reply.ledger.clauses and not (older and reply.kind == "answer"):
                return reply
            older = older or reply.kind == "answer"
        return None

    def end(self, reply: Reply) -> None:
        """The reply is over; if somebody knows of it, its ledger is kept for a while."""
        del self._replies[reply.id]
        if reply.public:
            self._ended[reply.id] = reply
            while len(self._ended) > _REMEMBERED:
                del self._ended[next(iter(self._ended))]

    def ended(self, reply: int) -> Reply | None:
        """A reply that ended not long ago."""
        return self._ended.get(reply)
