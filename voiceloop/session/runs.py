"""The tasks of one session: born in its TaskGroup, one for each run, cancelled by nobody else."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager

from voiceloop.core.events import Failed, Notice, Stage
from voiceloop.errors import ProviderError, VoiceloopError
from voiceloop.ports import ERRAND, Errand

log = logging.getLogger("voiceloop.session")

_REMEMBERED = 4
"""Decided turns that are remembered; work for older ones is none that others would have to wait for."""


class Runs:
    """Starts runs, drops them, and turns whatever goes wrong in one into a `Failed` input.

    strict: a bug raises, and ends the session, as tests want it; otherwise it fails its turn only.
    """

    def __init__(
        self,
        session: str,
        feed: Callable[[Failed], None],
        *,
        strict: bool,
        tell: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        """tell: is given what an engine has to say though its run may succeed."""
        self._session = session
        self._feed = feed
        self._tell = tell
        self._strict = strict
        self._group: asyncio.TaskGroup | None = None
        self._closed = False
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._decided: set[int] = set()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def attach(self, group: asyncio.TaskGroup) -> None:
        """The group in which all tasks are born from now on."""
        self._group = group

    def start(
        self, run: int, stage: Stage, turn: int | None, work: Coroutine[None, None, None], *, reply: int | None = None
    ) -> None:
        """Begins a run; after `close` it is closed instead. reply: of which it becomes a part."""
        decided = self._decided
        sure = (lambda: True) if turn is None else lambda: turn in decided
        errand = Errand(self._session, turn, reply, lambda text: self._say(stage, text), sure)
        if task := self.spawn(self._guard(run, stage, errand, work), f"{stage} {run}"):
            self._tasks[run] = task
            self._enter()
            task.add_done_callback(lambda _: self._finished(run, work))
        else:
            work.close()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None] | None:
        """A task of the session that is not a run; who asks for it cancels it. After `close` there are none."""
        if self._closed or self._group is None:
            work.close()
            return None
        return self._group.create_task(work, name=name)

    def decide(self, turn: int, on: bool = True) -> None:
        """The turn is decided, so that its work is no guess any more; or it goes on after all."""
        if on:
            self._decided.add(turn)
        else:
            self._decided.discard(turn)
        if len(self._decided) > _REMEMBERED:
            self._decided.discard(min(self._decided))

    def drop(self, run: int) -> None:
        """Cancels a run, if it still goes on."""
        if task := self._tasks.get(run):
            task.cancel()

    def close(self) -> None:
        """Begins no more, and cancels all there are; the group joins them."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Around a wait for playback: such a run does not keep a stepped port from giving its next frame."""
        self._leave()
        try:
            yield
        finally:
            self._enter()

    @property
    def busy(self) -> bool:
        """Whether a run is at work."""
        return self._busy > 0

    async def settled(self) -> None:
        """Waits until no run is at work, and all that follows from the last one has been done."""
        while True:
            await self._quiet.wait()
            for _ in range(4):  # a chunk travels buffer -> writer -> port in as many steps of the loop
                await asyncio.sleep(0)
            if not self._busy:
                return

    def _enter(self) -> None:
        self._busy += 1
        self._quiet.clear()

    def _leave(self) -> None:
        self._busy -= 1
        if self._busy == 0:
            self._quiet.set()

    def _finished(self, run: int, work: Coroutine[None, None, None]) -> None:
        work.close()  # a task that is cancelled before its first step never began it
        del self._tasks[run]
        self._leave()

    def _say(self, stage: Stage, text: str) -> None:
        if not self._closed:
            self._tell(Notice("stt" if stage == "score" else stage, text))

    async def _guard(self, run: int, stage: Stage, errand: Errand, work: Coroutine[None, None, None]) -> None:
        ERRAND.set(errand)
        try:
            await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and not task.cancelling():  # not by us: a future of the engine's own was
                self._feed(Failed(run, stage, f"The {stage} stage gave up.", retryable=True))
            raise
        except ProviderError as exc:
            self._feed(Failed(run, stage, str(exc), exc.retryable))
        except VoiceloopError as exc:
            self._feed(Failed(run, stage, str(exc)))
        except Exception as exc:
            if self._strict:
                raise
            # The message of an unknown exception may quote what was said, so only its place is logged.
            where = "".join(traceback.format_tb(exc.__traceback__))
            log.error("bug in %s: %s\n%s", stage, type(exc).__name__, where)
            self._feed(Failed(run, stage, f"Something is broken in the {stage} stage ({type(exc).__name__})."))
