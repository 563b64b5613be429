"""A few microphones at a time: so that a server which hears many has time for those it answers."""

from __future__ import annotations

import asyncio
from collections import deque

_EACH_PASS = 3
"""Each step of an answer, a few for each message of a service, waits for all that happens in a pass. With 100 sessions
on one core the slowest twentieth of the answers came 68 to 197 ms later than alone when all microphones were heard at
once, 33 to 68 with three at a time (benchmarks/bridge.py)."""


class Turnstile:
    """Wakes those who wait, in the order in which they came, a few with each pass of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Its result is set soon. Once for each."""
        if self._loop is None:
            self._loop = waiter.get_loop()
            self._loop.call_soon(self._turn)
        self._waiting.append(waiter)

    def _turn(self) -> None:
        for _ in range(min(_EACH_PASS, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():  # it may have been cancelled
                waiter.set_result(None)
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._turn)
        else:
            self._loop = None
