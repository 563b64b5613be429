"""What a response used, in OpenAI's tokens: counted where that is possible, estimated where only a tokenizer knows.

Audio is exact by OpenAI's own rates (its guide to the costs of Realtime: 1 token per 100 ms of a user's audio, 1 per
50 ms of the assistant's). Text is estimated at four characters a token (its help: "What are tokens and how to count
them"), because handlers have tokenizers of their own, or none. Nothing is cached here, and there are no images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import msgspec

from voiceloop.wire.realtime import Json
from voiceloop.wire.realtime_items import Item
from voiceloop.wire.realtime_session import Tool

_USER_S = 0.1
_ASSISTANT_S = 0.05
_CHARS = 4


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of text and of audio."""

    text: int = 0
    audio: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.text + self.audio


def of_text(text: str) -> int:
    """Tokens of a text, estimated."""
    return ceil(len(text) / _CHARS)


def of_context(items: Iterable[Item], instructions: str | None, tools: Sequence[Tool]) -> Tokens:
    """What a model reads: spoken parts count as audio, all others as text, beside the instructions and the tools."""
    text = of_text(instructions or "") + sum(of_text(msgspec.json.encode(tool).decode()) for tool in tools)
    audio = 0
    for item in items:
        audio += _of_sound(item)
        text += sum(of_text(part.text or "") for part in item.parts if not part.audio) + of_text(item.name)
    return Tokens(text, audio)


def of_output(items: Iterable[Item]) -> Tokens:
    """What it makes: speech counts as audio, and its transcript as text."""
    made = list(items)
    return Tokens(sum(of_text(item.text) + of_text(item.name) for item in made), sum(map(_of_sound, made)))


def usage(read: Tokens, made: Tokens) -> Json:
    """The `usage` of a `response.done`."""
    return {
        "total_tokens": read.total + made.total,
        "input_tokens": read.total,
        "output_tokens": made.total,
        "input_token_details": {
            "text_tokens": read.text,
            "audio_tokens": read.audio,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": made.text, "audio_tokens": made.audio},
    }


def _of_sound(item: Item) -> int:
    return ceil(round(item.seconds / (_ASSISTANT_S if item.role == "assistant" else _USER_S), 6))
