"""Daemon threads for models and blocking handlers, behind `ports.Runner`.

A thread cannot be cancelled. So a call that is cancelled or late is *abandoned*: its thread is left to finish alone,
counted, and replaced, so that the other calls go on. While `max_abandoned` are unfinished nothing new is taken in.
A thread that finishes after all is used again, or ends if its place is taken; the count goes down.

Calls that wait for a thread stand in a `fair.Fair`: each session (`ports.ERRAND` names it) gets its share.

Not ThreadPoolExecutor and not asyncio.to_thread: the exit of the interpreter joins their threads (Ctrl-C waited 8 s
for an 8 s call). These get GRACE_S in all to finish. Without any grace the process dies of SIGABRT (3 of 4 trials)
when a thread comes back from a native library while the interpreter shuts down: before Python 3.14 the interpreter then
ends that thread by unwinding through C++ that does not allow it ("terminate called without an active exception").
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeVar, cast
from weakref import WeakSet

from voiceloop.errors import Busy, Late
from voiceloop.session.fair import Fair, Load
from voiceloop.session.job import Job, State

T = TypeVar("T")

AHEAD = 3
"""Items of a stream that are made before anyone asks for them."""

CLOSING_S = 5.0
"""How long an iterator whose consumer has gone may take to close before its thread counts as stuck."""

GRACE_S = 0.5
"""How long the end of the process waits, at most and in all, for threads that are at work."""


class Workers:
    """`n_threads` daemon threads named `{name}-1`, `-2` ..., started when they are needed.

    max_queue: calls of one session that may wait for a thread; one more raises Busy. max_wait_s: who waits longer than
    that for a thread raises Busy, None: any time. max_abandoned: see the header.
    There are never more than n_threads + max_abandoned threads. `close` it at the end; it does not wait, and the end
    of the process waits GRACE_S at most. Calls may come from several loops.
    """

    def __init__(
        self,
        n_threads: int = 2,
        *,
        max_queue: int = 16,
        max_wait_s: float | None = None,
        max_abandoned: int = 4,
        name: str = "voiceloop-worker",
    ) -> None:
        if n_threads < 1 or max_queue < 0 or max_abandoned < 0:
            raise ValueError("n_threads must be at least 1, max_queue and max_abandoned at least 0")
        self._n_threads = n_threads
        self._max_queue = max_queue
        self._max_wait_s = max_wait_s
        self._max_abandoned = max_abandoned
        self._name = name
        self._changed = threading.Condition()
        self._queue = Fair[Job]()
        self._n_serving = 0
        self._n_running = 0
        self._n_abandoned = 0
        self._n_started = 0
        self._closed = False
        _open.add(self)

    @property
    def n_abandoned(self) -> int:
        """Calls that nobody waits for any more and whose threads have not finished."""
        with self._changed:
            return self._n_abandoned

    @property
    def n_threads(self) -> int:
        """Threads alive now, stuck ones included."""
        with self._changed:
            return self._n_serving + self._n_abandoned

    @property
    def load(self) -> Load:
        """Of the queue."""
        with self._changed:
            return self._queue.load(time.monotonic())

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        """fn() on a worker thread, in a copy of the caller's context.

        timeout_s covers the wait for a thread too. Raises Busy at once if no worker can take it, Late after
        timeout_s, and whatever fn raises (RuntimeError in place of StopIteration and of what is no Exception).
        When cancelled or late, a call that still waits is withdrawn, one that runs is abandoned.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()

        def deliver(result: object, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        job = Job(fn, copy_context(), loop, deliver)
        self._admit(job)
        try:
            return cast("T", await _within(future, timeout_s))
        finally:
            self._drop(job)

    async def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        """The items of fn(), each made on a worker thread, at most AHEAD before they are asked for.

        fn and each next() are jobs of their own, so that a consumer that pauses holds no thread; two items may come
        from two threads, never at the same time. timeout_s is for each item. When the consumer stops, the iterator is
        closed on a worker (after the item under way, if there is one). Raises as `call` does.
        """
        flow = _Flow(self, fn)
        try:
            while True:
                flow.advance()
                while not flow.ready:
                    await _within(flow.arrival(), timeout_s)
                for item in flow.take():
                    yield item
                if flow.ended:
                    return
        finally:
            flow.stop()

    def close(self) -> None:
        """Takes in nothing more; calls that still wait for a thread raise Busy; running ones are left alone.

        May be called twice, and from any thread. Does not wait.
        """
        with self._changed:
            self._closed = True
            waiting = self._queue.clear()
            for job in waiting:
                job.state = State.DONE
            self._changed.notify_all()
        for job in waiting:
            job.hand_over(None, Busy("the workers are closed"))

    def _admit(self, job: Job) -> None:
        """Queues new work, or raises Busy."""
        with self._changed:
            if self._closed:
                raise Busy("the workers are closed")
            if self._n_abandoned >= max(1, self._max_abandoned):
                raise Busy(
                    f"{self._n_abandoned} earlier calls are stuck in an engine or handler; "
                    "wait for them or restart, and give what blocks a deadline"
                )
            n = self._queue.n_of(job.whose)
            if n >= self._max_queue + self._n_threads - self._n_running:
                raise Busy(f"{n} calls already wait for {self._n_threads} worker threads")
            self._enqueue(job)

    def _resume(self, job: Job) -> bool:
        """Queues the next step of work that is already admitted: at most one for each stream, so never refused
        for want of room. False if the workers are closed."""
        with self._changed:
            if not self._closed:
                self._enqueue(job)
            return not self._closed

    def _enqueue(self, job: Job) -> None:
        job.entry = self._queue.put(job, job.whose, time.monotonic(), job.decided)
        if self._max_wait_s is not None and not job.patient:
            job.patience = job.loop.call_later(self._max_wait_s, self._expire, job)
        self._changed.notify()
        self._staff()

    def _expire(self, job: Job) -> None:
        """It has waited too long for a thread."""
        with self._changed:
            if job.entry is None or not self._queue.remove(job.entry, expired=True):
                return
            job.state, job.entry = State.DONE, None
        job.settle(None, Busy(f"no thread was free within {self._max_wait_s:g} s: too many sessions, try again later"))

    def _staff(self) -> None:
        """Starts a thread if there is more work than idle threads, and a place for it."""
        # A thread that was started or notified is idle until it gets the lock, so the queue is compared, not zero.
        n_idle = self._n_serving - self._n_running
        if len(self._queue) <= n_idle or self._n_serving >= self._n_threads:
            return
        if self._n_serving + self._n_abandoned >= self._n_threads + self._max_abandoned:
            return
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._n_started + 1}", daemon=True)
        thread.start()
        _threads.add(thread)
        self._n_started += 1
        self._n_serving += 1

    def _drop(self, job: Job) -> bool:
        """Nobody wants the result any more. True if the job is running, and so will call `orphan`."""
        with self._changed:
            if job.state is State.QUEUED:
                job.state = State.DONE
                if job.patience:
                    job.patience.cancel()
                if job.entry:
                    self._queue.remove(job.entry)  # nothing if `close` came first
                    job.entry = None
            elif job.state is State.RUNNING:
                job.state = State.ABANDONED
                self._n_running -= 1
                self._n_serving -= 1
                self._n_abandoned += 1
                self._staff()
            return job.state is State.ABANDONED

    def _work(self) -> None:
        """The life of one thread."""
        while (job := self._next()) is not None:
            result: object = None
            error: BaseException | None = None
            began = time.monotonic()
            try:
                result = job.context.run(job.fn)
            except BaseException as exc:  # noqa: BLE001  it is handed to the caller
                error = exc
            stay = self._finish(job, result, error, time.monotonic() - began)
            # An idle thread must not keep the last audio, or the frames of a traceback, alive.
            del job, result, error
            if not stay:
                return

    def _next(self) -> Job | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if not self._queue:
                self._n_serving -= 1
                return None
            self._n_running += 1
            entry = self._queue.take(time.monotonic())
            assert entry is not None
            entry.item.state = State.RUNNING
            return entry.item

    def _finish(self, job: Job, result: object, error: BaseException | None, took_s: float) -> bool:
        """Delivers the result, or clears up after an abandoned job. False if this thread's place is taken."""
        with self._changed:
            if job.entry:
                self._queue.done(job.entry, took_s)
                job.entry = None  # it holds the job
            abandoned = job.state is State.ABANDONED
            self._n_running -= not abandoned
            job.state = State.DONE
        if not abandoned:
            job.hand_over(result, error)
            return True
        # An iterator that fails to close, of a call that nobody waits for: there is nobody to tell.
        with suppress(BaseException):
            job.context.run(job.orphan)
        with self._changed:
            self._n_abandoned -= 1
            stay = self._n_serving < self._n_threads and not self._closed
            self._n_serving += stay
            return stay


