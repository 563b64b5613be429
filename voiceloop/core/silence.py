"""Machine: dead air. Runs on `now`, the session's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from voiceloop.core.policy import Policy

Air = Literal["busy", "thinking", "tool", "idle"]
"""What the silence is. busy: there is none, or it is the user's. thinking, tool: he waits for a reply, and in the end
for something that takes long. idle: nobody has anything to say."""

CHIME = "\N{BELL}"
"""A sign of life that is this is not spoken: it is a soft sound."""

Sign = Literal["moment", "still", "reprompt", "end"]


class Silence:
    """Knows since when there is dead air, of which kind, and which signs of life it was given."""

    def __init__(self) -> None:
        self._air: Air = "busy"
        self._since = 0
        self._given = 0
        self._left = 0

    def heard(self, reprompts: int) -> None:
        """The user said something: so often he may be asked whether he is still there."""
        self._left = reprompts

    def step(self, now: int, air: Air, policy: Policy) -> Sign | None:
        """The sign of life that is due, if one is. It counts as given."""
        waits = ("thinking", "tool")
        if air != self._air:
            if not (air in waits and self._air in waits):  # a tool that begins or ends does not begin the wait anew
                self._since, self._given = now, 0
            self._air = air
        for sign, due in self._signs(policy)[:1]:
            if now >= due:
                self._given += 1
                self._left -= sign == "reprompt"
                return sign
        return None

    def due(self, policy: Policy) -> int | None:
        """When to look again, or None."""
        return next((due for _, due in self._signs(policy)), None)

    def _signs(self, policy: Policy) -> Sequence[tuple[Sign, int]]:
        """What is due in this silence, the next one first."""
        p, found = policy, list[tuple[Sign, int]]()
        if self._air in ("thinking", "tool"):
            if p.moment and self._given == 0:
                found.append(("moment", self._since + p.slow_after))
            elif p.still:
                found.append(("still", self._since + p.slow_after + self._given * p.still_after))
        elif self._air == "idle":
            if p.reprompt_after and p.reprompt and self._left:
                found.append(("reprompt", self._since + p.reprompt_after))
            if p.end_after and not self._given:
                found.append(("end", self._since + p.end_after))
        return sorted(found, key=lambda sign: sign[1])
