"""What a client gets from the audio API: JSON, and server-sent events.

What no engine here says is a neutral value that typed clients can read: `avg_logprob` and `no_speech_prob` 0.0,
`tokens` an empty list, and 0 tokens in the usage of speech. `compression_ratio` is computed as Whisper does, and
`seek` is where the segment begins, in its frames of 10 ms.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import msgspec

from voiceloop.core.transcript import Document, Segment, Word
from voiceloop.wire.speech_api import AudioFormat, TextRequest
from voiceloop.wire.speech_errors import Refusal
from voiceloop.wire.speech_languages import english_name

EVENTS = "text/event-stream"
TEXT = "text/plain; charset=utf-8"

CONTENT_TYPES: dict[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def json_answer(document: Document) -> bytes:
    """`response_format` json."""
    return msgspec.json.encode({"text": document.text, "usage": _usage(document)})


def verbose_answer(document: Document, request: TextRequest) -> bytes:
    """`response_format` verbose_json."""
    answer: dict[str, Any] = {
        "task": request.task,
        "language": english_name("en" if request.task == "translate" else document.language or request.language),
        "duration": round(document.duration_s, 3),
        "text": document.text,
    }
    if request.segments:
        answer["segments"] = [
            _segment(number, segment, request.temperature) for number, segment in enumerate(document.segments)
        ]
    if request.words:
        answer["words"] = [_word(word) for segment in document.segments for word in segment.words]
    return msgspec.json.encode({**answer, "usage": _usage(document)})


def text_delta(text: str) -> bytes:
    """An event: a piece of a transcript; the pieces one after the other are the text."""
    return _event({"type": "transcript.text.delta", "delta": text})


def text_done(text: str) -> bytes:
    """The last event of a transcript. It has no usage: the schema knows only tokens there, and nobody counts them."""
    return _event({"type": "transcript.text.done", "text": text})


def audio_delta(audio: bytes) -> bytes:
    """An event: a piece of speech in the format that was asked for."""
    return _event({"type": "speech.audio.delta", "audio": b64encode(audio).decode("ascii")})


def audio_done() -> bytes:
    """The last event of speech."""
    return _event({"type": "speech.audio.done", "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}})


def error_event(refusal: Refusal) -> bytes:
    """An event: the stream ends here, and not as it should."""
    return _event({"type": "error", "error": refusal.error})


def models(names: Iterable[str]) -> bytes:
    """The answer to `/v1/models`."""
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})


def model(name: str) -> bytes:
    """The answer to `/v1/models/NAME`."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "voiceloop"}


def _usage(document: Document) -> dict[str, object]:
    return {"type": "duration", "seconds": ceil(document.duration_s)}


def _segment(number: int, segment: Segment, temperature: float) -> dict[str, object]:
    return {
        "id": number,
        "seek": round(segment.start_s * 100),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": 0.0 if segment.logprob is None else round(segment.logprob, 4),
        "compression_ratio": _compression(segment.text),
        "no_speech_prob": 0.0,
    }


def _word(word: Word) -> dict[str, object]:
    return {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}


def _compression(text: str) -> float:
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 3)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def joined(texts: Sequence[str]) -> str:
    """Segments as one text."""
    return " ".join(text for text in texts if text)
