"""The machines side by side, as the rules between them see them."""

from __future__ import annotations

from dataclasses import dataclass, field

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.floor import Floor
from voiceloop.core.hearing import Hearing, Heed
from voiceloop.core.history import History
from voiceloop.core.policy import Policy
from voiceloop.core.silence import Silence
from voiceloop.core.watch import Watch
from voiceloop.core.work import Work

Facts = dict[str, float | str | None]


@dataclass
class Controls:
    """What the host holds in its hand. muted: the microphone does not count. down: the key of push-to-talk is."""

    muted: bool = False
    down: bool = False


@dataclass
class Machines:
    """The five machines, the history they write, and the actions of this step.

    policy: that of the newest turn. now: the session's clock. expect: what the next turn is expected to hold. pace: how
    much more time than others the speaker gets.
    """

    policy: Policy
    hearing: Hearing
    work: Work = field(default_factory=Work)
    floor: Floor = field(default_factory=Floor)
    silence: Silence = field(default_factory=Silence)
    watch: Watch = field(default_factory=Watch)
    history: History = field(default_factory=History)
    now: int = 0
    expect: str = ""
    pace: float = 1.0
    controls: Controls = field(default_factory=Controls)
    out: list[ev.Action] = field(default_factory=lambda: list[ev.Action]())

    def trace(
        self,
        what: str,
        because: str,
        *,
        turn: int | None = None,
        reply: int | None = None,
        facts: Facts | None = None,
        **more: float | str | None,
    ) -> None:
        """Says why something was decided. Times among the facts are ticks, and become seconds."""
        found = {key: _shown(key, value) for key, value in ((facts or {}) | more).items()}
        self.out.append(ev.Trace(what, because, turn, reply, found))

    @property
    def heed(self) -> Heed:
        """How far the microphone is listened to."""
        if self.controls.down:
            return "held"
        return "shut" if self.hearing.policy.push_to_talk else "open"

    @property
    def has_floor(self) -> bool:
        """Whether a person has the floor: somebody speaks, or has not ended, and it is not known that it is nothing."""
        if self.controls.down:
            return True
        draft = self.work.get(self.hearing.open_turn)
        return self.hearing.speaking and not (draft and draft.dismissed)


def _shown(key: str, value: float | str | None) -> float | str | None:
    if isinstance(value, str) or value is None:
        return value
    return round(value / RATE if key.endswith("_s") else value, 3)
