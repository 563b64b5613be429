"""What was said by whom, as the next call of the handler will see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Item:
    """One thing said. text: for the user the words of the turn, for the assistant what was heard of the reply."""

    role: Literal["user", "assistant"]
    text: str
    turn: int | None = None
    reply: int | None = None


class History:
    """Items in the order in which they were said, trimmed to the newest `max_items` and `max_chars`."""

    def __init__(self, *, max_items: int = 200, max_chars: int = 20_000) -> None:
        self._items: list[Item] = []
        self._max_items = max_items
        self._max_chars = max_chars

    def user(self, turn: int, text: str) -> None:
        """Words of a decided turn."""
        self._items.append(Item("user", text, turn=turn))
        self._trim()

    def assistant(self, reply: int, turn: int | None, heard: str) -> None:
        """What was heard of a reply. One that nobody heard keeps its place, for `amend`, and is not shown."""
        self._items.append(Item("assistant", heard, turn=turn, reply=reply))
        self._trim()

    def amend(self, reply: int, heard: str) -> None:
        """The exact count says something else about an ended reply."""
        for i, item in enumerate(self._items):
            if item.reply == reply:
                self._items[i] = replace(item, text=heard)

    def withdraw(self, turn: int) -> None:
        """A turn was not finished: it and its reply were never said."""
        self._items = [item for item in self._items if item.turn != turn]

    def view(self, turn: int | None = None) -> tuple[Item, ...]:
        """All items but those of the given turn."""
        return tuple(item for item in self._items if item.text and (turn is None or item.turn != turn))

    def _trim(self) -> None:
        while len(self._items) > 1 and (
            len(self._items) > self._max_items or sum(len(i.text) for i in self._items) > self._max_chars
        ):
            del self._items[0]
