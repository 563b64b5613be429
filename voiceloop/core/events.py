"""What the core is told (inputs) and what it wants done (actions). All frozen, all plain values.

`turn, rev`: a turn and how often its words have grown. `reply`: one answer or announcement, never reused; replies of
the host's own (`Say`) have negative ids. `run`: one piece of work; its results carry it, and results of a run
that is no longer wanted are dropped in one place (work.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voiceloop.core.policy import BargeIn, Policy

# All inputs and actions are known by this module.
# isort: off
from voiceloop.core.news import (
    Amend as Amend,
    Decided as Decided,
    DeviceBack as DeviceBack,
    DeviceLost as DeviceLost,
    Ending as Ending,
    Heard as Heard,
    Muted as Muted,
    News as News,
    Notice as Notice,
    Pressed as Pressed,
    Reopened as Reopened,
    ReplyEnded as ReplyEnded,
    ReplySaid as ReplySaid,
    ReplyStarted as ReplyStarted,
    SpeechRejected as SpeechRejected,
    SpeechStarted as SpeechStarted,
    SpeechStopped as SpeechStopped,
    Spent as Spent,
    State as State,
    StateChanged as StateChanged,
    Sure as Sure,
    Trace as Trace,
    TurnDropped as TurnDropped,
)
# isort: on

Sense = Literal["words", "none", "backchannel", "wait", "stop", "invented"]
"""What kind of words they are, by the word lists (lexicon.py). none: there are none. backchannel: "mm-hm", "yeah".
wait, stop: a command to be silent; `stop` is obeyed without asking a handler. invented: what recognizers make of
noise."""
Stage = Literal["stt", "score", "handler", "tts"]


# --- inputs: the world ---


@dataclass(frozen=True, slots=True)
class Voice:
    """One microphone frame: n samples, probability of speech 0..1, level in dBFS (in a quiet room up to 0.2 s old).

    echo: how likely what is left after echo cancellation is our own voice, 0..1; 0 where nothing was played, or the
    peer cancels its own echo.
    """

    n: int
    p: float
    level_db: float
    echo: float = 0.0


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The words of a segment; empty if there are none.

    finished: probability that the speaker has nothing to add, from the evidence that follows (evidence.py); None if
    nothing is known. p_stop, p_comma, logprob: the recognizer's own doubt, as in `ports.Transcript`. wording: log-odds
    of the word table. tail_db: level of the last 300 ms against the segment. end_st: pitch of the last 120 ms of voice
    against its low, semitones.
    """

    run: int
    text: str
    sense: Sense = "words"
    finished: float | None = None
    p_stop: float | None = None
    p_comma: float | None = None
    logprob: float | None = None
    wording: float | None = None
    tail_db: float | None = None
    end_st: float | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """The end-of-turn model's probability that the speaker has finished."""

    run: int
    p: float


@dataclass(frozen=True, slots=True)
class HandlerState:
    """What a handler says beside its text.

    key: `tool` (value: its name, or "" when it is done), `expect` (what the next turn will hold: `digits:10`, `yes_no`,
    `spelling`, `free`), `sure` (value `now`: the turn is not to be reopened), `barge_in` (how this reply may be
    interrupted).
    """

    run: int
    key: Literal["tool", "expect", "sure", "barge_in"]
    value: str = ""


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


@dataclass(frozen=True, slots=True)
class PortLost:
    """Nobody is heard, and hears anything, until `PortBack`. reason: a sentence for the user.

    late: what is said meanwhile is not lost, but comes later, before `PortBack`: who spoke is waited for.
    """

    reason: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class PortBack:
    """Frames come again, and what is played is heard. device: what it is called now."""

    device: str


# --- inputs: commands of the host ---


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text without a turn, when the floor is free.

    reply: the host's own id, below zero and below every one before it. barge_in: how it may be interrupted, None: as
    the policy says. expect: what the next turn will hold, as in `HandlerState`.
    """

    reply: int
    text: str
    barge_in: BargeIn | None = None
    expect: str = ""


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer a text as if it had been said. out_of_band: only in text, without taking the floor."""

    text: str
    out_of_band: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop speaking, and forget what was about to be said, but not what is out of band. reply: only that one."""

    reply: int | None = None


@dataclass(frozen=True, slots=True)
class Mute:
    """Stop or start to believe the microphone. What was said so far counts, and is answered without waiting; a voice
    over a reply does not, for it is what the reply was to be kept from."""

    on: bool


@dataclass(frozen=True, slots=True)
class PushToTalk:
    """A key went down: the person has the floor, however long he is silent; or up: the turn ends here.

    With the policy `push_to_talk`, nothing is heard without it.
    """

    down: bool


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


Command = Say | Respond | Interrupt | Mute | PushToTalk | Commit | Configure | Close

Result = Transcribed | Scored | ReplyText | HandlerState | Prepared | Failed

Report = Played | Flushed | Tick | PortLost | PortBack

Input = Voice | Result | Report | Command


# --- actions: work to do ---


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Find the words of microphone samples [start, end). [context, start) is pre-roll: heard, but not counted.

    expect: what the turn is expected to hold. probe: a look at the words while the person still speaks. over: the voice
    is judged by them, because it is over a reply, before one, or soon after a decision.
    """

    run: int
    turn: int
    rev: int
    context: int
    start: int
    end: int
    expect: str = ""
    probe: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Ask the end-of-turn model about microphone samples [start, end)."""

    run: int
    turn: int
    rev: int
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
class Gain:
    """Volume of everything played from now on, 0..1, times that of the session."""

    factor: float


@dataclass(frozen=True, slots=True)
class End:
    """The session is to end. reason: `idle`."""

    reason: str


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


Action = (
    Transcribe
    | Score
    | Answer
    | Synthesize
    | Drop
    | Forget
    | Release
    | Hold
    | Resume
    | Gain
    | Hush
    | Listen
    | Wake
    | End
    | News
)
