"""News: the actions that tell observers what happens and why. Known to all others as part of events.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["listening", "hearing", "thinking", "speaking", "paused"]
Ending = Literal["completed", "interrupted", "withdrawn", "failed", "empty"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A segment opened; start is its first sample. continues: it is the rest of one that was cut while it went on."""

    turn: int
    start: int
    continues: bool = False


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The segment closed and its turn is decided. cause: `silence`, `cap`, `commit`, `key` (it was released), `muted`,
    or `stalled`: the microphone delivered nothing any more."""

    turn: int
    end: int
    cause: str


@dataclass(frozen=True, slots=True)
class SpeechRejected:
    """The segment closed and was none."""

    turn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The turn has ended after `waited` ticks of silence. ready: a reply could be released in this very step."""

    turn: int
    rev: int
    waited: int
    ready: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """The words of a decided turn."""

    turn: int
    rev: int
    text: str


@dataclass(frozen=True, slots=True)
class Reopened:
    """The person went on `after` ticks after the decision: the turn was not finished, its reply is withdrawn.

    A mistake repaired, and not an interruption.
    """

    turn: int
    rev: int
    after: int


@dataclass(frozen=True, slots=True)
class Sure:
    """The turn can no longer be reopened: side effects may happen."""

    turn: int
    rev: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What ran ahead in vain for a turn that is over. tries: how often its words were looked for.

    stt_s: seconds of sound transcribed and thrown away. chars: of handlers' text. speech: samples synthesized.
    """

    turn: int
    tries: int
    stt_s: float
    chars: int
    speech: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Why something was decided: one for each decision, with its inputs and thresholds.

    what: `started`, `waiting`, `ended`, `reopened`, `paused`, `resumed`, `stopped`, `ignored`, `dropped`, `kept`,
    `muted`, `key`.
    because: the reason, a short key. facts: numbers and keys that it was decided from; seconds end in `_s`, levels in
    `_db`. No spoken word is among them.
    """

    what: str
    because: str
    turn: int | None = None
    reply: int | None = None
    facts: dict[str, float | str | None] = field(default_factory=lambda: dict[str, float | str | None]())


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """A decided turn gets no reply."""

    turn: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The reply took the floor."""

    reply: int
    turn: int | None


@dataclass(frozen=True, slots=True)
class ReplySaid:
    """One clause of a reply, as it is about to be spoken (or, out of band, given as text)."""

    reply: int
    clause: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The terminal event of a reply: said is its text as far as it was known, heard the part that was played.

    cut_at: samples of it, at the port's rate, that had been played when it was stopped; None if nothing was cut off.
    """

    reply: int
    turn: int | None
    ending: Ending
    said: str
    heard: str
    cut_at: int | None = None


@dataclass(frozen=True, slots=True)
class Amend:
    """The exact count came: this is what was heard of an ended reply. cut_at: as in `ReplyEnded`."""

    reply: int
    heard: str
    cut_at: int | None = None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Who has the floor."""

    state: State


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """Microphone or loudspeaker is gone: nobody is heard, and what is said waits. reason: a sentence for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceBack:
    """They work again, after `away` ticks of the session's clock. device: what it is called."""

    device: str
    away: int


@dataclass(frozen=True, slots=True)
class Muted:
    """The microphone is not believed any more, or is again."""

    on: bool


@dataclass(frozen=True, slots=True)
class Pressed:
    """The key of push-to-talk went down, or up."""

    down: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the user about something that went wrong. stage: `stt`, `handler`, `tts`, `session`, or
    `audio`."""

    stage: str
    text: str


News = (
    SpeechStarted
    | SpeechStopped
    | SpeechRejected
    | Decided
    | Heard
    | Reopened
    | Sure
    | Spent
    | Trace
    | TurnDropped
    | ReplyStarted
    | ReplySaid
    | ReplyEnded
    | Amend
    | StateChanged
    | DeviceLost
    | DeviceBack
    | Muted
    | Pressed
    | Notice
)
