"""What a Realtime conversation wants sent to the client, and done by our session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.wire.realtime import Json, Refusal
from voiceloop.wire.realtime_items import Item
from voiceloop.wire.realtime_session import Output


@dataclass(frozen=True, slots=True)
class Hear:
    """Microphone samples, at the rate of the input format."""

    pcm: Pcm
    rate: int


@dataclass(frozen=True, slots=True)
class Understand:
    """Find the words of a message, and tell them by `Conversation.understood`."""

    item_id: str
    pcm: Pcm
    rate: int


@dataclass(frozen=True, slots=True)
class Recite:
    """Speak a text beside the talk, and tell it by `Conversation.recites` and `recited`. output: how; the audio has the
    rate of its format."""

    response: str
    text: str
    output: Output


Order = ev.Command | ev.Played | ev.Flushed | Hear | Understand | Recite
"""What is to be done, in order. `core.events` are fed to the session."""


class Outbox:
    """Both, in order, until they are taken."""

    def __init__(self, ids: Callable[[], str]) -> None:
        """ids: gives a new one each time, unique in the session."""
        self._ids = ids
        self._events: list[Json] = []
        self._orders: list[Order] = []
        self._n = 0

    def id(self, kind: str) -> str:
        """A new id for an item, a response, a call."""
        return f"{kind}_{self._ids()}"

    def send(self, type: str, **fields: Any) -> None:
        """One event for the client."""
        self._n += 1
        self._events.append({"type": type, "event_id": f"event_{self._n}", **fields})

    def item(self, item: Item, previous: str | None, *, done: bool) -> None:
        """An item is in the conversation now, or is complete."""
        kind = "conversation.item.done" if done else "conversation.item.added"
        self.send(kind, previous_item_id=previous, item=item.to_json())

    def refuse(self, refusal: Refusal) -> None:
        """Something that the client asked for cannot be done."""
        self.send("error", error=refusal.error)

    def order(self, *orders: Order) -> None:
        """Something for the session to do."""
        self._orders += orders

    def take_events(self) -> list[Json]:
        """The events since the last time."""
        events, self._events = self._events, []
        return events

    def take_orders(self) -> list[Order]:
        """The orders since the last time."""
        orders, self._orders = self._orders, []
        return orders
