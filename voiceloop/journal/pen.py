"""Writing on a thread of its own, so that a slow or full disk never keeps a session waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pen(Generic[T]):
    """Calls `write` with each item, in order, and `finish` once at the end, all on a daemon thread.

    most: items that may wait; one more ends the writing, for a recording with a hole in it would not replay.
    What `write` or `finish` raise ends it too. The exit of the process does not wait for it; `close` does.
    """

    def __init__(self, write: Callable[[T], None], finish: Callable[[], None], *, most: int, name: str) -> None:
        self._write = write
        self._finish = finish
        self._most = most
        self._items: deque[T] = deque()
        self._change = threading.Condition()
        self._over = False
        self.trouble: str | None = None
        """Why it ended early: the rest of a sentence."""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T, *, wait_s: float = 0.0) -> bool:
        """One more to write. False if it cannot be: from then on nothing is. wait_s: how long for room, if there is
        none; 0 returns at once."""
        with self._change:
            self._change.wait_for(lambda: self._over or len(self._items) < self._most, wait_s)
            if not self._over and len(self._items) >= self._most:
                self._over, self.trouble = True, "the disk is too slow"
            if not self._over:
                self._items.append(item)
            self._change.notify_all()
            return not self._over

    def close(self, timeout_s: float) -> None:
        """Ends it when all that waits is written. Twice is legal."""
        with self._change:
            self._over = True
            self._change.notify_all()
        self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            try:
                while (item := self._next()) is not None:
                    self._write(item)
            finally:
                self._finish()
        except Exception as exc:  # noqa: BLE001  (whatever it is, the session goes on)
            reason = f"it cannot be written ({exc.strerror})" if isinstance(exc, OSError) else None
            with self._change:
                self._over = True
                self.trouble = self.trouble or reason or f"something is broken in it ({type(exc).__name__})"
                self._items.clear()
                self._change.notify_all()

    def _next(self) -> T | None:
        with self._change:
            self._change.wait_for(lambda: self._items or self._over)
            item = self._items.popleft() if self._items else None
            self._change.notify_all()
            return item
