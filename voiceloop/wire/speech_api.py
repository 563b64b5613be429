"""What a client asks of `/v1/audio/speech`, `/v1/audio/transcriptions` and `/v1/audio/translations`.

Fields that are not known are tolerated, as OpenAI's own SDKs may send more than this version knows.
The rules are the table in WIRE.md, recorded from the SDKs and the official schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import msgspec

from voiceloop.wire.speech_errors import Refusal, bad

T = TypeVar("T")

MAX_INPUT = 4096
"""Characters of a text, and of instructions."""
MAX_NAME = 256
"""Characters of the name of a model or voice."""

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Task = Literal["transcribe", "translate"]

AUDIO_FORMATS: tuple[AudioFormat, ...] = ("mp3", "opus", "aac", "flac", "wav", "pcm")
TEXT_FORMATS: tuple[TextFormat, ...] = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("word", "segment")
INCLUDES = ("logprobs",)

Fields = Mapping[str, Sequence[str]]
"""The fields of a form but `file`, in the order in which they came."""

_LANGUAGE = re.compile(r"([a-z]{2,3})([-_][a-z0-9-]+)?", re.IGNORECASE)
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to be spoken. voice: as the client names it."""

    model: str
    text: str
    voice: str
    format: AudioFormat = "mp3"
    speed: float = 1.0
    instructions: str = ""
    sse: bool = False


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A recording to be written down. language: ISO 639-1, "" if it is to be found out.

    words, segments: which times `verbose_json` is to have.
    """

    model: str
    task: Task = "transcribe"
    language: str = ""
    prompt: str = ""
    format: TextFormat = "json"
    temperature: float = 0.0
    stream: bool = False
    words: bool = False
    segments: bool = True


def speech_request(body: bytes) -> SpeechRequest:
    """The request in a JSON body. Raises Refusal."""
    fields = _object(body)
    text = _text(fields, "input", required=True)
    if len(text) > MAX_INPUT:
        raise bad(
            "input", f"input has {len(text)} characters, at most {MAX_INPUT} are allowed.", "string_above_max_length"
        )
    if not text.strip():
        raise bad("input", "input is empty: give a text to be spoken.", "string_below_min_length")
    instructions = _text(fields, "instructions")
    if len(instructions) > MAX_INPUT:
        raise bad("instructions", f"instructions are longer than {MAX_INPUT} characters.", "string_above_max_length")
    return SpeechRequest(
        model=_name(fields, "model"),
        text=text,
        voice=_voice(fields),
        format=_choice("response_format", _text(fields, "response_format") or "mp3", AUDIO_FORMATS),
        speed=_number("speed", fields.get("speed"), 0.25, 4.0, 1.0),
        instructions=instructions,
        sse=_choice("stream_format", _text(fields, "stream_format") or "audio", ("audio", "sse")) == "sse",
    )


def text_request(fields: Fields, task: Task) -> TextRequest:
    """The request in the fields of a form. Raises Refusal."""
    model = _last(fields, "model")
    if not model.strip():
        raise bad("model", "model is missing: name one, as whisper-1.", "missing_required_parameter")
    if len(model) > MAX_NAME:
        raise bad("model", f"model is longer than {MAX_NAME} characters.", "string_above_max_length")
    form = _choice("response_format", _last(fields, "response_format") or "json", TEXT_FORMATS)
    wanted = _all(fields, "timestamp_granularities", GRANULARITIES)
    if wanted and form != "verbose_json":
        raise bad("timestamp_granularities", "timestamp_granularities need response_format verbose_json.")
    _all(fields, "include", INCLUDES)
    _chunking(fields)
    stream = _flag(fields, "stream")
    if stream and form not in ("json", "text"):
        raise bad("stream", f"response_format {form} cannot be streamed: use json or text.")
    return TextRequest(
        model=model,
        task=task,
        language=_language(_last(fields, "language")),
        prompt=_last(fields, "prompt"),
        format=form,
        temperature=_number("temperature", _numeral("temperature", fields), 0.0, 1.0, 0.0),
        stream=stream,
        words="word" in wanted,
        segments="segment" in wanted or not wanted,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Refusal(400, f"The body is not valid JSON: {str(exc).rstrip('.')}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The body is JSON, but not an object.", code="invalid_json")
    return cast("dict[str, Any]", value)


def _text(fields: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = fields.get(name)
    if value is None:
        if required:
            raise bad(name, f"{name} is missing.", "missing_required_parameter")
        return ""
    if not isinstance(value, str):
        raise bad(name, f"{name} must be text.", "invalid_type")
    return value


def _name(fields: Mapping[str, Any], name: str) -> str:
    value = _text(fields, name, required=True)
    if not value.strip():
        raise bad(name, f"{name} is empty.", "missing_required_parameter")
    if len(value) > MAX_NAME:
        raise bad(name, f"{name} is longer than {MAX_NAME} characters.", "string_above_max_length")
    return value


def _voice(fields: Mapping[str, Any]) -> str:
    """The name of a voice, written as text or as {"id": "..."}."""
    value = fields.get("voice")
    if isinstance(value, dict):
        custom = cast("dict[str, Any]", value)
        if not isinstance(custom.get("id"), str):
            raise bad("voice", 'voice must be text, or an object as {"id": "..."}.', "invalid_type")
        return _name({"voice": custom["id"]}, "voice")
    return _name(fields, "voice")


def _choice(param: str, value: str, choices: Sequence[T]) -> T:
    for choice in choices:
        if choice == value:
            return choice
    known = ", ".join(map(str, choices))
    raise bad(param, f"{param} is {value[:MAX_NAME]!r}, but must be one of: {known}.", "invalid_value")


def _number(param: str, value: Any, low: float, high: float, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad(param, f"{param} must be a number.", "invalid_type")
    if not low <= value <= high:
        raise bad(param, f"{param} is {value:g}, but must be between {low:g} and {high:g}.", "invalid_value")
    return float(value)


# --- fields of a form: all are text, and a name may come several times ---


def _last(fields: Fields, name: str) -> str:
    values = fields.get(name, ())
    return values[-1] if values else ""


def _given(fields: Fields, name: str) -> str:
    """The same of a field that may be null: generated clients write that as the word."""
    value = _last(fields, name)
    return "" if value == "null" else value


def _all(fields: Fields, name: str, choices: Sequence[str]) -> list[str]:
    """A list, written as NAME[]=a NAME[]=b, NAME[0]=a, or NAME=a."""
    listed = re.compile(rf"{name}(\[\d*\])?")
    values = [value for key, several in fields.items() if listed.fullmatch(key) for value in several]
    return [_choice(name, value, choices) for value in values]


def _flag(fields: Fields, name: str) -> bool:
    value = _given(fields, name).lower()
    if value not in _TRUE + _FALSE:
        raise bad(name, f"{name} must be true or false.", "invalid_type")
    return value in _TRUE


def _numeral(name: str, fields: Fields) -> float | None:
    value = _last(fields, name).strip()
    try:
        return float(value) if value else None
    except ValueError:
        raise bad(name, f"{name} must be a number.", "invalid_type") from None


def _language(value: str) -> str:
    """Without a region: many clients send that of the system, as en-US."""
    value = value.strip()
    if not value:
        return ""
    found = _LANGUAGE.fullmatch(value)
    if found is None:
        raise bad("language", "language must be ISO 639-1, as en or de.", "invalid_language_format")
    return found[1].lower()


_VAD: dict[str, Callable[[Any], float]] = {
    "prefix_padding_ms": lambda v: _number("chunking_strategy", v, 0, 600_000, 0),
    "silence_duration_ms": lambda v: _number("chunking_strategy", v, 0, 600_000, 0),
    "threshold": lambda v: _number("chunking_strategy", v, 0.0, 1.0, 0),
}
"""The options of `server_vad` are checked and not used: recordings are always cut at their silences."""


def _chunking(fields: Fields) -> None:
    param = "chunking_strategy"
    options: dict[str, Any] = {}
    for key, several in fields.items():
        if found := re.fullmatch(rf"{param}\[(\w+)\]", key):
            options[found[1]] = several[-1] if found[1] == "type" else _numeral(key, fields)
    plain = _given(fields, param)
    if plain.startswith("{"):
        options = _json_options(param, plain)
    elif plain:
        _choice(param, plain, ("auto",))
    if options:
        kind = options.get("type")
        _choice(param, kind if isinstance(kind, str) else "", ("server_vad", "auto"))
        for name, check in _VAD.items():
            check(options.get(name))


def _json_options(param: str, value: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise bad(param, f'{param} must be auto, or an object as {{"type": "server_vad"}}.', "invalid_type") from None
