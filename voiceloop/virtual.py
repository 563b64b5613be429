"""An event loop on which time passes only while everything waits: conversations of minutes in moments."""

from __future__ import annotations

import asyncio
import selectors


class _Jump(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock to it. Real file descriptors and threads are still waited for
    when no timer is set."""

    clock = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None and timeout > 0:
            self.clock += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everything waits."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jump.clock

    def jump(self, n_s: float) -> None:
        """Time passes while the loop is kept from running, as when a call blocks it."""
        self._jump.clock += n_s
