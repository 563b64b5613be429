"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

from __future__ import annotations

from contextlib import aclosing

from voiceloop.core.captions import srt, vtt
from voiceloop.core.transcript import Document, Segment, Word
from voiceloop.server.endpoint import Desk, Endpoint
from voiceloop.server.exchange import Exchange
from voiceloop.server.limits import Ticket
from voiceloop.server.orders import Heard, Recording, Said
from voiceloop.server.uploads import received_form
from voiceloop.wire.speech_answers import (
    EVENTS,
    TEXT,
    error_event,
    joined,
    json_answer,
    text_delta,
    text_done,
    verbose_answer,
)
from voiceloop.wire.speech_api import Task, TextRequest, text_request
from voiceloop.wire.speech_errors import JSON, Refusal


class RecordingEndpoint(Endpoint):
    """Speech to text. task: in the language that is spoken, or in English."""

    methods = ("POST",)

    def __init__(self, desk: Desk, task: Task) -> None:
        super().__init__(desk)
        self._task: Task = task

    async def handle(self, exchange: Exchange) -> None:
        """Answers. Raises Refusal, Gone."""
        desk = self._desk
        desk.rates.count(exchange.key)
        async with desk.line.join(exchange.key) as ticket, received_form(exchange, desk.folder) as form:
            request = text_request(form.fields, self._task)
            desk.model(request.model)
            facts = desk.work.facts
            if self._task == "translate" and facts and not facts.translates:
                said = f"The engine of this server, {facts.stt}, cannot translate: use /v1/audio/transcriptions."
                raise Refusal(400, said, param="model", code="unsupported")
            order = Recording(
                path=str(form.path),
                task=self._task,
                language=request.language,
                prompt=request.prompt,
                temperature=request.temperature,
                words=request.words or request.format in ("srt", "vtt"),
            )
            await exchange.while_there(self._answer(exchange, request, order, ticket))

    async def _answer(self, exchange: Exchange, request: TextRequest, order: Recording, ticket: Ticket) -> None:
        await ticket.turn()
        if request.stream:
            await self._stream(exchange, order)
            return
        segments: list[Segment] = []
        heard = Heard(0.0, None)
        async with aclosing(self._desk.work.run(order)) as news:
            async for piece in news:
                match piece:
                    case Said():
                        segments.append(_segment(piece))
                    case Heard():
                        heard = piece
                    case _:
                        pass
        text = joined([segment.text for segment in segments])
        document = Document(text, heard.duration_s, heard.language or request.language or None, tuple(segments))
        body, kind = _written(document, request)
        await exchange.answer(body, kind)

    async def _stream(self, exchange: Exchange, order: Recording) -> None:
        texts: list[str] = []
        async with aclosing(self._desk.work.run(order)) as news:
            piece = await anext(news, None)  # an error before it is an answer of its own
            await exchange.start(EVENTS)
            try:
                while piece is not None:
                    if isinstance(piece, Said) and piece.text:
                        await exchange.write(text_delta(f" {piece.text}" if texts else piece.text))
                        texts.append(piece.text)
                    piece = await anext(news, None)
                await exchange.write(text_done(joined(texts)))
            except Refusal as exc:
                await exchange.write(error_event(exc))
        await exchange.finish()


def _written(document: Document, request: TextRequest) -> tuple[bytes, str]:
    """The body and its content type."""
    match request.format:
        case "json":
            return json_answer(document), JSON
        case "verbose_json":
            return verbose_answer(document, request), JSON
        case "text":
            return f"{document.text}\n".encode(), TEXT
        case "srt":
            return srt(document).encode(), TEXT
        case "vtt":
            return vtt(document).encode(), TEXT


def _segment(said: Said) -> Segment:
    words = tuple(Word(word.text, word.start_s, word.end_s) for word in said.words)
    return Segment(said.text, said.start_s, said.end_s, said.logprob, words)
