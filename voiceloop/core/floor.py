"""Machine: replies, and which of them has the floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from voiceloop.core.clauses import Clauses
from voiceloop.core.events import Ending
from voiceloop.core.ledger import Ledger

Kind = Literal["answer", "say", "filler", "text"]

_REMEMBERED = 8
"""Ended replies whose ledger is kept for the exact count that may follow."""


@dataclass(slots=True)
class Reply:
    """One reply. public: its turn is decided (or it has none), so that it may be heard and will get a terminal event.

    asked: clauses given to the synthesizer. told: clauses made known. complete: no more text will come.
    """

    id: int
    turn: int | None
    kind: Kind
    public: bool
    cutter: Clauses = field(default_factory=Clauses)
    ledger: Ledger = field(default_factory=Ledger)
    asked: int = 0
    told: int = 0
    complete: bool = False
    failed: bool = False
    state: Literal["waiting", "playing", "paused", "hushed"] = "waiting"
    played: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to play."""
        led = self.ledger
        return self.complete and led.done == led.clauses and self.played >= led.total


class Floor:
    """At most one reply is audible (playing or paused); the others wait in the order they came."""

    def __init__(self) -> None:
        self._last = 0
        self._replies: dict[int, Reply] = {}
        self._ended: dict[int, Reply] = {}

    def new_id(self) -> int:
        """An id for a reply of our own."""
        self._last += 1
        return self._last

    def add(self, reply: int, kind: Kind, *, turn: int | None = None, public: bool = True) -> Reply:
        """A new reply. An id that was used before is refused with ValueError."""
        if reply in self._replies or reply in self._ended:
            raise ValueError(f"reply id {reply} was used before")
        new = Reply(reply, turn, kind, public)
        self._replies[reply] = new
        return new

    def get(self, reply: int | None) -> Reply | None:
        """A reply that has not ended."""
        return self._replies.get(reply) if reply is not None else None

    @property
    def audible(self) -> Reply | None:
        """The reply that has the floor."""
        return next((r for r in self._replies.values() if r.state in ("playing", "paused")), None)

    def replies(self) -> list[Reply]:
        """All that have not ended, in the order in which they will be heard: a sign of life goes first."""
        return sorted(self._replies.values(), key=lambda r: r.kind != "filler")

    def count(self, kind: Kind) -> int:
        """How many replies of a kind have not ended."""
        return sum(r.kind == kind for r in self._replies.values())

    def waiting(self) -> bool:
        """Whether an answer is due of which nothing is heard yet."""
        return any(r.kind == "answer" and r.public and r.state == "waiting" for r in self._replies.values())

    def write(self, reply: Reply, text: str, *, final: bool) -> None:
        """More text of a reply."""
        for clause in [*reply.cutter.feed(text), *(reply.cutter.flush() if final else [])]:
            reply.ledger.add(clause)
        reply.complete = reply.complete or final

    def to_synthesize(self, *, ahead: int, early: bool) -> Iterator[Reply]:
        """Replies whose next clause should be synthesized now. early: also of those that are not public yet."""
        heard_soon = [r for r in self.replies() if r.kind != "text" and r.state != "hushed"][:2]
        for reply in heard_soon:
            led = reply.ledger
            if reply.asked < led.clauses and reply.asked == led.done:
                limit = led.playing(reply.played) + ahead if reply.public else 0
                if reply.asked <= limit and (reply.public or early):
                    yield reply

    def to_release(self) -> Reply | None:
        """The reply that may take the free floor."""
        if self.audible is not None:
            return None
        return next((r for r in self.replies() if r.public and r.kind != "text" and r.ledger.clauses), None)

    def to_end(self) -> Iterator[tuple[Reply, Ending]]:
        """Replies that have nothing left, with how they ended."""
        for reply in list(self._replies.values()):
            if not reply.public or reply.state == "hushed":
                continue
            if reply.kind == "text":
                if reply.complete:
                    yield reply, "failed" if reply.failed else "completed"
            elif reply.complete and not reply.ledger.clauses:
                yield reply, "failed" if reply.failed else "empty"
            elif reply.exhausted and reply.state != "waiting":
                yield reply, "failed" if reply.failed else "completed"

    def end(self, reply: Reply) -> None:
        """The reply is over; its ledger is kept for a while."""
        self._replies.pop(reply.id, None)
        self._ended[reply.id] = reply
        while len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def ended(self, reply: int) -> Reply | None:
        """A reply that ended not long ago."""
        return self._ended.get(reply)
