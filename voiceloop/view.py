"""What a handler is told of a turn, and what it may tell the loop beside its reply."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


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


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a handler is to know and that nobody said: a system message."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that a handler had the peer run. arguments: JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of it. id: of the call."""

    id: str
    output: str


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A function that the peer can run. parameters: JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: dict[str, Any]())


@dataclass(frozen=True, slots=True)
class Brief:
    """What a connected peer asks of one reply, beside what the handler was configured with.

    context: all that was said and done so far, the words of this turn last. instructions: instead of the configured
    ones; None: those. choice: `auto`, `none`, `required`, or the tool that is to be called. max_tokens: None: any
    number. call: has the peer run a function (id, name, arguments). limited: the reply ends because of max_tokens.
    """

    context: tuple[Message | Note | ToolCall | ToolResult, ...]
    instructions: str | None
    tools: tuple[ToolOffer, ...]
    choice: str
    max_tokens: int | None
    call: Callable[[str, str, str], None]
    limited: Callable[[], None]

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What came of the functions that were called since the user last said something."""
        since = max((n for n, m in enumerate(self.context) if isinstance(m, Message) and m.role == "user"), default=-1)
        return tuple(m for m in self.context[since + 1 :] if isinstance(m, ToolResult))


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

    Its methods tell the loop something beside the reply's text. brief: set when a peer asks for more than an answer.
    """

    text: str
    history: tuple[Message, ...]
    turn: int
    rev: int
    session: str
    line: Line = field(default_factory=_NoLine)
    brief: Brief | None = None

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

    def call(self, name: str, arguments: str = "{}", *, id: str = "") -> None:
        """Has the peer run one of its functions (`brief.tools`) when this reply has ended; what comes of it is among
        `brief.results` of a later call. Nothing happens if there is no such peer."""
        if self.brief:
            self.brief.call(id, name, arguments)

    @contextmanager
    def tool(self, name: str) -> Generator[None, None, None]:
        """Around work that takes its time: what is said meanwhile does not stop it, unless the policy says so."""
        self.line.tell("tool", name)
        try:
            yield
        finally:
            self.line.tell("tool", "")
