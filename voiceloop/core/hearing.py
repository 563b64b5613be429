"""Machine: microphone frames -> segments and turns. Runs on `at`, the microphone clock, and owns it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from voiceloop.core.audio import FRAME, SILENCE_DB, ticks
from voiceloop.core.endpointing import ended, in_no_hurry
from voiceloop.core.events import Voice
from voiceloop.core.gate import Gate
from voiceloop.core.loudness import Loudness
from voiceloop.core.policy import Policy
from voiceloop.core.selfspeech import Voiced

_STIR_DB = 9.0
"""A frame so much above the quietest of the pause may be the first sound of what follows; the VAD knows later."""

_BACKGROUND = ticks(1.5)
_BEHIND_DB = 6.5
"""A voice that for so long was never louder than so far below the speaker's level is not his: a television, a party.
Whoever speaks reaches his level a few times a second: in nine of ten recordings he never stays 5.3 dB below it, and
babble that is 10 dB below him is 7.8 dB or more below it (tuning half of the recordings, benchmarks/turns.py)."""

_FAR_BEHIND_DB = 10.0
"""The same while little of his voice is known: the first word is often the loudest."""

_RISE = ticks(0.9)
"""So much voice within that time is needed to tell: behind 9 of 136 pauses of 1.2 s a speaker who went on softly seemed
to be far behind himself; babble is voice for most of the time (tuning half of the recordings, benchmarks/turns.py)."""

_OVER_DB = 2.0
"""What the background may be louder than it was then and still be the background."""

_SELDOM = 5
"""Frames from one look for a background to the next."""

_LULL = FRAME
"""Unvoiced time after which a word may be over. It is too short to be a pause, but the word can be looked at."""

_OFTEN = ticks(0.1)
_OFTEN_TIMES = 3
"""After the first look so many come so soon: who only says a word or two has said them by then. Later they are few,
because what is tried for a turn is limited, and noise may go on."""

_CALM = ticks(3)
"""After so long without any voice there is no background any more."""

_RESIDUE, _RESIDUE_DB = 0.7, -60.0
"""What is rather our own echo than this, and quieter, nobody says: a canceller leaves such scraps where the path has
just changed. People over an echo are louder."""


Heed = Literal["open", "shut", "held"]
"""open: silence ends a turn. shut: nothing begins (the key of push-to-talk is up; pre-roll may still reach back into
it). held: it is down, and no silence ends anything."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A segment began; reopened: one that had been decided goes on, from `start`."""

    turn: int
    rev: int
    start: int
    policy: Policy
    continues: bool
    reopened: bool


@dataclass(frozen=True, slots=True)
class Spoke:
    """The speaker goes on, or is about to pause, and it is time to look at his words since he began: [context, end)."""

    turn: int
    context: int
    start: int
    end: int
    spoken: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The speaker is silent for the moment; [context, end) holds the words so far. spoken: voiced ticks since `new`,
    where the segment began or was reopened."""

    turn: int
    rev: int
    context: int
    start: int
    end: int
    new: int
    spoken: int


@dataclass(frozen=True, slots=True)
class Lasted:
    """The silence has lasted for a while, and may end the turn soon; [context, end) holds the turn and the silence."""

    turn: int
    context: int
    end: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The speaker went on after `pause` ticks; what was made of the words so far is stale."""

    turn: int
    rev: int
    pause: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The turn is decided."""

    turn: int
    rev: int
    context: int
    start: int
    end: int
    waited: int
    wait: int
    cause: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The segment, or what was said since it was reopened, was too short to be speech."""

    turn: int
    reason: str
    spoken: int


Fact = Opened | Spoke | Paused | Lasted | Resumed | Closed | Rejected


@dataclass(slots=True)
class _Pause:
    """Where a pause began, its quietest frame, whether it has lasted for a while. due: since when it may end a turn."""

    end: int
    quiet_db: float
    lasted: bool = False
    due: int | None = None


@dataclass(slots=True)
class _Segment:
    """new: where it began or was reopened. voiced: speech since then. wait: the silence that ends it. looks: how often
    it was time to look at the words."""

    turn: int
    rev: int
    policy: Policy
    context: int
    start: int
    new: int
    fresh: bool
    voiced: Voiced
    loud: Loudness
    wait: int
    looks: int = 0
    pause: _Pause | None = None


