"""Whether a service is worth asking, and how long its answers usually take. Pure: the time is an argument, in seconds
of any one clock."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Breaker:
    """A circuit breaker: closed it lets all calls through, open none, half open one, the trial, at a time.

    It opens after `failures` of them within `window_s`, or at once where waiting will not help, as with a wrong key;
    then for `refused_s` at least. Each trial that fails doubles the pause, up to `longest_s`.
    """

    def __init__(
        self,
        *,
        failures: int = 2,
        window_s: float = 60.0,
        pause_s: float = 5.0,
        refused_s: float = 60.0,
        longest_s: float = 300.0,
    ) -> None:
        self._failures = failures
        self._window_s = window_s
        self._shortest_s = pause_s
        self._refused_s = refused_s
        self._longest_s = longest_s
        self._times: deque[float] = deque(maxlen=failures)
        self._pause_s = 0.0
        self._until = -math.inf
        self._trying = False

    def state(self, now: float) -> State:
        """closed, open, or half open."""
        if not self._pause_s:
            return "closed"
        return "open" if now < self._until else "half_open"

    def ready(self, now: float) -> bool:
        """Whether a call may be made; changes nothing."""
        state = self.state(now)
        return state == "closed" or (state == "half_open" and not self._trying)

    def begin(self, now: float) -> bool:
        """A call is made, let through or not. Whether it is the trial: then one of the three below has to follow."""
        if self.state(now) != "half_open" or self._trying:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """A good answer: closed."""
        self._times.clear()
        self._pause_s, self._trying = 0.0, False

    def failed(self, now: float, *, heals: bool = True) -> None:
        """No answer, or a bad one. heals: trying again may help."""
        self._times.append(now)
        if self._pause_s:
            if self._trying or not heals:
                self._open(now, max(2 * self._pause_s, 0.0 if heals else self._refused_s))
        elif not heals:
            self._open(now, self._refused_s)
        elif len(self._times) == self._failures and now - self._times[0] <= self._window_s:
            self._open(now, self._shortest_s)

    def dropped(self) -> None:
        """A call ended without saying anything about the service: the next one may be the trial."""
        self._trying = False

    def _open(self, now: float, pause_s: float) -> None:
        self._pause_s = min(pause_s, self._longest_s)
        self._until = now + self._pause_s
        self._trying = False


class Usual:
    """How long answers take as a rule: the 95th percentile of the last `n` of them, never below `floor_s`.

    first_s: what it is taken for until there are `enough`.
    """

    def __init__(self, *, first_s: float = 2.0, floor_s: float = 0.3, enough: int = 10, n: int = 60) -> None:
        self._first_s = first_s
        self._floor_s = floor_s
        self._enough = enough
        self._took: deque[float] = deque(maxlen=n)

    def add(self, seconds: float) -> None:
        """One answer took so long; of one that was not waited for, what was waited."""
        self._took.append(seconds)

    @property
    def p95_s(self) -> float:
        """Seconds."""
        if len(self._took) < self._enough:
            return self._first_s
        return max(self._floor_s, sorted(self._took)[math.ceil(0.95 * len(self._took)) - 1])
