"""OpenAI Realtime on the wire: the messages of the client, decoded and checked, and how it is told what is wrong.

GA names; `realtime_beta.py` translates what older clients send. What the server sends stands in `realtime_events.py`.
"""

from __future__ import annotations

import binascii
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Struct

from voiceloop.core.audio import Pcm
from voiceloop.errors import ProtocolError
from voiceloop.wire import g711

Json = dict[str, Any]
T = TypeVar("T")

MOST_AUDIO = 15 * 1024 * 1024
"""Bytes of audio in one append."""

PCM_RATE = 24_000
"""Of `audio/pcm`; the other two formats have 8 kHz."""


class Refusal(ProtocolError):
    """What the client asked for cannot be done; the session stays open.

    kind: `invalid_request_error` or `server_error`. event_id: of the event that asked for it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = "invalid_value",
        param: str | None = None,
        kind: str = "invalid_request_error",
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.kind = kind
        self.event_id = event_id

    @property
    def error(self) -> Json:
        """The body of an `error` event."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": str(self),
            "param": self.param,
            "event_id": self.event_id,
        }


class ClientEvent(Struct, frozen=True):
    """What every event of the client may carry."""

    event_id: str | None = None


class SessionUpdate(ClientEvent, frozen=True, kw_only=True):
    """Change the session, by a deep merge."""

    session: Json


class Append(ClientEvent, frozen=True, kw_only=True):
    """More audio. audio: base64."""

    audio: str


class Commit(ClientEvent, frozen=True):
    """The audio so far is a user's message."""


class Clear(ClientEvent, frozen=True):
    """The audio so far is none."""


class OutputClear(ClientEvent, frozen=True):
    """Stop speaking."""


class CreateItem(ClientEvent, frozen=True, kw_only=True):
    """An item of the client's own."""

    item: Json
    previous_item_id: str | None = None


class Retrieve(ClientEvent, frozen=True, kw_only=True):
    """Show an item."""

    item_id: str


class Delete(ClientEvent, frozen=True, kw_only=True):
    """Forget an item."""

    item_id: str


class Truncate(ClientEvent, frozen=True, kw_only=True):
    """Only so much of an assistant's message was heard."""

    item_id: str
    audio_end_ms: float
    content_index: int = 0


class CreateResponse(ClientEvent, frozen=True):
    """Answer now."""

    response: Json | None = None


class CancelResponse(ClientEvent, frozen=True):
    """Stop answering."""

    response_id: str | None = None


class _Head(Struct, frozen=True):
    type: str
    event_id: str | None = None


_EVENTS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "transcription_session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "output_audio_buffer.clear": OutputClear,
    "conversation.item.create": CreateItem,
    "conversation.item.retrieve": Retrieve,
    "conversation.item.delete": Delete,
    "conversation.item.truncate": Truncate,
    "response.create": CreateResponse,
    "response.cancel": CancelResponse,
}


def decode(message: str | bytes) -> ClientEvent:
    """One message of the client. Raises Refusal, with the client's event_id if that could be read."""
    head = _read(message, _Head, None)
    kind = _EVENTS.get(head.type)
    if kind is None:
        shown = head.type[:100]
        raise Refusal(f"{shown!r} is no event that a client may send.", param="type", event_id=head.event_id)
    return _read(message, kind, head.event_id)


def _read(message: str | bytes, kind: type[T], event_id: str | None) -> T:
    try:
        return msgspec.json.decode(message, type=kind)
    except msgspec.ValidationError as exc:
        wrong, param = said(exc)
        missing = "missing_required_parameter" if "missing required" in wrong else "invalid_value"
        raise Refusal(
            f"{param}: {wrong}." if param else f"{wrong}.", param=param, code=missing, event_id=event_id
        ) from None
    except (msgspec.DecodeError, UnicodeError):
        raise Refusal("The message is not JSON.", code="invalid_json", event_id=event_id) from None
    except RecursionError:
        raise Refusal("The message is nested too deeply.", code="invalid_json", event_id=event_id) from None


def encode(event: Json) -> bytes:
    """One event of the server as the text of a message."""
    return msgspec.json.encode(event)


def converted(values: object, kind: Any, where: str) -> Any:
    """A part of a message as one of our types. where: its key. Raises Refusal, with the path of what is wrong."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        wrong, param = said(exc)
        path = f"{where}.{param}" if param else where
        raise Refusal(f"{path}: {wrong}.", param=path) from None


def said(exc: msgspec.ValidationError) -> tuple[str, str | None]:
    """What is wrong, and the key it is about."""
    wrong, _, path = str(exc).partition(" - at `$")
    return wrong, path.rstrip("`").lstrip(".") or None


def merged(old: Json, new: Json) -> Json:
    """old, with what new says about it. Objects are merged as deep as they go; null replaces, and so does an object of
    another `type`, because its other keys mean something else."""
    out = dict(old)
    for key, value in new.items():
        known = out.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            ours, theirs = cast("Json", known), cast("Json", value)
            same = "type" not in theirs or ours.get("type") == theirs["type"]
            out[key] = merged(ours, theirs) if same else theirs
        else:
            out[key] = value
    return out


def sound(audio: str, format: str) -> Pcm:
    """The samples of base64 audio in one of the three formats, at its rate. Raises Refusal."""
    if len(audio) // 4 * 3 > MOST_AUDIO + 3:
        raise Refusal(f"One append holds at most {MOST_AUDIO} bytes of audio.", param="audio", code="audio_too_long")
    try:
        data = binascii.a2b_base64(audio, strict_mode=True) if audio else b""
    except ValueError:
        raise Refusal("The audio is not base64.", param="audio", code="invalid_audio") from None
    if format != "audio/pcm":
        return g711.decode(data, _law(format))
    if len(data) % 2:
        raise Refusal("A sample has two bytes, and their number is odd.", param="audio", code="invalid_audio")
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def packed(pcm: Pcm, format: str) -> str:
    """Samples, at the rate of the format, as base64."""
    data = pcm.astype("<i2", copy=False).tobytes() if format == "audio/pcm" else g711.encode(pcm, _law(format))
    return binascii.b2a_base64(data, newline=False).decode()


def rate_of(format: str) -> int:
    """Samples a second."""
    return PCM_RATE if format == "audio/pcm" else g711.RATE


def _law(format: str) -> str:
    return "mu" if format == "audio/pcmu" else "a"
