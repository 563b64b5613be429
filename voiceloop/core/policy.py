"""Everything the machines may be told to do differently, as one immutable value.

Times are ticks (16 kHz). A turn keeps the policy it began with (invariant 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voiceloop.core.audio import ticks

RunAhead = Literal["none", "stt", "handler", "speech"]
BargeIn = Literal["stop", "pause", "finish_sentence", "finish_reply", "ignore"]
"""What a voice over a reply does. stop: ends it at once. pause: holds it until it is known what the voice says.
finish_sentence, finish_reply: what is said is judged meanwhile, and ends the reply after its sentence, or not at all.
ignore: the microphone is not believed until it is over."""

_REACH: dict[RunAhead, int] = {"none": 0, "stt": 1, "handler": 2, "speech": 3}


@dataclass(frozen=True, slots=True)
class Policy:
    """on, off: probability at which a frame counts as speech, and below which it no longer does.
    onset: speech needed before a segment opens. pause: unvoiced time after which work runs ahead.
    wait: silence that ends a turn. pre_roll: context in front of a segment.
    max_turn: longest segment; min_speech: voiced time below which a segment is rejected.
    guard, guard_most: how recent a doubtful frame delays the end of a turn, and for how long at most.
    run_ahead: how far work may run before the turn is decided; tries: how often per turn.
    barge_in: what speech over a reply does: see `BargeIn`.
    deaf_tail: with barge_in `ignore`, how long after a reply the microphone is still not believed.
    ahead: clauses synthesized beyond the one that plays. max_says: announcements that may wait.
    max_reply_chars: longest text of a reply; the rest is dropped.
    slow_after: thinking time after which `moment` is said; "" says nothing.
    sorry_stt, sorry_handler: said when that stage failed.
    """

    on: float = 0.5
    off: float = 0.35
    onset: int = ticks(0.06)
    pause: int = ticks(0.1)
    wait: int = ticks(0.6)
    pre_roll: int = ticks(0.3)
    max_turn: int = ticks(60)
    min_speech: int = ticks(0.1)
    guard: int = ticks(0.06)
    guard_most: int = ticks(0.1)
    run_ahead: RunAhead = "speech"
    tries: int = 8
    barge_in: BargeIn = "pause"
    deaf_tail: int = ticks(0.25)
    ahead: int = 1
    max_says: int = 16
    max_reply_chars: int = 20_000
    slow_after: int = ticks(5)
    moment: str = "One moment."
    sorry_stt: str = "Sorry, I could not make out what you said."
    sorry_handler: str = "Sorry, something went wrong with my answer."

    def reaches(self, stage: RunAhead) -> bool:
        """Whether work may run ahead as far as `stage`."""
        return _REACH[self.run_ahead] >= _REACH[stage]
