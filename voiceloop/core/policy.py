"""Everything the machines may be told to do differently, as one immutable value.

Times are ticks (16 kHz). A turn keeps the policy it began with (invariant 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from voiceloop.core.audio import ticks

RunAhead = Literal["none", "stt", "handler", "speech"]
BargeIn = Literal["stop", "pause", "finish_sentence", "finish_reply", "ignore"]
"""What a voice over a reply does. stop: ends it at once. pause: holds it until it is known what the voice says.
finish_sentence, finish_reply: what is said is judged meanwhile, and ends the reply after its sentence, or not at all
(but `stop` words do). ignore: the microphone is not believed until it is over."""

_REACH: dict[RunAhead, int] = {"none": 0, "stt": 1, "handler": 2, "speech": 3}


@dataclass(frozen=True, slots=True)
class Policy:
    """`Policy()` is the plain machine, which waits for a fixed silence; `preset` gives the ones that weigh evidence.

    push_to_talk: only what is said while a key is down is heard, and its release ends the turn.
    on, off: probability at which a frame counts as speech, and below which it no longer does.
    onset: speech needed before a segment opens. pause: unvoiced time after which work runs ahead.
    wait: silence that ends a turn of which nothing is known but that. waits: pairs of (probability that the speaker has
    finished, silence that then ends the turn), rising; between them it is interpolated. late: silence until which a
    turn is not ended as long as its reply is not ready, because it would gain nothing. open_wait: silence that ends a
    turn that is expected to hold more (digits, spelling).
    reopen: how long after the decision a turn may still go on. pre_roll: context in front of a segment.
    stalled: time on the session's clock without a microphone frame after which an open segment ends.
    max_turn: longest segment; min_speech: voiced time below which a segment is rejected.
    background_db: how far below the speaker's own level a voice counts as background.
    guard, guard_most: how recent a doubtful frame delays the end of a turn, and for how long at most.
    run_ahead: how far work may run before the turn is decided; tries, max_stt, max_chars: how often per turn, for how
    many ticks of sound and characters of handlers' text that are thrown away. second: silence after which
    the sound is listened to once more, with more of the silence, for evidence that it is over; score: whether it is.
    Who speaks long pauses often: after `tries` only silences of `second` are worth a try, and as many again.
    barge_in, barge_in_thinking, barge_in_tool: what a voice does over a reply, before one, and while a tool runs.
    duck: volume of a reply while a voice over it is judged, instead of holding it; 0 holds.
    look: age at which the words of a voice over a reply are looked at, then more often, then again and again. judge:
    how long a voice over a reply may be without words that mean anything, before it is judged without.
    deaf_tail: with barge_in `ignore`, how long after a reply the microphone is still not believed.
    ahead: clauses synthesized beyond the one that plays. max_says: announcements that may wait.
    max_reply_chars: longest text of a reply; the rest is dropped.
    slow_after: thinking time after which `moment` is said, and again `still` each `still_after`; "" says nothing.
    reprompt_after, reprompts: silence of the user after which `reprompt` is said, and how often in a row; 0: never.
    end_after: silence of both after which the session ends; 0: never.
    sorry_stt, sorry_handler: said when that stage failed. back: said when the device is back and there is no reply.
    """

    push_to_talk: bool = False
    on: float = 0.5
    off: float = 0.35
    onset: int = ticks(0.06)
    pause: int = ticks(0.1)
    wait: int = ticks(0.6)
    waits: tuple[tuple[float, int], ...] = ()
    late: int = 0
    open_wait: int = ticks(2.5)
    reopen: int = 0
    pre_roll: int = ticks(0.3)
    stalled: int = ticks(2)
    max_turn: int = ticks(60)
    min_speech: int = ticks(0.1)
    background_db: float = 20.0
    guard: int = ticks(0.06)
    guard_most: int = ticks(0.1)
    run_ahead: RunAhead = "speech"
    tries: int = 12
    max_stt: int = ticks(120)
    max_chars: int = 8_000
    second: int = ticks(0.3)
    score: bool = False
    barge_in: BargeIn = "pause"
    barge_in_thinking: BargeIn = "pause"
    barge_in_tool: BargeIn = "finish_reply"
    duck: float = 0.0
    look: int = ticks(0.3)
    judge: int = ticks(0.9)
    deaf_tail: int = ticks(0.25)
    ahead: int = 1
    max_says: int = 16
    max_reply_chars: int = 20_000
    slow_after: int = ticks(5)
    moment: str = "One moment."
    still_after: int = ticks(15)
    still: str = ""
    reprompt_after: int = 0
    reprompts: int = 1
    reprompt: str = "Are you still there?"
    end_after: int = 0
    sorry_stt: str = "Sorry, I could not make out what you said."
    sorry_handler: str = "Sorry, something went wrong with my answer."
    back: str = "\N{BELL}"

    def reaches(self, stage: RunAhead) -> bool:
        """Whether work may run ahead as far as `stage`."""
        return _REACH[self.run_ahead] >= _REACH[stage]


def _waits(*pairs: tuple[float, float]) -> tuple[tuple[float, int], ...]:
    return tuple((finished, ticks(silence_s)) for finished, silence_s in pairs)


_PRESETS = {
    "quick": Policy(wait=ticks(0.5), waits=_waits((0.1, 0.9), (0.3, 0.7), (0.5, 0.5), (0.7, 0.35)), late=ticks(0.8)),
    "balanced": Policy(
        wait=ticks(0.7),
        waits=_waits((0.15, 1.4), (0.28, 1.2), (0.33, 0.87), (0.6, 0.83), (0.66, 0.66), (0.8, 0.5)),
        late=ticks(1),
    ),
    "patient": Policy(
        wait=ticks(1), waits=_waits((0.1, 2.2), (0.3, 1.8), (0.5, 1.4), (0.65, 1.15), (0.85, 0.8)), late=ticks(1.5)
    ),
}

_EAGERNESS = {"low": "patient", "medium": "balanced", "auto": "balanced", "high": "quick"}

PRESETS = (*_PRESETS, *_EAGERNESS)
"""Names that `preset` knows: ours, and those of OpenAI's `eagerness`."""


def preset(name: str) -> Policy:
    """A policy by name: how long the silences are that end a turn (tuned with benchmarks/turns.py). Raises KeyError."""
    return replace(_PRESETS[_EAGERNESS.get(name, name)], reopen=ticks(1))
