"""The shared engines, as the client of one Realtime session wants them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from voiceloop.core.audio import Pcm
from voiceloop.ports import Chooser, Handler, Manner, Message, Synthesizer, Transcriber, Transcript, TurnView
from voiceloop.view import Brief, Note, ToolCall, ToolOffer, ToolResult
from voiceloop.wire.realtime_answers import Ask
from voiceloop.wire.realtime_conversation import Conversation
from voiceloop.wire.realtime_items import Item
from voiceloop.wire.realtime_session import DEFAULT_VOICE, Output, RealtimeSession

_CHARS = 6
"""A token of text has about four characters; a handler that counts none itself is stopped here at the latest."""


class Briefed:
    """The configured handler, told what the client wants: its words, its context, its instructions and tools."""

    def __init__(self, handler: Handler, conversation: Conversation) -> None:
        self._handler = handler
        self._conversation = conversation

    @property
    def early(self) -> bool:
        """As the handler: what it has the client do waits until its reply is over."""
        return self._handler.early

    async def warm_up(self) -> None:
        """It is shared, and warm."""

    async def aclose(self) -> None:
        """It is shared."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """What the handler gives; nothing if the client wants no answer to this turn."""
        talk, id = self._conversation, turn.turn
        ask = talk.ask(id, turn.text)
        if ask is None:
            return
        brief = _brief(
            ask, lambda call, name, arguments: talk.called(id, name, arguments, call), lambda: talk.limited(id)
        )
        view = replace(turn, text=ask.text, history=_history(ask), brief=brief)
        left = None if ask.max_tokens is None else ask.max_tokens * _CHARS
        async with aclosing(self._handler.reply(view)) as pieces:
            async for piece in pieces:
                text = piece if left is None else piece[:left]
                if text and not talk.wrote(id, text):
                    return
                yield text
                if left is not None:
                    left -= len(piece)
                    if left <= 0:
                        talk.limited(id)
                        return


def _brief(ask: Ask, call: Callable[[str, str, str], None], limited: Callable[[], None]) -> Brief:
    offers = tuple(ToolOffer(tool.name, tool.description or "", tool.parameters or {}) for tool in ask.tools)
    context = tuple(_said(item) for item in ask.context)
    return Brief(context, ask.instructions, offers, ask.choice, ask.max_tokens, call, limited)


def _said(item: Item) -> Message | Note | ToolCall | ToolResult:
    match item.kind, item.role:
        case "function_call", _:
            return ToolCall(item.call_id, item.name, item.text)
        case "function_call_output", _:
            return ToolResult(item.call_id, item.text)
        case _, "system":
            return Note(item.text)
        case _, "assistant":
            return Message("assistant", item.text, item.text)
        case _:
            return Message("user", item.text)


def _history(ask: Ask) -> tuple[Message, ...]:
    """What was said before the newest words, for handlers that do not know more."""
    said = [_said(item) for item in ask.context]
    newest = max((n for n, m in enumerate(said) if isinstance(m, Message) and m.role == "user"), default=len(said))
    return tuple(m for m in said[:newest] if isinstance(m, Message) and m.text)


class Voiced:
    """The voice and the speed that the client wants."""

    def __init__(self, synthesizer: Synthesizer, output: Callable[[], Output], names: Mapping[str, str]) -> None:
        """output: how what is spoken now is to sound. names: what voices are called at the engine, by what clients
        call them."""
        self._synthesizer = synthesizer
        self._output = output
        self._names = names

    @property
    def rate(self) -> int:
        """Of the engine."""
        return self._synthesizer.rate

    @property
    def voices(self) -> tuple[str, ...]:
        """Of the engine."""
        return self._synthesizer.voices

    async def warm_up(self) -> None:
        """It is shared, and warm."""

    async def aclose(self) -> None:
        """It is shared."""

    def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """As the engine does, in that voice where it has one of the name."""
        wanted = self._output()
        name = wanted.voice_name
        known = self.voices
        voice = self._names.get(name, name if name in known or (not known and name != DEFAULT_VOICE) else "")
        speed = None if wanted.speed == 1.0 else wanted.speed
        return self._synthesizer.speak(text, manner or (Manner(voice=voice, speed=speed) if voice or speed else None))


class Listening:
    """The language and the prompt that the client gives for its words."""

    def __init__(self, transcriber: Transcriber, session: Callable[[], RealtimeSession]) -> None:
        self._transcriber = transcriber
        self._session = session

    @property
    def longest(self) -> int | None:
        """Of the engine."""
        return self._transcriber.longest

    async def warm_up(self) -> None:
        """It is shared, and warm."""

    async def aclose(self) -> None:
        """It is shared."""

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """As the engine does."""
        wanted = self._session().audio.input.transcription
        return await self._transcriber.transcribe(
            pcm,
            language=language or (wanted.language if wanted else None) or None,
            prompt=prompt or (wanted.prompt if wanted else None) or None,
        )


class ListeningChooser(Listening):
    """The same, for an engine that is a `Chooser` as well."""

    def __init__(self, transcriber: Transcriber, chooser: Chooser, session: Callable[[], RealtimeSession]) -> None:
        super().__init__(transcriber, session)
        self._chooser = chooser

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """As the engine does."""
        return await self._chooser.choose(pcm, phrases)


def listening(transcriber: Transcriber, session: Callable[[], RealtimeSession]) -> Transcriber:
    """The transcriber, with what the session says of the language."""
    if isinstance(transcriber, Chooser):
        return ListeningChooser(transcriber, transcriber, session)
    return Listening(transcriber, session)
