"""How much at once, and how often: a bounded line before the work, and a number of requests a minute for each key."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from voiceloop.session.fair import Load
from voiceloop.wire.speech_errors import too_many

_MAX_KEYS = 10_000
"""Whose rates are remembered; the one that was silent longest is forgotten."""


class Rates:
    """Requests a minute for each key: a bucket of `per_minute` tokens that fills evenly. 0: any number."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, key: str) -> None:
        """One request more. Raises Refusal with the time after which there would be room."""
        if not self._per_minute:
            return
        now = self._clock()
        tokens, at = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(float(self._per_minute), tokens + (now - at) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens), now
        if len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = (1 - tokens) * 60 / self._per_minute
            raise too_many(f"More than {self._per_minute} requests a minute with this key.", wait_s)


class Ticket:
    """A place in the line of a `Line`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._began: float | None = None

    async def turn(self) -> None:
        """Returns when it is this request's turn. Raises Refusal after the longest wait."""
        self._began = await self._line.wait()

    def leave(self) -> None:
        """The work is done, or given up. Called by the line itself."""
        if self._began is not None:
            self._line.free(self._began)


class Line:
    """At most `at_once` requests are worked on, `queue` more wait, first come, first served.

    per_key: how many of them may have one key; 0: all. wait_s: longest wait.
    """

    def __init__(self, at_once: int, queue: int, per_key: int, wait_s: float, clock: Callable[[], float]) -> None:
        self._room = at_once + queue
        self._at_once = at_once
        self._per_key = per_key or self._room
        self._wait_s = wait_s
        self._clock = clock
        self._places = asyncio.Semaphore(at_once)
        self._present: Counter[str] = Counter()
        self._usual_s = 1.0
        self._waiting: dict[object, float] = {}
        self._past = Load()

    @property
    def n_present(self) -> int:
        """Requests that are worked on or wait."""
        return self._present.total()

    @property
    def load(self) -> Load:
        """Of those that wait."""
        now = self._clock()
        oldest = next(iter(self._waiting.values()), now)
        return replace(self._past, waiting=len(self._waiting), oldest_s=now - oldest)

    @asynccontextmanager
    async def join(self, key: str) -> AsyncGenerator[Ticket, None]:
        """A place for as long as the context is open. Raises Refusal at once when there is none."""
        if self.n_present >= self._room:
            raise too_many("The server is busy and its queue is full.", self._guess_s(), "queue_full")
        if self._present[key] >= self._per_key:
            raise too_many(
                f"{self._per_key} requests with this key are under way.", self._guess_s(), "too_many_at_once"
            )
        self._present[key] += 1
        ticket = Ticket(self)
        try:
            yield ticket
        finally:
            ticket.leave()
            self._present[key] -= 1
            self._present += Counter()  # forgets keys that have nothing here

    async def wait(self) -> float:
        """A place to work; since when. Raises Refusal."""
        who, came = object(), self._clock()
        self._waiting[who] = came
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError:
            self._past = replace(self._past, expired=self._past.expired + 1)
            raise too_many(
                f"The server is busy: no place within {self._wait_s:g} s.", self._guess_s(), "queue_timeout"
            ) from None
        finally:
            del self._waiting[who]
        now, past = self._clock(), self._past
        self._past = replace(past, served=past.served + 1, waited_s=past.waited_s + now - came)
        return now

    def free(self, began: float) -> None:
        """Gives a place back, and remembers how long one is needed."""
        self._usual_s += (self._clock() - began - self._usual_s) * 0.2
        self._places.release()

    def _guess_s(self) -> float:
        """When who is present now will be through, as far as the last requests tell."""
        return min(60.0, max(1.0, self._usual_s * self.n_present / self._at_once))
