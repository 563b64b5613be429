"""Machine: microphone frames -> segments and turns. Runs on `at`, the microphone clock, and owns it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.endpointing import ended
from voiceloop.core.events import Voice
from voiceloop.core.gate import Gate
from voiceloop.core.policy import Policy

_CUT_FROM = ticks(2)
"""A segment that grew too long is cut at the quietest place of its last two seconds."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A segment began."""

    turn: int
    start: int
    policy: Policy
    continues: bool


@dataclass(frozen=True, slots=True)
class Paused:
    """The speaker is silent for the moment; [context, end) holds the words so far."""

    turn: int
    rev: int
    context: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The speaker went on; what was made of the words so far is stale."""

    turn: int
    rev: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The turn is decided."""

    turn: int
    rev: int
    context: int
    start: int
    end: int
    waited: int
    cause: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The segment was too short to be speech."""

    turn: int
    reason: str


Fact = Opened | Paused | Resumed | Closed | Rejected


@dataclass(slots=True)
class _Segment:
    turn: int
    rev: int
    policy: Policy
    context: int
    start: int
    fresh: bool
    voiced: int = 0
    end: int | None = None


class Hearing:
    """At most one segment is open. Segments do not overlap; pre-roll may reach back to the end of the last one."""

    def __init__(self, policy: Policy) -> None:
        self.at = 0
        self.policy = policy
        self._gate = Gate(on=policy.on, off=policy.off, onset=policy.onset, hangover=policy.pause)
        self._segment: _Segment | None = None
        self._turn = 0
        self._free = 0
        self._deaf_until = 0
        self._levels: deque[tuple[int, float]] = deque(maxlen=_CUT_FROM // FRAME)

    @property
    def speaking(self) -> bool:
        """Whether a person has the floor: a segment is open that began, or went on, after some silence.

        The rest of a segment that was cut at its maximum length does not count: noise that never ends must not
        silence the replies.
        """
        return self._segment is not None and self._segment.fresh

    @property
    def open_turn(self) -> int | None:
        """The turn of the open segment."""
        return self._segment.turn if self._segment else None

    def configure(self, policy: Policy) -> None:
        """Takes effect with the next segment."""
        self.policy = policy
        if self._segment is None:
            self._retune()

    def new_turn(self) -> int:
        """A turn id for words that were not heard but typed."""
        self._turn += 1
        return self._turn

    def voice(self, frame: Voice, *, deaf: bool) -> list[Fact]:
        """One frame. deaf: what is heard now may be our own reply, so that nothing may begin."""
        self.at += frame.n
        self._levels.append((self.at, frame.level_db))
        if deaf:
            self._deaf_until = self.at + self.policy.deaf_tail
        deaf = deaf or self.at < self._deaf_until
        if self._segment is None and deaf:
            self._gate.reset()
            return []
        self._gate.step(self.at, frame.n, 0.0 if deaf else frame.p)
        if self._segment is None:
            return [self._open()] if self._gate.voiced else []
        return self._continue(self._segment, frame.n)

    def commit(self) -> list[Fact]:
        """Closes the open segment where it is."""
        return [self._close(self._segment, self._segment.end or self.at, "commit")] if self._segment else []

    def close(self) -> list[Fact]:
        """The session ends: the open segment was none."""
        segment, self._segment = self._segment, None
        return [Rejected(segment.turn, "closed")] if segment else []

    def _open(self) -> Fact:
        start = max(self._gate.since, self._free)
        fresh = self._gate.since >= self._free
        self._segment = _Segment(
            turn=self.new_turn(),
            rev=0,
            policy=self.policy,
            context=max(start - self.policy.pre_roll, self._free, 0),
            start=start,
            fresh=fresh,
            voiced=self.at - start,
        )
        return Opened(self._turn, start, self.policy, continues=not fresh)

    def _continue(self, segment: _Segment, n: int) -> list[Fact]:
        if self._gate.voiced:
            return self._speak(segment, n)
        if segment.end is None:
            segment.end = self.at
            if segment.voiced < segment.policy.min_speech:
                return []
            return [Paused(segment.turn, segment.rev, segment.context, segment.start, self.at)]
        quiet = self.at - self._gate.last
        over = self.at - segment.start >= segment.policy.max_turn
        if over or ended(segment.policy, quiet=quiet, doubt=self.at - self._gate.doubt):
            return [self._close(segment, segment.end, "cap" if over else "silence")]
        return []

    def _speak(self, segment: _Segment, n: int) -> list[Fact]:
        facts: list[Fact] = []
        if self._gate.last == self.at:  # the hangover is not speech
            segment.voiced += n
        if segment.end is not None:
            segment.end = None
            segment.rev += 1
            segment.fresh = True
            facts.append(Resumed(segment.turn, segment.rev))
        if self.at - segment.start >= segment.policy.max_turn:
            facts.append(self._close(segment, self._quiet_place(segment), "cap"))
        return facts

    def _quiet_place(self, segment: _Segment) -> int:
        half = max(segment.start, self.at - segment.policy.max_turn // 2)
        return min(((level, at) for at, level in self._levels if at > half), default=(0.0, self.at))[1]

    def _close(self, segment: _Segment, end: int, cause: str) -> Fact:
        self._segment = None
        waited = self.at - self._gate.last
        self._retune()
        if segment.voiced < segment.policy.min_speech:
            return Rejected(segment.turn, "too short")  # its samples stay free: they may begin the next one
        self._free = end
        return Closed(segment.turn, segment.rev, segment.context, segment.start, end, waited, cause)

    def _retune(self) -> None:
        p = self.policy
        self._gate.tune(on=p.on, off=p.off, onset=p.onset, hangover=p.pause)
