"""A world around the core: a port that plays what it is given, and engines that answer when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.policy import Policy
from voiceloop.core.turns import Turns

STAGES = {ev.Transcribe: "stt", ev.Score: "score", ev.Answer: "handler", ev.Synthesize: "tts"}

QUIET = (ev.Trace, ev.Sure, ev.Spent, ev.Wake)
"""What most tests do not look at."""


@dataclass
class Step:
    """One input, the clocks at which it was fed, and what the core said to it."""

    now: int
    at: int
    event: ev.Input
    actions: list[ev.Action]


class World:
    """Feeds the core as a session does: what an action causes at once follows in the same step.

    One output sample is one tick. `stage[run]` tells what a live run is; dropped and finished runs go to `stale`.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.core = Turns(self.policy)
        self.now = 0
        self.steps: list[Step] = []
        self.runs: dict[int, ev.Transcribe | ev.Score | ev.Answer | ev.Synthesize] = {}
        self.stale: list[int] = []
        self.sizes: dict[int, dict[int, int]] = {}
        self.played: dict[int, int] = {}
        self.audible: int | None = None
        self.held = False
        self.wake: int | None = None
        self._n_said = 0
        self._inbox: deque[ev.Input] = deque()

    # --- what the session does ---

    def feed(self, event: ev.Input) -> list[ev.Action]:
        """All actions of one input and of what follows in the same step, but for `QUIET` ones (they are in `steps`)."""
        self._inbox.append(event)
        out: list[ev.Action] = []
        while self._inbox:
            event = self._inbox.popleft()
            self._buffer(event)
            actions = self.core.feed(event, now=self.now)
            self.steps.append(Step(self.now, self.core.at, event, actions))
            for action in actions:
                self._perform(action)
            out += [action for action in actions if not isinstance(action, QUIET)]
        return out

    def _buffer(self, event: ev.Input) -> None:
        run = self.runs.get(getattr(event, "run", 0))
        if run is None:
            return
        if isinstance(event, ev.Prepared) and isinstance(run, ev.Synthesize):
            self.sizes.setdefault(run.reply, {})[run.clause] = event.n
        if getattr(event, "final", not isinstance(event, ev.HandlerState)):
            self._finish(event.run)

    def _finish(self, run: int) -> None:
        if self.runs.pop(run, None):
            self.stale.append(run)

    def _perform(self, action: ev.Action) -> None:
        match action:
            case ev.Transcribe() | ev.Score() | ev.Answer() | ev.Synthesize():
                self.runs[action.run] = action
            case ev.Drop(run=run):
                self._finish(run)
            case ev.Release(reply=reply):
                self.audible, self.held = reply, False
            case ev.Hold(reply=reply):
                self.held = True
                self._inbox.append(ev.Played(reply, self.played.get(reply, 0)))
            case ev.Resume():
                self.held = False
            case ev.Hush(reply=reply):
                self.audible = None
                self.sizes.pop(reply, None)
                self._inbox.append(ev.Flushed(reply, self.played.get(reply, 0), exact=False))
            case ev.Forget(reply=reply) | ev.ReplyEnded(reply=reply):
                self.sizes.pop(reply, None)
                if self.audible == reply:
                    self.audible = None
            case ev.Wake(now=now):
                self.wake = now
            case _:
                pass

    # --- what happens ---

    def frame(self, p: float = 0.02, *, play: bool = True, echo: float = 0.0, db: float = -20.0) -> list[ev.Action]:
        """20 ms pass: playback first, then the microphone."""
        self.now += FRAME
        out: list[ev.Action] = []
        reply = self.audible
        if play and reply is not None and not self.held:
            total = sum(self.sizes.get(reply, {}).values())
            n = min(self.played.get(reply, 0) + FRAME, total)
            if n > self.played.get(reply, 0):
                self.played[reply] = n
                out += self.feed(ev.Played(reply, n))
        return out + self.feed(ev.Voice(FRAME, p, db if p > 0.3 else -60.0, echo))

    def speak(self, seconds: float, p: float = 0.95, *, echo: float = 0.0, db: float = -20.0) -> list[ev.Action]:
        """A person speaks. echo: how like our own voice it sounds. db: how loud, dBFS."""
        return [action for _ in range(ticks(seconds) // FRAME) for action in self.frame(p, echo=echo, db=db)]

    def quiet(self, seconds: float) -> list[ev.Action]:
        """Nobody speaks."""
        return self.speak(seconds, 0.02)

    def run(self, stage: str, *, oldest: bool = False) -> int:
        """The newest live run of a stage, or the oldest one."""
        return [run for run, order in self.runs.items() if STAGES[type(order)] == stage][0 if oldest else -1]

    def words(
        self, text: str, sense: ev.Sense = "words", finished: float | None = None, *, oldest: bool = False
    ) -> list[ev.Action]:
        """The newest transcription gives its text, or the oldest one."""
        return self.feed(ev.Transcribed(self.run("stt", oldest=oldest), text, sense, finished))

    def wish(self, key: str, value: str = "") -> list[ev.Action]:
        """The newest handler call says something beside its text."""
        return self.feed(ev.HandlerState(self.run("handler"), key, value))

    def traces(self, what: str) -> list[ev.Trace]:
        """Why something was decided so far."""
        return [a for s in self.steps for a in s.actions if isinstance(a, ev.Trace) and a.what == what]

    def all(self, *types: type) -> list[ev.Action]:
        """Actions of some types so far."""
        return [a for s in self.steps for a in s.actions if isinstance(a, types)]

    def text(self, text: str, *, final: bool = True) -> list[ev.Action]:
        """The newest handler call gives text."""
        return self.feed(ev.ReplyText(self.run("handler"), text, final))

    def audio(self, seconds: float = 1.0, *, final: bool = True) -> list[ev.Action]:
        """The newest synthesis has so much."""
        return self.feed(ev.Prepared(self.run("tts"), ticks(seconds), final))

    def fail(self, stage: str, message: str = "It broke.") -> list[ev.Action]:
        """The newest run of a stage fails."""
        return self.feed(ev.Failed(self.run(stage), stage, message))

    def say(self, text: str, **how: str) -> list[ev.Action]:
        """The host announces something."""
        self._n_said += 1
        return self.feed(ev.Say(-self._n_said, text, **how))

    def ask(self, text: str = "hello", *, reply: str = "Hi there.", seconds: float = 1.0) -> list[ev.Action]:
        """A whole question, up to the first sample of its answer; all work is done early."""
        out = self.speak(1.0) + self.quiet(0.2) + self.words(text) + self.text(reply) + self.audio(seconds)
        return out + self.quiet(0.7)

    def history(self) -> list[tuple[str, str]]:
        """Role and text of all that was said."""
        return [(item.role, item.text) for item in self.core.history.view()]

    def finish(self, *, most: int = 3000) -> list[ev.Action]:
        """The world answers every run and stays silent until the core is idle."""
        out: list[ev.Action] = []
        for _ in range(most):
            if self.core.idle:
                return out
            for run, order in list(self.runs.items()):
                if run not in self.runs:
                    continue
                match order:
                    case ev.Transcribe():
                        out += self.feed(ev.Transcribed(run, "late words"))
                    case ev.Score():
                        out += self.feed(ev.Scored(run, 0.5))
                    case ev.Answer():
                        out += self.feed(ev.ReplyText(run, "A late answer.", final=True))
                    case ev.Synthesize():
                        out += self.feed(ev.Prepared(run, 4 * FRAME, final=True))
            out += self.frame()
        raise AssertionError(f"not idle after {most} frames; live runs: {self.runs}")


@pytest.fixture
def world() -> Callable[..., World]:
    """Makes worlds."""
    return World


@pytest.fixture
def only() -> Callable[..., list[ev.Action]]:
    """Those actions that are of some types."""

    def only(actions: Sequence[ev.Action], *types: type) -> list[ev.Action]:
        return [action for action in actions if isinstance(action, types)]

    return only
