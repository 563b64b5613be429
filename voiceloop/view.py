"""What a handler is told of a turn, and what it may tell the loop beside its reply."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said. For the assistant, `text` is what was really heard of it.

    said: of the assistant, all that was to be said, as far as it was known; None for the user.
    cut_at: seconds into the reply at which it was stopped; None if nothing was cut off.
    """

    role: Literal["user", "assistant"]
    text: str
    said: str | None = None
    cut_at: float | None = None


class Line(Protocol):
    """From a handler's call back to the loop. Methods are called on the event loop or on a handler's thread."""

    def tell(self, key: Literal["tool", "expect", "sure", "barge_in"], value: str = "") -> None:
        """As in `core.events.HandlerState`."""
        ...

    async def sure(self) -> None:
        """Waits until the turn cannot be reopened any more."""
        ...


class _NoLine:
    """For a handler that is called outside of a session: every turn is sure."""

    def tell(self, key: str, value: str = "") -> None:
        """Nobody listens."""

    async def sure(self) -> None:
        """At once."""


@dataclass(frozen=True, slots=True)
class TurnView:
    """What a handler is told: the words of this turn, and what was said before it, oldest first.

    Its methods tell the loop something beside the reply's text.
    """

    text: str
    history: tuple[Message, ...]
    turn: int
    rev: int
    session: str
    line: Line = field(default_factory=_NoLine)

    async def sure(self, *, now: bool = False) -> None:
        """Returns when the turn cannot be reopened any more, about a second after it was decided: wait here before
        anything that cannot be undone. If the person goes on before, the call is cancelled here.

        now: as soon as the turn is decided; what the person adds then is a new turn.
        """
        self.line.tell("sure", "now" if now else "")
        await self.line.sure()

    def expect(self, what: str) -> None:
        """What the reply asks for: `digits:10`, `yes_no`, `spelling` or `free`. The next turn is heard accordingly."""
        self.line.tell("expect", what)

    def barge_in(self, manner: str) -> None:
        """How this reply may be interrupted: `stop`, `pause`, `finish_sentence`, `finish_reply` or `ignore`."""
        self.line.tell("barge_in", manner)

    @contextmanager
    def tool(self, name: str) -> Generator[None, None, None]:
        """Around work that takes its time: what is said meanwhile does not stop it, unless the policy says so."""
        self.line.tell("tool", name)
        try:
            yield
        finally:
            self.line.tell("tool", "")