class _Flow(Generic[T]):
    """One stream: items that are ready, and at most one job that makes the next. Lives on the loop."""

    def __init__(self, workers: Workers, fn: Callable[[], Iterator[T]]) -> None:
        self._workers = workers
        self._fn = fn
        self._items: Iterator[T] | None = None
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._ready: deque[T] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._job: Job | None = None
        self._begun = self._exhausted = False
        self._error: BaseException | None = None

    @property
    def ready(self) -> bool:
        """True if `take` has something to give, or the stream is over."""
        return bool(self._ready) or self._exhausted

    @property
    def ended(self) -> bool:
        """True if nothing more will come."""
        return self._exhausted and not self._ready

    def arrival(self) -> asyncio.Future[None]:
        """Done when something has arrived."""
        self._arrival = self._loop.create_future()
        return self._arrival

    def take(self) -> Iterator[T]:
        """What is ready, making room for more as it goes. Raises what the iterator raised, after its items."""
        while self._ready:
            item = self._ready.popleft()
            self.advance()
            yield item
        if self._exhausted and self._error is not None:
            raise self._error

    def advance(self) -> None:
        """Has the next item made if there is room for it."""
        if self._job is not None or self._exhausted or len(self._ready) >= AHEAD:
            return
        self._job = Job(self._step, self._context, self._loop, self._receive, self._close)
        if not self._begun:
            self._begun = True
            self._workers._admit(self._job)  # pyright: ignore[reportPrivateUsage]  two classes, one secret
        elif not self._workers._resume(self._job):  # pyright: ignore[reportPrivateUsage]
            self._receive(None, Busy("the workers are closed"))

    def stop(self) -> None:
        """The consumer has gone: has the iterator closed on a worker."""
        job, self._job = self._job, None
        running = job is not None and self._workers._drop(job)  # pyright: ignore[reportPrivateUsage]
        if self._exhausted or running or not hasattr(self._items, "close"):
            return
        self._exhausted = True
        closing = Job(self._close, self._context, self._loop, lambda _result, _error: patience.cancel(), patient=True)
        patience = self._loop.call_later(CLOSING_S, self._workers._drop, closing)  # pyright: ignore[reportPrivateUsage]
        if not self._workers._resume(closing):  # pyright: ignore[reportPrivateUsage]
            patience.cancel()

    def _step(self) -> tuple[bool, T | None]:
        """On a worker: (True, item), or (False, None) at the end."""
        if self._items is None:
            self._items = iter(self._fn())
        for item in self._items:
            return True, item
        return False, None

    def _close(self) -> None:
        """On a worker. Only generators have something to close."""
        close = getattr(self._items, "close", None)
        if close is not None:
            close()

    def _receive(self, result: object, error: BaseException | None) -> None:
        if self._job is None:
            return
        self._job = None
        more, item = cast("tuple[bool, T]", result) if error is None else (False, None)
        if more:
            self._ready.append(cast("T", item))
            self.advance()
        else:
            self._exhausted, self._error = True, error
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


async def _within(future: asyncio.Future[T], timeout_s: float | None) -> T:
    """The result of the future, or Late. A TimeoutError that the work itself raises stays what it is."""
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await future
    except TimeoutError:
        if not deadline.expired():
            raise
    raise Late(f"no result within {timeout_s:g} s")


_open: WeakSet[Workers] = WeakSet()
_threads: WeakSet[threading.Thread] = WeakSet()


@atexit.register
def _leave() -> None:
    """Lets the threads end before the interpreter does, as far as they can within GRACE_S."""
    for workers in list(_open):
        workers.close()
    until = time.monotonic() + GRACE_S
    for thread in list(_threads):
        thread.join(max(0.0, until - time.monotonic()))
