"""What the core is told (inputs) and what it wants done (actions). All frozen, all plain values.

`turn, rev`: a turn and how often its words have grown. `reply`: one answer or announcement, never reused; replies of
the host's own (`Say`) have negative ids. `run`: one piece of work; its results carry it, and results of a run
that is no longer wanted are dropped in one place (work.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voiceloop.core.policy import Policy

State = Literal["listening", "hearing", "thinking", "speaking", "paused"]
Stage = Literal["stt", "handler", "tts"]
Ending = Literal["completed", "interrupted", "withdrawn", "failed", "empty"]


# --- inputs: the world ---


@dataclass(frozen=True, slots=True)
class Voice:
    """One microphone frame: n samples, probability of speech 0..1, level in dBFS (in a quiet room up to 0.2 s old)."""

    n: int
    p: float
    level_db: float


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The words of a segment; empty if there are none."""

    run: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The handler's next piece of text; final: there will be no more."""

    run: int
    text: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """n samples of a clause are synthesized so far (at the port's rate); final: that is all of it."""

    run: int
    n: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """n samples of a reply have been heard, counted from its beginning."""

    reply: int
    n: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """A reply was stopped after n samples. exact: counted, not estimated."""

    reply: int
    n: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """A run came to nothing. message: one sentence for the user. retryable: it may succeed if tried again."""

    run: int
    stage: Stage
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A `Wake` came due, or time is to be looked at again."""


# --- inputs: commands of the host ---


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text without a turn, when the floor is free.

    reply: the host's own id, below zero and below every one before it.
    """

    reply: int
    text: str


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer a text as if it had been said. out_of_band: only in text, without taking the floor."""

    text: str
    out_of_band: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop speaking, and forget what was about to be said."""


@dataclass(frozen=True, slots=True)
class Mute:
    """Stop or start to believe the microphone."""

    on: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """The turn ends here, whatever the silence says."""


@dataclass(frozen=True, slots=True)
class Configure:
    """A new policy, from the next turn on."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Close:
    """The session ends here: all that is open gets its last word. Nothing may be fed after it but `Flushed`."""


Command = Say | Respond | Interrupt | Mute | Commit | Configure | Close

Result = Transcribed | ReplyText | Prepared | Failed

Report = Played | Flushed | Tick

Input = Voice | Result | Report | Command


# --- actions: work to do ---


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Find the words of microphone samples [start, end). [context, start) is pre-roll: heard, but not counted."""

    run: int
    turn: int
    rev: int
    context: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Ask the handler. speculative: the turn may go on, and the answer then be dropped."""

    run: int
    reply: int
    turn: int
    rev: int
    text: str
    speculative: bool


@dataclass(frozen=True, slots=True)
class Synthesize:
    """Speak one clause into the reply's buffer; clauses come in order."""

    run: int
    reply: int
    turn: int | None
    clause: int
    text: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel a run; nothing it says counts any more."""

    run: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the buffered speech of a reply that nobody has heard."""

    reply: int


@dataclass(frozen=True, slots=True)
class Release:
    """From now on what is prepared of this reply goes to the loudspeaker."""

    reply: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop at this sample, keep the rest."""

    reply: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from the sample of `Hold`."""

    reply: int


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop now and drop the rest; answered by `Flushed` in the same step."""

    reply: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Believe the microphone, or hear silence instead."""

    on: bool


@dataclass(frozen=True, slots=True)
class Wake:
    """Feed `Tick` when the session clock reaches this tick. Replaces the one before."""

    now: int


# --- actions: news for observers ---


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A segment opened; start is its first sample. continues: it is the rest of one that was cut while it went on."""

    turn: int
    start: int
    continues: bool = False


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The segment closed and its turn is decided. cause: `silence`, `cap` or `commit`."""

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
    """The terminal event of a reply: said is its text as far as it was known, heard the part that was played."""

    reply: int
    turn: int | None
    ending: Ending
    said: str
    heard: str


@dataclass(frozen=True, slots=True)
class Amend:
    """The exact count came: this is what was heard of an ended reply."""

    reply: int
    heard: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Who has the floor."""

    state: State


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the user about something that went wrong. stage: `stt`, `handler`, `tts`, or `session`."""

    stage: str
    text: str


News = (
    SpeechStarted
    | SpeechStopped
    | SpeechRejected
    | Decided
    | Heard
    | TurnDropped
    | ReplyStarted
    | ReplySaid
    | ReplyEnded
    | Amend
    | StateChanged
    | Notice
)

Action = Transcribe | Answer | Synthesize | Drop | Forget | Release | Hold | Resume | Hush | Listen | Wake | News
