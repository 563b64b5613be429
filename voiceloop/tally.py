"""What is told of each call to a speech engine, for who counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call, when it is over. engine: as it is named in the configuration. cancelled: nobody wanted it any more.

    took_s: until the words, or the first sound; None if neither came. sound_s: of sound that was heard, or made.
    """

    port: Literal["stt", "tts"]
    engine: str
    outcome: Outcome
    took_s: float | None
    sound_s: float


Tally = Callable[[Call], None]
"""Is told at once, on the event loop, and never raises."""
