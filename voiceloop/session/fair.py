"""Who is next: the calls of several sessions to engines that they share, so that each session gets its share.

Start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng, SIGCOMM 1996), with seconds of work instead of bytes: next is
the session that had the least work done so far; who comes, or comes back, begins where the others are, so that nobody
saves up. Within a session it is first come, first served. What a call costs is known when it is done: until then it
counts as much as usual.

A guess (work for a turn that may go on) lets decided work of others go first, but no more than GUESS_S of it: else
one who asks a lot, and everything of it decided, would keep all others waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

GUESS_S = 1.0
"""Seconds of others' decided work that go before a guess. The embedded engines need 0.05 to 0.3 s for a call."""

_FIRST_S = 0.1
"""What a call costs before any is done."""

_KEPT_S = 60.0
"""How long it is remembered what a session had that asks for nothing any more, while others do."""

_NEWEST = 0.1
"""Share of the newest call in what is usual."""


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """A call that waits, or is worked on. decided: asked each time somebody is chosen, as it may change meanwhile."""

    item: T
    whose: str
    decided: Callable[[], bool]
    since: float
    number: int
    charged: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """waiting: calls. oldest_s: how long the first of them has waited. Ever: served, their waiting in seconds, those
    that waited too long."""

    waiting: int = 0
    oldest_s: float = 0.0
    served: int = 0
    waited_s: float = 0.0
    expired: int = 0


@dataclass(slots=True)
class _Share(Generic[T]):
    """Of one session. used: seconds of work, counted from where it came in. last: when it last got any."""

    used: float
    last: float
    waiting: deque[Entry[T]] = field(default_factory=lambda: deque[Entry[T]]())
    running: int = 0

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


class Fair(Generic[T]):
    """The queue. Time is an argument, in seconds of any clock. Not safe between threads. Keeps nothing of a session
    once the others have caught up with it, or _KEPT_S have passed."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share[T]] = {}
        self._floor = 0.0
        self._usual_s = _FIRST_S
        self._numbers = count()
        self._n = 0
        self._served = 0
        self._waited_s = 0.0
        self._expired = 0

    def __len__(self) -> int:
        return self._n

    @property
    def n_shares(self) -> int:
        """Sessions of which something is kept."""
        return len(self._shares)

    def n_of(self, whose: str) -> int:
        """Calls of one session that wait."""
        share = self._shares.get(whose)
        return len(share.waiting) if share else 0

    def load(self, now: float) -> Load:
        """How it is."""
        oldest = min((share.waiting[0].since for share in self._shares.values() if share.waiting), default=now)
        return Load(self._n, now - oldest, self._served, self._waited_s, self._expired)

    def put(self, item: T, whose: str, now: float, decided: Callable[[], bool] = lambda: True) -> Entry[T]:
        """One more. whose: the session. decided: whether it is no guess, or not any more."""
        share = self._shares.setdefault(whose, _Share(self._floor, now))
        if share.idle:
            share.used = max(share.used, self._floor)
        entry = Entry(item, whose, decided, now, next(self._numbers))
        share.waiting.append(entry)
        self._n += 1
        return entry

    def take(self, now: float) -> Entry[T] | None:
        """The next to be worked on, None without any; `done` is to be called when it is."""
        ready = [share for share in self._shares.values() if share.waiting]
        if not ready:
            return None
        share = min(ready, key=_due)
        self._floor = max(self._floor, share.used)
        entry = share.waiting.popleft()
        entry.charged = self._usual_s
        share.used += entry.charged
        share.running += 1
        share.last = now
        self._n -= 1
        self._served += 1
        self._waited_s += now - entry.since
        self._forget(now)
        return entry

    def done(self, entry: Entry[T], took_s: float) -> None:
        """It was worked on for so long, whether or not anybody still wanted it."""
        share = self._shares[entry.whose]
        share.running -= 1
        share.used += took_s - entry.charged
        self._usual_s += (took_s - self._usual_s) * _NEWEST
        self._forget(share.last)

    def remove(self, entry: Entry[T], *, expired: bool = False) -> bool:
        """It is not wanted any more. expired: it waited too long. False if it does not wait."""
        share = self._shares.get(entry.whose)
        if share is None or entry not in share.waiting:
            return False
        share.waiting.remove(entry)
        self._n -= 1
        self._expired += expired
        self._forget(share.last)
        return True

    def clear(self) -> list[T]:
        """Takes out all that wait."""
        waiting = [entry.item for share in self._shares.values() for entry in share.waiting]
        for share in self._shares.values():
            share.waiting.clear()
        self._n = 0
        return waiting

    def _forget(self, now: float) -> None:
        """Drops sessions that have nothing here and are in no debt, or have been away for long; all of them when nobody
        has anything here."""
        if all(share.idle for share in self._shares.values()):
            self._shares.clear()
            self._floor = 0.0
            return

        def kept(share: _Share[T]) -> bool:
            return not share.idle or (share.used > self._floor and now - share.last <= _KEPT_S)

        self._shares = {whose: share for whose, share in self._shares.items() if kept(share)}


def _due(share: _Share[T]) -> tuple[float, int]:
    first = share.waiting[0]
    return share.used + (0.0 if first.decided() else GUESS_S), first.number
