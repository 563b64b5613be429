"""Machine: turns in the making and the runs that serve them. Here, and only here, stale results are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from voiceloop.core.events import Drop, Stage
from voiceloop.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work under way. It serves the words of a turn, or a reply; the other one is 0."""

    run: int
    stage: Stage
    turn: int = 0
    reply: int = 0
    clause: int = 0


@dataclass(slots=True)
class Draft:
    """A turn of which the words are not settled yet.

    end: None while the person speaks. text: None until known. silenced: the words count, but nobody wants an answer.
    failed: stages that failed for this rev.
    """

    turn: int
    policy: Policy
    rev: int = 0
    context: int = 0
    start: int = 0
    end: int | None = None
    decided: bool = False
    text: str | None = None
    reply: int | None = None
    silenced: bool = False
    failed: set[Stage] = field(default_factory=lambda: set[Stage]())

    def pause(self, context: int, start: int, end: int) -> None:
        """Its audio is complete, as far as is known."""
        self.context, self.start, self.end = context, start, end

    def go_on(self, rev: int) -> None:
        """The person went on; what is known of the words is stale."""
        self.rev, self.end, self.text, self.reply = rev, None, None, None
        self.failed.clear()


class Work:
    """Drafts in the order of their turns, and live runs by id."""

    def __init__(self) -> None:
        self._last = 0
        self._runs: dict[int, Run] = {}
        self._drafts: dict[int, Draft] = {}

    # --- runs ---

    def begin(self, stage: Stage, *, turn: int = 0, reply: int = 0, clause: int = 0) -> int:
        """A new run; its id."""
        self._last += 1
        self._runs[self._last] = Run(self._last, stage, turn, reply, clause)
        return self._last

    def accept(self, run: int, *, final: bool) -> Run | None:
        """The run that a result belongs to, or None if the result is stale. final: the run ends with it."""
        return self._runs.pop(run, None) if final else self._runs.get(run)

    def drop(self, *, turn: int = 0, reply: int = 0, stage: Stage | None = None) -> list[Drop]:
        """Ends the runs that serve this turn's words, or this reply."""
        gone = [r.run for r in self._runs.values() if (r.turn, r.reply) == (turn, reply) and stage in (None, r.stage)]
        return [Drop(self._runs.pop(run).run) for run in gone]

    # --- drafts ---

    def open(self, turn: int, policy: Policy, *, text: str | None = None) -> None:
        """A turn began; one that was typed has its text, and is decided at once."""
        self._drafts[turn] = Draft(turn, policy, text=text, decided=text is not None)

    def __getitem__(self, turn: int) -> Draft:
        """The draft of a turn that is one."""
        return self._drafts[turn]

    def close(self, turn: int) -> None:
        """The turn is no draft any more: it was dropped or is being answered."""
        del self._drafts[turn]

    @property
    def drafts(self) -> list[Draft]:
        """All drafts, oldest first."""
        return list(self._drafts.values())

    def waiting(self) -> bool:
        """Whether a decided turn, of which an answer is wanted, waits for its words."""
        return any(draft.decided and not draft.silenced for draft in self._drafts.values())

    def asked(self, reply: int) -> Draft:
        """The draft that was answered early by this reply."""
        return next(draft for draft in self._drafts.values() if draft.reply == reply)

    def settled(self) -> Iterator[Draft]:
        """Drafts that are decided and whose words are known, up to the first one of which this is not true."""
        for draft in self.drafts:
            if not draft.decided or draft.text is None:
                return
            yield draft

    def to_transcribe(self) -> Iterator[tuple[Draft, int]]:
        """Drafts whose words should be looked for now, and where they end."""
        for draft in self.drafts:
            early = draft.policy.reaches("stt") and draft.rev < draft.policy.tries and "stt" not in draft.failed
            busy = any(run.turn == draft.turn for run in self._runs.values())
            if draft.end is not None and draft.text is None and (draft.decided or early) and not busy:
                yield draft, draft.end

    def to_answer_early(self) -> Draft | None:
        """The draft that a handler may be asked about before it is decided: the oldest, for its history is whole."""
        draft = next(iter(self._drafts.values()), None)
        if draft is None or draft.decided or draft.end is None or not draft.text or draft.reply is not None:
            return None
        early = draft.policy.reaches("handler") and draft.rev < draft.policy.tries and "handler" not in draft.failed
        return draft if early else None
