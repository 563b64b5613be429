"""Machine: whether there is a device, and whether its frames still come. Runs on `now`, the session's clock."""

from __future__ import annotations

from voiceloop.core.policy import Policy


class Watch:
    """Knows when the last frame came, and when to look again; that is not moved with every frame."""

    def __init__(self) -> None:
        self.frame = 0
        self.lost: int | None = None
        """Since when there is no device; None: there is one."""
        self.late = False
        """While there is none: whether its frames will come later."""
        self._due: int | None = None

    def stalled(self, now: int, policy: Policy) -> bool:
        """Whether no frame has come for too long."""
        return not self.late and now - self.frame >= policy.stalled

    def due(self, now: int, policy: Policy, *, matters: bool) -> int | None:
        """When to look again, or None if it does not matter."""
        if not matters:
            self._due = None
        elif self._due is None or now >= self._due:
            self._due = self.frame + policy.stalled
        return self._due
