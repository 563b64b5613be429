"""A handler that says what it heard: the shortest way to hear the whole loop work."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from voiceloop.ports import TurnView


class EchoHandler:
    """A Handler whose reply is the user's own words."""

    early = True

    async def warm_up(self) -> None:
        """Nothing to do."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """The words of the turn; nothing if there are none."""
        if turn.text.strip():
            yield turn.text

    async def aclose(self) -> None:
        """Nothing to give back."""
