"""Machine: dead air. Runs on `now`, the session's clock."""

from __future__ import annotations


class Silence:
    """Knows since when the user waits for a reply, and says once per wait that it is time for a sign of life."""

    def __init__(self) -> None:
        self._since: int | None = None
        self._told = False

    def step(self, now: int, *, waiting: bool, after: int) -> bool:
        """Whether a sign of life is due. waiting: a turn is decided and nothing is heard of its reply."""
        if not waiting:
            self._since, self._told = None, False
            return False
        if self._since is None:
            self._since = now
        if self._told or now - self._since < after:
            return False
        self._told = True
        return True

    def due(self, after: int) -> int | None:
        """When to look again, or None."""
        return self._since + after if self._since is not None and not self._told else None
