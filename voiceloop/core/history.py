"""What was said by whom, as the next call of the handler will see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Item:
    """One thing said. text: for the user the words of the turn, for the assistant what was heard of the reply.

    said: the reply's text as far as it was known, heard or not. cut_at: samples of it, at the port's rate, that had
    been played when it was stopped; None if nothing was cut off.
    """

    role: Literal["user", "assistant"]
    text: str
    turn: int | None = None
    reply: int | None = None
    said: str | None = None
    cut_at: int | None = None


class History:
    """Items in the order in which they were said, trimmed to the newest `max_items` and `max_chars`.

    The newest turn is provisional: `withdraw` leaves what would be there without it, also what was trimmed for it.
    """

    def __init__(self, *, max_items: int = 200, max_chars: int = 20_000) -> None:
        self._items: list[Item] = []
        self._first = 0
        self.turn = 0
        """The newest turn whose words it was given."""
        self._max_items = max_items
        self._max_chars = max_chars

    def user(self, turn: int, text: str) -> None:
        """Words of a decided turn."""
        if turn != self.turn:
            self.turn = turn
            del self._items[: self._first]
        self._items.append(Item("user", text, turn=turn))
        self._trim()

    def assistant(self, reply: int, turn: int | None, heard: str, *, said: str, cut_at: int | None = None) -> None:
        """What was heard of a reply, so far or at its end; it keeps the place that it got first.

        One that nobody heard keeps its place too, for `amend`, and is not shown.
        """
        item = Item("assistant", heard, turn, reply, said, cut_at)
        known = next((i for i, other in enumerate(self._items) if other.reply == reply), len(self._items))
        self._items[known : known + 1] = [item]
        self._trim()

    def amend(self, reply: int, heard: str, cut_at: int | None) -> None:
        """The exact count says something else about an ended reply."""
        for i, item in enumerate(self._items):
            if item.reply == reply:
                self._items[i] = replace(item, text=heard, cut_at=cut_at)

    def withdraw(self, turn: int) -> None:
        """The turn was not finished: neither its words nor what was heard of its replies was ever said."""
        self._items = [item for item in self._items if item.turn != turn]
        self._trim()

    def view(self, turn: int | None = None) -> tuple[Item, ...]:
        """All items but those of the given turn."""
        shown = self._items[self._first :]
        return tuple(item for item in shown if item.text and (turn is None or item.turn != turn))

    def _trim(self) -> None:
        """Finds the first item that is shown. Of those before it, as many are kept as `withdraw` could show."""
        n, chars = 0, 0
        for item in reversed(self._items):
            n, chars = n + 1, chars + len(item.text)
            if n > 1 and (n > self._max_items or chars > self._max_chars):
                n -= 1
                break
        others = [i for i, item in enumerate(self._items) if item.turn != self.turn]
        surplus = set(others[: -self._max_items])
        self._items = [item for i, item in enumerate(self._items) if i not in surplus]
        self._first = len(self._items) - n
