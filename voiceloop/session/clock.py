"""The session's clock, in ticks, and its one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voiceloop.core.audio import RATE


class Clock:
    """With a paced port, the event loop's time; with a stepped one, time passes with frames.

    Begins at zero with `start`.
    """

    def __init__(self, *, stepped: bool) -> None:
        self._stepped = stepped
        self._passed = 0
        self._origin = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Now is zero. Needs a running loop."""
        self._origin = asyncio.get_running_loop().time()

    def now(self) -> int:
        """Ticks since `start`."""
        if self._stepped:
            return self._passed
        return round((asyncio.get_running_loop().time() - self._origin) * RATE)

    def advance(self, n: int) -> None:
        """A frame of n samples has come: at its end everything is fed that it tells."""
        self._passed += n

    def wake(self, now: int, callback: Callable[[], None]) -> None:
        """Calls back at that tick; replaces the call before. A stepped clock needs none: each frame looks at time."""
        self.stop()
        if not self._stepped:
            self._timer = asyncio.get_running_loop().call_at(self._origin + now / RATE, callback)

    def stop(self) -> None:
        """Forgets the timer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
