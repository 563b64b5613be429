"""News for the outside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from voiceloop.core import events as ev
from voiceloop.ports import Observer
from voiceloop.session.latency import Stopwatch

log = logging.getLogger("voiceloop.session")

_LEVEL_EVERY = 5


@dataclass(frozen=True, slots=True)
class Level:
    """The microphone, ten times a second: level in dBFS and probability of speech (None: somebody else judges that)."""

    db: float
    p: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Engines are warm, devices are open: from now on the session listens."""

    session: str


@dataclass(frozen=True, slots=True)
class Volume:
    """How loud everything is said from now on, 0..1."""

    volume: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A reply that has the floor is synthesized to its end: n samples, at the port's rate. It may still be heard for a
    while."""

    reply: int
    n: int


class News:
    """Tells observers the news among the actions, levels, and the latency of each turn.

    strict: an observer that raises ends the session; otherwise it is logged, and told the next event.
    """

    def __init__(self, observers: Sequence[Observer], *, strict: bool) -> None:
        self._observers = list(observers)
        self._strict = strict
        self._stopwatch = Stopwatch()
        self._frames = 0

    def add(self, observer: Observer) -> None:
        """One more observer."""
        self._observers.append(observer)

    def see(self, now: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        """One step of the core."""
        if isinstance(event, ev.Voice):
            self._frames += 1
            if self._frames % _LEVEL_EVERY == 0:
                self.tell(Level(event.level_db, event.p))
            if not actions:
                return
        latency = self._stopwatch.see(now, event, actions)
        for action in actions:
            if isinstance(action, ev.News):
                self.tell(action)
        if latency is not None:
            self.tell(latency)

    def tell(self, event: object) -> None:
        """One event to all."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception as exc:
                if self._strict:
                    raise
                log.error("an observer failed with %s on %s", type(exc).__name__, type(event).__name__)
