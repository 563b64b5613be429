"""The items of a Realtime conversation: what was said, asked of tools, and answered by them, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from voiceloop.wire.realtime import Json, Refusal, converted

Status = Literal["in_progress", "completed", "incomplete"]
Role = Literal["user", "assistant", "system"]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=1_000_000)]

MOST_ITEMS = 1_000
"""Kept of one conversation; then the oldest is forgotten."""


@dataclass(slots=True)
class Part:
    """One piece of content. text: of audio, its transcript, None while that is not known. audio: it is spoken."""

    text: str | None
    audio: bool = False


@dataclass(slots=True)
class Item:
    """A message, a call of a function (text: its arguments), or what came of one (text: its output).

    seconds: of audio in it.
    """

    id: str
    kind: Literal["message", "function_call", "function_call_output"] = "message"
    role: Role | None = None
    status: Status = "completed"
    parts: list[Part] = field(default_factory=lambda: list[Part]())
    name: str = ""
    call_id: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All its words."""
        return "\n".join(part.text for part in self.parts if part.text)

    @property
    def spoken(self) -> bool:
        """Whether there is audio in it."""
        return any(part.audio for part in self.parts)

    @property
    def unheard(self) -> int | None:
        """The part that was spoken and whose words are not known."""
        return next((n for n, part in enumerate(self.parts) if part.audio and part.text is None), None)

    def to_json(self) -> Json:
        """As clients know it. Audio itself is not kept."""
        head: Json = {"id": self.id, "object": "realtime.item", "type": self.kind, "status": self.status}
        if self.kind == "function_call":
            return {**head, "name": self.name, "call_id": self.call_id, "arguments": self.text}
        if self.kind == "function_call_output":
            return {**head, "call_id": self.call_id, "output": self.text}
        way = "output" if self.role == "assistant" else "input"
        content: list[Json] = [
            {"type": f"{way}_audio", "transcript": part.text}
            if part.audio
            else {"type": f"{way}_text", "text": part.text}
            for part in self.parts
        ]
        return {**head, "role": self.role, "content": content}


class Items:
    """In order; ids are unique."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def get(self, id: str) -> Item | None:
        """By its id."""
        return next((item for item in self._items if item.id == id), None)

    def find(self, id: str, why: str) -> Item:
        """By its id. why: what the client wants with it. Raises Refusal."""
        if item := self.get(id):
            return item
        raise Refusal(f"There is no item {id[:100]!r}.", param="item_id", code=f"item_{why}_invalid_item_id")

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Puts it at the end, or after another one (`root`: in front of all); the id of the one before it.

        Raises Refusal.
        """
        if self.get(item.id):
            raise Refusal(
                f"There is an item {item.id[:100]!r} already.", param="item.id", code="item_create_duplicate_id"
            )
        place = len(self._items)
        if after == "root":
            place = 0
        elif after is not None:
            place = next((n + 1 for n, other in enumerate(self._items) if other.id == after), -1)
            if place < 0:
                raise Refusal(f"There is no item {after[:100]!r}.", param="previous_item_id", code="item_not_found")
        self._items.insert(place, item)
        before = self._items[place - 1].id if place else None
        if len(self._items) > MOST_ITEMS:
            del self._items[0]
        return before

    def before(self, id: str) -> str | None:
        """The id of the one before it."""
        ids = [item.id for item in self._items]
        place = ids.index(id) if id in ids else 0
        return ids[place - 1] if place else None

    def remove(self, id: str) -> None:
        """Forgets it."""
        self._items = [item for item in self._items if item.id != id]


class _Content(Struct, frozen=True):
    type: Literal["input_text", "input_audio", "output_text", "output_audio", "input_image", "text", "audio"]
    text: Text | None = None
    audio: str | None = None
    transcript: Text | None = None


class _Message(Struct, frozen=True, tag_field="type", tag="message"):
    role: Role
    content: Annotated[list[_Content], Meta(max_length=100)]
    id: Id | None = None
    status: Status | None = None


class _Call(Struct, frozen=True, tag_field="type", tag="function_call"):
    name: Id
    arguments: Text
    call_id: Id | None = None
    id: Id | None = None


class _CallOutput(Struct, frozen=True, tag_field="type", tag="function_call_output"):
    call_id: Id
    output: Text
    id: Id | None = None


class _Reference(Struct, frozen=True, tag_field="type", tag="item_reference"):
    id: Id


def parsed(item: Json, new_id: str, known: Items | None = None, *, where: str = "item") -> tuple[Item, str]:
    """The item of a client, and base64 of the audio in it whose words are not known ("" if there is none).

    new_id: if it has none of its own. known: items that it may refer to. Raises Refusal.
    """
    found: _Message | _Call | _CallOutput | _Reference = converted(
        item, _Message | _Call | _CallOutput | _Reference, where
    )
    if isinstance(found, _Reference):
        if known is None:
            raise Refusal("An item_reference is no item of its own.", param=f"{where}.type")
        return known.find(found.id, "reference"), ""
    id = found.id or new_id
    if isinstance(found, _Call):
        text = [Part(found.arguments)]
        return Item(id, "function_call", parts=text, name=found.name, call_id=found.call_id or f"call_{id}"), ""
    if isinstance(found, _CallOutput):
        return Item(id, "function_call_output", parts=[Part(found.output)], call_id=found.call_id), ""
    sounds: list[str] = []
    parts = [_part(content, found.role, f"{where}.content[{n}]", sounds) for n, content in enumerate(found.content)]
    if len(sounds) > 1:
        raise Refusal("An item holds one piece of audio at most.", param=f"{where}.content")
    return Item(id, role=found.role, parts=parts), "".join(sounds)


def _part(content: _Content, role: Role, where: str, sounds: list[str]) -> Part:
    kind: Any = content.type.removeprefix("input_").removeprefix("output_")
    if kind == "image":
        raise Refusal("Images are not understood here.", param=f"{where}.type", code="unsupported_content")
    if kind == "text":
        if content.text is None:
            raise Refusal("The text is missing.", param=f"{where}.text", code="missing_required_parameter")
        return Part(content.text)
    if role == "user" and content.audio and content.transcript is None:
        sounds.append(content.audio)
    return Part(content.transcript, audio=True)
