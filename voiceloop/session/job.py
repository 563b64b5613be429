"""One call for a worker thread (workers.py): where it stands, for whom it is, and how its result reaches the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from enum import Enum, auto

from voiceloop.ports import ERRAND
from voiceloop.session.fair import Entry


class State(Enum):
    """Of a job."""

    QUEUED = auto()
    RUNNING = auto()
    ABANDONED = auto()
    DONE = auto()


@dataclass(slots=True, eq=False)
class Job:
    """fn runs on a worker inside `context`; then `deliver` on the loop, or, if abandoned, `orphan` on the worker.

    entry: its place in the queue. patience: ends its wait there; patient: nothing does.
    """

    fn: Callable[[], object]
    context: Context
    loop: asyncio.AbstractEventLoop
    deliver: Callable[[object, BaseException | None], None]
    orphan: Callable[[], None] = lambda: None
    state: State = State.QUEUED
    entry: Entry[Job] | None = None
    patience: asyncio.TimerHandle | None = None
    patient: bool = False

    @property
    def whose(self) -> str:
        """The session that it is for; "" for none."""
        errand = self.context.get(ERRAND)
        return errand.session if errand else ""

    def decided(self) -> bool:
        """Whether it is no guess, or not any more."""
        errand = self.context.get(ERRAND)
        return errand.decided() if errand else True

    def settle(self, result: object, error: BaseException | None) -> None:
        """On the loop: it is known what came of it."""
        if self.patience:
            self.patience.cancel()
        self.deliver(result, error)

    def hand_over(self, result: object, error: BaseException | None) -> None:
        """From a worker to the loop of the caller."""
        if error is not None and (isinstance(error, StopIteration) or not isinstance(error, Exception)):
            # A future refuses StopIteration; a CancelledError or SystemExit of the work is none of the caller's task.
            wrapped = RuntimeError(f"the work on a worker thread raised {type(error).__name__}")
            wrapped.__cause__ = error
            error = wrapped
        try:
            self.loop.call_soon_threadsafe(self.settle, result, error)
        except RuntimeError:
            # The loop was closed in the meantime: there is nobody to tell.
            if not self.loop.is_closed():
                raise
