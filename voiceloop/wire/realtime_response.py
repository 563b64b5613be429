"""One response of a Realtime conversation: its events, in the order in which clients want them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from voiceloop.core.audio import Pcm
from voiceloop.wire.realtime import Json, packed, rate_of
from voiceloop.wire.realtime_items import Item, Items, Part
from voiceloop.wire.realtime_outbox import Outbox
from voiceloop.wire.realtime_session import (
    Choice,
    MaxTokens,
    Modality,
    RealtimeSession,
    Sound,
    Text,
    Tool,
    VoiceId,
    sounding,
)
from voiceloop.wire.realtime_usage import Tokens, of_context, of_output, usage

Outcome = Literal["completed", "cancelled", "failed", "incomplete"]


class WishedOutput(Struct, frozen=True):
    """How one response is to sound; None: as the session says."""

    format: Sound | None = None
    voice: Annotated[str, Meta(max_length=200)] | VoiceId | None = None


class WishedAudio(Struct, frozen=True):
    """There is only that direction."""

    output: WishedOutput | None = None


class Wish(Struct, frozen=True):
    """What a `response.create` says of it; None: as the session says."""

    instructions: Text | None = None
    audio: WishedAudio | None = None
    output_modalities: Annotated[list[Modality], Meta(min_length=1, max_length=2)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=500)] | None = None
    tool_choice: Literal["auto", "none", "required"] | Choice | None = None
    max_output_tokens: MaxTokens | None = None
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=10_000)]], Meta(max_length=64)] | None = None
    conversation: str | None = None
    input: Annotated[list[Json], Meta(max_length=1000)] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the client is to run. arguments: JSON."""

    name: str
    arguments: str
    id: str


@dataclass(slots=True)
class Made:
    """What a handler gave. text: only of a response that is spoken beside the talk. limited: it was stopped at the
    number of tokens that was asked for."""

    calls: list[Call] = field(default_factory=lambda: list[Call]())
    limited: bool = False
    text: str = ""


