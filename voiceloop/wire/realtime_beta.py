"""The older dialect of OpenAI Realtime (header `OpenAI-Beta: realtime=v1`), translated from and to the newer one."""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace

from voiceloop.wire.realtime import ClientEvent, CreateResponse, Json, SessionUpdate

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_OLD_FORMATS = {new: old for old, new in _FORMATS.items()}

_PLACES = {
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
}
"""Where the keys of the flat session went."""

_EVENTS = {
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
    "response.output_text.": "response.text.",
}


_CONTENT = {"output_audio": "audio", "output_text": "text"}


def as_ga(event: ClientEvent) -> ClientEvent:
    """What a client of the older dialect meant."""
    match event:
        case SessionUpdate():
            return replace(event, session=_new_session(event.session))
        case CreateResponse(response=dict() as response):
            return replace(event, response=_new_session(response))
        case _:
            return event


def _new_session(old: Json) -> Json:
    new: Json = {key: value for key, value in old.items() if key not in _PLACES}
    for way in ("input", "output"):
        format = new.pop(f"{way}_audio_format", None)
        if isinstance(format, str):
            _put(new, ("audio", way, "format"), {"type": _FORMATS.get(format, format)})
    for key, place in _PLACES.items():
        if key in old:
            _put(new, place, old[key])
    return new


def _put(into: Json, place: tuple[str, ...], value: object) -> None:
    for key in place[:-1]:
        inner = into.get(key)
        inner = cast("Json", inner) if isinstance(inner, dict) else {}
        into[key] = inner
        into = inner
    into[place[-1]] = value


def as_beta(event: Json) -> Json | None:
    """An event of the server as older clients know it; None if they do not."""
    type: str = event["type"]
    if type == "conversation.item.done":
        return None
    if type == "conversation.item.added":
        type = "conversation.item.created"
    for new, old in _EVENTS.items():
        if type.startswith(new):
            type = old + type.removeprefix(new)
    out: Json = {**event, "type": type}
    if "session" in out:
        out["session"] = _old_session(out["session"])
    if "item" in out:
        out["item"] = _old_item(out["item"])
    if "response" in out:
        out["response"] = _old_response(out["response"])
    return out


def _old_session(new: Json) -> Json:
    old = {key: value for key, value in new.items() if key not in ("audio", "output_modalities", "max_output_tokens")}
    for way in ("input", "output"):
        old[f"{way}_audio_format"] = _OLD_FORMATS[new["audio"][way]["format"]["type"]]
    for key, place in _PLACES.items():
        value: Any = new
        for step in place:
            value = value[step]
        old[key] = value
    return old


def _old_item(new: Json) -> Json:
    if "content" not in new:
        return new
    content: list[Json] = new["content"]
    return {**new, "content": [{**part, "type": _CONTENT.get(part["type"], part["type"])} for part in content]}


def _old_response(new: Json) -> Json:
    old = {key: value for key, value in new.items() if key not in ("audio", "output_modalities")}
    audio = new["audio"]["output"]
    output: list[Json] = new["output"]
    return {
        **old,
        "modalities": new["output_modalities"],
        "voice": audio["voice"],
        "output_audio_format": _OLD_FORMATS[audio["format"]["type"]],
        "output": [_old_item(item) for item in output],
    }
