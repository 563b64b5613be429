"""Whether the microphone gives more than a constant: zeros, or a voltage that never moves."""

from __future__ import annotations

from voiceloop.core.audio import RATE, Pcm, ticks

_ALIVE = ticks(0.1)
"""Signal of so long makes a microphone one that works; a click when a device starts does not."""

_HELPED = ticks(1)
"""A microphone that gives signal so soon after it was opened again does so because of that."""

_MORE = 10
_MOST = 3600 * RATE


class Vitals:
    """Notices a microphone that had signal and gives none any more, once for each time.

    That may be a driver that hangs, and then opening it again helps; or somebody pressed a mute key, or the headset
    gates its microphone, and then it is legal. Nobody can tell which by looking. So it is said once, opening is tried
    once, and each time it turns out to be legal (signal comes back, and not because it was opened again), the patience
    for the next time is ten times as long, up to an hour: neither notices nor attempts in a loop.
    """

    def __init__(self, dead_s: float) -> None:
        self._shortest = self._patience = ticks(dead_s)
        self._alive = 0
        self._dead = 0
        self._told = False
        self._since: int | None = None

    @property
    def dead(self) -> bool:
        """Whether it is silent in a way that no working microphone is, and this was told."""
        return self._told

    @property
    def wants_help(self) -> bool:
        """Whether it is dead, and opening it again was not tried."""
        return self._told and self._since is None

    def see(self, mic: Pcm) -> bool:
        """One frame. True if it has just been dead for too long."""
        if mic[0] != mic[-1] or mic.min() != mic.max():
            self._live(mic.size)
            return False
        self._dead += mic.size
        if self._since is not None:
            self._since += mic.size
        if self._told or not self._patience or self._alive < _ALIVE or self._dead < self._patience:
            return False
        self._told = True
        return True

    def opened_again(self) -> None:
        """That was tried now."""
        self._since = 0

    def _live(self, n: int) -> None:
        if self._told:
            helped = self._since is not None and self._since < _HELPED
            self._patience = self._shortest if helped else min(_MORE * self._patience, _MOST)
        self._told, self._since, self._dead = False, None, 0
        self._alive = min(self._alive + n, _ALIVE)