class Response:
    """Sends what becomes of one response. Calls in order: `create`, `say` and `sound` as often as need be, `end`.

    aside: it is no part of the conversation. context: what it is made from instead of that.
    """

    def __init__(
        self, out: Outbox, items: Items, session: RealtimeSession, wish: Wish, context: tuple[Item, ...] | None = None
    ) -> None:
        self.id = out.id("resp")
        self.wish = wish
        self.context = context
        self.stage: Literal["due", "created", "over"] = "due"
        self.item: Item | None = None
        self.sent = 0
        self.reason: Literal["turn_detected", "client_cancelled"] = "turn_detected"
        self._out = out
        self._items = items
        sound = (wish.audio and wish.audio.output) or WishedOutput()
        self._session = sounding(session, sound.format, sound.voice)
        self._output: list[Item] = []
        self._read = Tokens()

    @property
    def speaks(self) -> bool:
        """Whether it is to be spoken."""
        return "audio" in (self.wish.output_modalities or self._session.output_modalities)

    @property
    def aside(self) -> bool:
        """Whether it is no part of the conversation."""
        return self.wish.conversation == "none"

    @property
    def beside(self) -> bool:
        """Whether it is spoken, but not on the floor of our session."""
        return self.aside and self.speaks

    @property
    def rate(self) -> int:
        """Of its audio, Hz."""
        return rate_of(self._format)

    @property
    def session(self) -> RealtimeSession:
        """As it was when it was asked for, but for what the response itself is to be like."""
        return self._session

    @property
    def sent_ms(self) -> int:
        """Of audio."""
        return 1000 * self.sent // self.rate

    def create(self) -> None:
        """It is under way."""
        self.stage = "created"
        wish, session = self.wish, self._session
        self._read = of_context(
            self._items if self.context is None else self.context,
            session.instructions if wish.instructions is None else wish.instructions,
            session.tools if wish.tools is None else wish.tools,
        )
        self._out.send("response.created", response=self._to_json("in_progress", None))

    def say(self, text: str) -> None:
        """More of its text."""
        item = self._begun()
        item.parts[0].text = (item.parts[0].text or "") + text
        kind = "response.output_audio_transcript.delta" if self.speaks else "response.output_text.delta"
        self._send(kind, item, delta=text)

    def sound(self, pcm: Pcm) -> None:
        """More of its audio, at the rate of the output format."""
        item = self._begun()
        self.sent += pcm.size
        self._send("response.output_audio.delta", item, delta=packed(pcm, self._format))

    def begin(self) -> None:
        """There will be a message."""
        self._begun()

    def end(self, outcome: Outcome, made: Made, *, heard: str | None = None, error: str = "") -> None:
        """It is over. heard: that part of what was said. error: why it failed."""
        self.stage = "over"
        if self.item:
            self._close(self.item, heard, whole=outcome == "completed")
        if outcome == "completed":
            for call in made.calls:
                self._call(call)
            outcome = "incomplete" if made.limited else "completed"
        self._out.send("response.done", response=self._to_json(outcome, self._details(outcome, error)))

    def cut(self, heard: str) -> None:
        """Only that much of its words was heard."""
        if self.item and self.item.parts[0].text != heard:
            self.item.parts[0].text, self.item.status = heard, "incomplete"

    def _begun(self) -> Item:
        if self.item is None:
            self.item = Item(
                self._out.id("item"), role="assistant", status="in_progress", parts=[Part("", audio=self.speaks)]
            )
            self._add(self.item, content=[])
            self._send("response.content_part.added", self.item, part=self._part(self.item))
        return self.item

    def _add(self, item: Item, **shown: object) -> None:
        self._output.append(item)
        before = None if self.aside else self._items.add(item)
        place = {"response_id": self.id, "output_index": len(self._output) - 1}
        self._out.send("response.output_item.added", **place, item={**item.to_json(), **shown})
        if not self.aside:
            self._out.send("conversation.item.added", previous_item_id=before, item={**item.to_json(), **shown})

    def _done(self, item: Item) -> None:
        place = {"response_id": self.id, "output_index": self._output.index(item)}
        self._out.send("response.output_item.done", **place, item=item.to_json())
        if not self.aside:
            self._out.item(item, self._items.before(item.id), done=True)

    def _close(self, item: Item, heard: str | None, *, whole: bool) -> None:
        part = item.parts[0]
        part.text = part.text if heard is None else heard
        item.seconds = self.sent / self.rate
        item.status = "completed" if whole else "incomplete"
        if self.speaks:
            self._send("response.output_audio.done", item)
            self._send("response.output_audio_transcript.done", item, transcript=part.text)
        else:
            self._send("response.output_text.done", item, text=part.text)
        self._send("response.content_part.done", item, part=self._part(item))
        self._done(item)

    def _call(self, call: Call) -> None:
        item = Item(self._out.id("item"), "function_call", status="in_progress", name=call.name, call_id=call.id)
        self._add(item)
        item.parts, item.status = [Part(call.arguments)], "completed"
        place = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": self._output.index(item),
            "call_id": call.id,
        }
        kind = "response.function_call_arguments"
        self._out.send(f"{kind}.delta", **place, delta=call.arguments)
        self._out.send(f"{kind}.done", **place, name=call.name, arguments=call.arguments)
        self._done(item)

    def _send(self, type: str, item: Item, **fields: object) -> None:
        where = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": self._output.index(item),
            "content_index": 0,
        }
        self._out.send(type, **where, **fields)

    def _part(self, item: Item) -> Json:
        text = item.parts[0].text
        return {"type": "audio", "transcript": text} if self.speaks else {"type": "text", "text": text}

    @property
    def _format(self) -> str:
        return self._session.audio.output.format.type

    def _details(self, outcome: Outcome, error: str) -> Json | None:
        match outcome:
            case "completed":
                return None
            case "cancelled":
                return {"type": outcome, "reason": self.reason}
            case "incomplete":
                return {"type": outcome, "reason": "max_output_tokens"}
            case _:
                wrong = {"type": "server_error", "code": "handler_failed", "message": error}
                return {"type": outcome, "error": wrong}

    def _to_json(self, status: str, details: Json | None) -> Json:
        output, wish, session = self._session.audio.output, self.wish, self._session
        over = status != "in_progress"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.to_json() for item in self._output] if over else [],
            "conversation_id": None if self.aside else "conv_1",
            "output_modalities": wish.output_modalities or session.output_modalities,
            "max_output_tokens": wish.max_output_tokens or session.max_output_tokens,
            "audio": {"output": {"format": output.format.to_json(), "voice": msgspec.to_builtins(output.voice)}},
            "metadata": wish.metadata,
            "usage": usage(self._read, of_output(self._output)) if over else None,
        }
