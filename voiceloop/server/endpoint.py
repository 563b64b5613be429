"""What the routes of the audio API have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.types import Receive, Scope, Send

from voiceloop.sections import ServeSection
from voiceloop.server.exchange import EXCHANGE, Exchange
from voiceloop.server.limits import Line, Rates
from voiceloop.server.orders import Work
from voiceloop.wire.speech_errors import Refusal

MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""What clients ask for by default: each is served with the engine that is there."""

VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
"""The names of OpenAI's voices: each is one of the voices that are there."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes share. folder: for uploads while they are worked on."""

    serve: ServeSection
    work: Work
    line: Line
    rates: Rates
    folder: Path

    @property
    def models(self) -> list[str]:
        """Names that are listed."""
        return [*MODELS, *(name for name in self.serve.models if name not in MODELS)]

    def model(self, name: str) -> str:
        """What a model is called at the service behind, "" as configured. Raises Refusal."""
        if name not in self.models and self.serve.unknown_models == "error":
            known = ", ".join(self.models)
            said = f"There is no model {name!r}. Known: {known}."
            raise Refusal(404, said, param="model", code="model_not_found")
        return self.serve.models.get(name, "")

    def voice(self, name: str) -> str:
        """What a voice is called at the engine, "" as configured. Raises Refusal."""
        facts = self.work.facts
        present = facts.voices if facts else []
        if name in self.serve.voices:
            return self.serve.voices[name]
        if not present or name in present:
            return name
        if name.lower() in VOICES:
            return ""
        known = ", ".join(dict.fromkeys((*VOICES, *self.serve.voices, *present)))
        raise Refusal(400, f"There is no voice {name!r}. Known: {known}.", param="voice", code="voice_not_found")


class Endpoint(ABC):
    """One path: an ASGI app that takes some methods and answers in `handle`."""

    methods: tuple[str, ...] = ("GET", "HEAD")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does it. Raises Refusal, Gone, Broken."""
        if scope["method"] not in self.methods:
            allowed = ", ".join(self.methods)
            said = f"{scope['method']} is not possible here, only {allowed}."
            raise Refusal(405, said, code="method_not_allowed", headers={"allow": allowed})
        await self.handle(cast("Exchange", scope[EXCHANGE]))

    @abstractmethod
    async def handle(self, exchange: Exchange) -> None:
        """Answers. Raises Refusal, Gone, Broken."""