class Hearing:
    """At most one segment is open. Segments do not overlap; pre-roll may reach back to the end of the last one."""

    def __init__(self, policy: Policy) -> None:
        self.at = 0
        self.policy = policy
        self._gate = Gate(on=policy.on, off=policy.off, onset=policy.onset, hangover=policy.pause)
        self._segment: _Segment | None = None
        self._last: _Segment | None = None
        self._turn = 0
        self._free = 0
        self._deaf_until = 0
        self._levels: deque[tuple[int, float, bool]] = deque(maxlen=_BACKGROUND // FRAME)
        self._background_db = SILENCE_DB
        self._calm = 0

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

    def voiced(self, turn: int) -> Voiced:
        """The speech of the newest segment, if it is of this turn."""
        segment = self._segment or self._last
        return segment.voiced if segment and segment.turn == turn else Voiced()

    @property
    def level_db(self) -> float:
        """How loud the last frame was."""
        return self._levels[-1][1] if self._levels else SILENCE_DB

    def configure(self, policy: Policy) -> None:
        """Takes effect with the next segment."""
        self.policy = policy
        if self._segment is None:
            self._retune()

    def new_turn(self) -> int:
        """A turn id for words that were not heard but typed."""
        self._turn += 1
        return self._turn

    def be_patient(self, turn: int, *, wait: int, ready: bool) -> None:
        """The silence that ends this turn, if it is the open one, and whether all is done that can be done before."""
        if self._segment and self._segment.turn == turn:
            self._segment.wait = in_no_hurry(self._segment.policy, wait, ready=ready)

    def go_on(self, turn: int) -> None:
        """The voice that reopened this turn belongs to it, however short it is."""
        if self._segment and self._segment.turn == turn:
            self._segment.voiced.ticks = max(self._segment.voiced.ticks, self._segment.policy.min_speech)

    def voice(self, frame: Voice, *, deaf: bool, reopen: int | None = None, heed: Heed = "open") -> list[Fact]:
        """One frame. deaf: what is heard now may be our own reply, so that nothing may begin. reopen: the decided turn
        that goes on if somebody speaks now. heed: how far the microphone is listened to at all."""
        self.at += frame.n
        self._levels.append((self.at, frame.level_db, frame.p >= self.policy.off))
        if deaf:
            self._deaf_until = self.at + self.policy.deaf_tail
        deaf = deaf or self.at < self._deaf_until or heed == "shut"
        segment = self._segment
        if segment is None and deaf:
            self._gate.reset()
            return []
        p = 0.0 if deaf else frame.p
        self._gate.step(self.at, frame.n, p, background=frame.level_db < self._least_db(frame, reopen))
        if segment is None:
            return [self._open(reopen, frame)] if self._gate.voiced else []
        return self._continue(segment, frame, heed)

    def due(self, heed: Heed = "open") -> list[Fact]:
        """Whether the open segment ends now, by what is known by now."""
        segment = self._segment
        return self._silent(segment, segment.pause, heed) if segment and segment.pause else []

    def commit(self, cause: str = "commit") -> list[Fact]:
        """Closes the open segment where it is."""
        if (segment := self._segment) is None:
            return []
        closed = self._close(segment, segment.pause.end if segment.pause else self.at, cause)
        if cause != "commit":
            self._gate.reset()  # whoever still speaks is not listened to, or has said that this was all
        return [closed]

    def stall(self) -> list[Fact]:
        """The microphone delivers nothing any more: who spoke is taken to have ended, until he is heard again."""
        if (segment := self._segment) is None:
            return []
        paused = [] if segment.pause else [self._pause(segment, self.at, self.level_db)]
        self._gate.reset()
        return [*paused, self._close(segment, segment.pause.end if segment.pause else self.at, "stalled")]

    def close(self) -> list[Fact]:
        """The session ends: the open segment was none."""
        segment, self._segment = self._segment, None
        return [Rejected(segment.turn, "closed", segment.voiced.ticks)] if segment else []

    def _least_db(self, frame: Voice, reopen: int | None) -> float:
        """How loud a voice must be to be the one that is listened to."""
        self._calm = 0 if frame.p >= self.policy.off else self._calm + frame.n
        if self._calm >= _CALM:
            self._background_db = SILENCE_DB
        near = self._segment or (self._last if self._last and self._last.turn == reopen else None)
        least_db = max(self._background_db, _RESIDUE_DB if frame.echo >= _RESIDUE else SILENCE_DB)
        if near is None:
            return least_db
        return max(least_db, near.loud.loud_db - near.policy.background_db)

    def _open(self, reopen: int | None, frame: Voice) -> Fact:
        since = max(self._gate.since, self._free)
        last, fresh = self._last, self._gate.since >= self._free
        if last and last.turn == reopen and fresh and self.at - last.start < last.policy.max_turn:
            self._segment, self._last = last, None
            last.rev, last.new, last.fresh, last.looks = last.rev + 1, since, True, 0
            last.voiced = Voiced(self.at - since, (self.at - since) * frame.echo)
            last.pause, last.wait = None, in_no_hurry(last.policy, last.policy.wait, ready=False)
            return Opened(last.turn, last.rev, since, last.policy, continues=False, reopened=True)
        self._segment = _Segment(
            turn=self.new_turn(),
            rev=0,
            policy=self.policy,
            context=max(since - self.policy.pre_roll, self._free, 0),
            start=since,
            new=since,
            fresh=fresh,
            voiced=Voiced(self.at - since, (self.at - since) * frame.echo),
            loud=Loudness(),
            wait=in_no_hurry(self.policy, self.policy.wait, ready=False),
        )
        return Opened(self._turn, 0, since, self.policy, continues=not fresh, reopened=False)

    def _continue(self, segment: _Segment, frame: Voice, heed: Heed) -> list[Fact]:
        if self._gate.voiced:
            return self._speak(segment, frame)
        if (pause := segment.pause) is None:
            return [self._pause(segment, self.at, frame.level_db)]
        if frame.level_db > pause.quiet_db + _STIR_DB:
            self._gate.doubt = self.at
        pause.quiet_db = min(pause.quiet_db, frame.level_db)
        return self._silent(segment, pause, heed)

    def _pause(self, segment: _Segment, end: int, level_db: float) -> Fact:
        segment.pause = _Pause(end, level_db)
        s = segment
        return Paused(s.turn, s.rev, s.context, s.start, end, s.new, s.voiced.ticks)

    def _silent(self, segment: _Segment, pause: _Pause, heed: Heed) -> list[Fact]:
        over, quiet = self.at - segment.start >= segment.policy.max_turn, self.at - self._gate.last
        pause.due = None if quiet < segment.wait or heed == "held" else pause.due or self.at
        silent = pause.due and ended(segment.policy, late=self.at - pause.due, doubt=self.at - self._gate.doubt)
        if over or silent:
            return [self._close(segment, pause.end, "cap" if over else "silence")]
        if quiet >= segment.policy.second and not pause.lasted:
            pause.lasted = True
            return [Lasted(segment.turn, segment.context, self.at)]
        return []

    def _speak(self, segment: _Segment, frame: Voice) -> list[Fact]:
        facts: list[Fact] = []
        if self._gate.last == self.at:  # the hangover is not speech
            segment.voiced.add(frame.n, frame.echo)
            if self._levels[0][0] > segment.start:
                segment.loud.add(self._levels[0][1])
        if segment.pause:
            silence = self._gate.since - segment.pause.end + segment.policy.pause
            facts.append(Resumed(segment.turn, segment.rev + 1, silence))
            segment.pause, segment.wait = None, in_no_hurry(segment.policy, segment.policy.wait, ready=False)
            segment.rev += 1
            segment.fresh = True
        if self.at - segment.start >= segment.policy.max_turn:
            end = self._quiet_place(segment)
            self._gate.since = min(self._gate.since, end - 1)  # all that is behind the cut belongs to the next segment
            facts.append(self._close(segment, end, "cap"))
        elif self._is_behind(segment):
            facts.append(self._pause(segment, self._gate.last + segment.policy.pause, frame.level_db))
        elif self._worth_a_look(segment):
            context = max(segment.context, segment.new - segment.policy.pre_roll)
            facts.append(Spoke(segment.turn, context, segment.new, self.at, segment.voiced.ticks))
        return facts

    def _worth_a_look(self, segment: _Segment) -> bool:
        """Again and again, and at first where a word may be over."""
        looks, p = segment.looks, segment.policy
        often = min(looks, _OFTEN_TIMES)
        if self.at - segment.new >= p.look * (looks + 1 - often) + _OFTEN * often:
            segment.looks += 1
            return True
        return looks <= _OFTEN_TIMES + 1 and segment.voiced.ticks >= p.min_speech and self.at - self._gate.last == _LULL

    def _is_behind(self, segment: _Segment) -> bool:
        """Whether what is heard has for a while been the background of somebody who has ended."""
        if self.at // FRAME % _SELDOM or self._levels[0][0] <= segment.new:
            return False
        if sum(voiced for *_, voiced in self._levels) * FRAME < _RISE:
            return False
        loudest = max(level for _, level, _ in self._levels)
        if loudest >= segment.loud.loud_db - (_BEHIND_DB if segment.loud.known else _FAR_BEHIND_DB):
            return False
        self._background_db = loudest + _OVER_DB
        self._gate.end(self._levels[0][0])
        return True

    def _quiet_place(self, segment: _Segment) -> int:
        """Where a segment that grew too long is cut, among its last 1.5 s, but not before it was reopened."""
        half = max(segment.new, self.at - segment.policy.max_turn // 2)
        return min(((level, at) for at, level, _ in self._levels if at > half), default=(0.0, self.at))[1]

    def _close(self, segment: _Segment, end: int, cause: str) -> Fact:
        self._segment = None
        waited, wait = self.at - self._gate.last, segment.wait
        self._retune()
        if segment.voiced.ticks < segment.policy.min_speech:
            if segment.new != segment.start:  # it was reopened by a noise, and may be again
                self._last = segment
            # Its samples stay free: they may begin the next one.
            return Rejected(segment.turn, "too short", segment.voiced.ticks)
        self._free, self._last = end, segment
        return Closed(segment.turn, segment.rev, segment.context, segment.start, end, waited, wait, cause)

    def _retune(self) -> None:
        p = self.policy
        self._gate.tune(on=p.on, off=p.off, onset=p.onset, hangover=p.pause)
