"""A handler that asks any service with OpenAI's `POST chat/completions`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import cast

from voiceloop.adapters.http import Answer, Service
from voiceloop.adapters.http_events import Events
from voiceloop.errors import ProviderError
from voiceloop.ports import Message, TurnView

log = logging.getLogger("voiceloop.chat")

DRAIN_S = 0.05
"""How long to wait for the end of a body after its [DONE], which lets the connection be used again."""

_THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))

Fields = dict[str, object]


class ChatHandler:
    """A Handler that sends the conversation so far and speaks the answer while it is written."""

    early = True

    def __init__(
        self,
        service: Service,
        model: str,
        system_prompt: str = "",
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """extra: further fields of the request body, as the service calls them (`max_completion_tokens`, ...)."""
        self._http = service.client("handler")
        self._system = system_prompt.strip()
        self._request: Fields = {"model": model, "stream": True}
        if temperature is not None:
            self._request["temperature"] = temperature
        if max_tokens is not None:
            self._request["max_tokens"] = max_tokens
        self._request.update(extra or {})

    async def warm_up(self) -> None:
        """Opens the connection; does not fail."""
        await self._http.warm_up()

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """The answer in the pieces in which it comes. Raises ProviderError. May be cancelled.

        What a model thinks is left out. A reply cut off by the token limit just ends there.
        """
        messages = _messages(self._system, turn)
        private = [self._system, turn.text, *(_heard(m) for m in turn.history)]
        thoughts, tally = _Thoughts(), _Tally()
        async with (
            self._http.open(
                "chat/completions", json={**self._request, "messages": messages}, private=private
            ) as answer,
            aclosing(_objects(answer)) as objects,
        ):
            async for found in objects:
                self._check(found, answer)
                text = thoughts.feed(tally.add(found))
                if text:
                    tally.spoke = tally.spoke or not text.isspace()
                    yield text
        if text := thoughts.flush():
            tally.spoke = tally.spoke or not text.isspace()
            yield text
        self._conclude(tally)

    async def aclose(self) -> None:
        """Gives the connection back. Twice is legal."""
        await self._http.aclose()

    def _check(self, found: Fields, answer: Answer) -> None:
        if found.get("error") or ("choices" not in found and {"detail", "message"} & found.keys()):
            raise answer.unexpected(json.dumps(found).encode(), "a reply")

    def _conclude(self, tally: _Tally) -> None:
        """Raises ProviderError if what came is no whole reply."""
        if tally.reason is None and not tally.done:
            raise self._http.error("broke off its reply: look at its log.", retryable=True)
        if tally.spoke:
            if tally.reason == "length":
                log.warning("%s cut its reply off at the token limit", self._http.who)
        elif tally.tools:
            raise self._http.error("only asked for a tool, and none was offered: choose another model or prompt.")
        elif tally.reason == "length":
            raise self._http.error("used up its tokens before it said anything: allow it more, or less thinking.")
        elif tally.reason == "content_filter":
            raise self._http.refused("withheld its reply by its content filter.")


class _Tally:
    """What has been seen of a reply besides its text."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.done = False
        self.tools = False
        self.spoke = False

    def add(self, found: Fields) -> str:
        """The text in one object of the stream, or in a whole answer."""
        self.done = self.done or bool(found.get("done"))
        choices = found.get("choices")
        first = cast("list[object]", choices)[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict):  # the last object of a stream may only count tokens
            return ""
        choice = cast("Fields", first)
        reason = choice.get("finish_reason")
        self.reason = reason if isinstance(reason, str) and reason else self.reason
        part = choice.get("delta") or choice.get("message")
        if not isinstance(part, dict):
            return ""
        delta = cast("Fields", part)
        self.tools = self.tools or bool(delta.get("tool_calls") or delta.get("function_call"))
        return _text(delta.get("content")) + _text(delta.get("refusal"))


class _Thoughts:
    """Leaves out what stands in <think> tags at the beginning of a reply."""

    def __init__(self) -> None:
        self._held = ""
        self._close = ""
        self._begun = False

    def feed(self, text: str) -> str:
        """What may be spoken of the text so far; the rest waits."""
        if self._begun:
            return text
        self._held += text
        if self._close:
            _, end, after = self._held.partition(self._close)
            if not end:
                self._held = self._held[-len(self._close) :]
                return ""
            self._held, self._close = after, ""
        start = self._held.lstrip()
        for opening, close in _THOUGHTS:
            if start.startswith(opening):
                self._held, self._close = start[len(opening) :], close
                return self.feed("")
        if any(opening.startswith(start) for opening, _ in _THOUGHTS):
            return ""
        self._begun, self._held = True, ""
        return start

    def flush(self) -> str:
        """What was held back at the end of the reply; unfinished thoughts stay unsaid."""
        return "" if self._close or self._begun else self._held.strip()


def _messages(system: str, turn: TurnView) -> list[Fields]:
    """The conversation as the API wants it.

    Neighbours of one role are joined: the templates of some models (Gemma, Mistral) reject them.
    """
    said = [("system", system), *((m.role, _heard(m)) for m in turn.history), ("user", turn.text)]
    merged: list[tuple[str, str]] = []
    for role, text in said:
        if not text:
            continue
        if merged and merged[-1][0] == role:
            text = f"{merged.pop()[1]}\n{text}"
        merged.append((role, text))
    return [{"role": role, "content": text} for role, text in merged]


def _heard(message: Message) -> str:
    """What was heard, with an ellipsis where it broke off: the model must know, and not take its own plan for said."""
    text = message.text.strip()
    if not text or message.cut_at is None or text == (message.said or "").strip():
        return text
    return f"{text}…" if text[-1].isalnum() else f"{text} …"


def _text(content: object) -> str:
    """A string, or the text parts of a list of parts; thinking is another type of part."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [cast("Fields", p) for p in cast("list[object]", content) if isinstance(p, dict)]
    return "".join(str(p.get("text", "")) for p in parts if p.get("type") == "text")


async def _objects(answer: Answer) -> AsyncGenerator[Fields, None]:
    """The JSON objects of an event stream, or the one of an answer by a server that does not stream.

    `{"done": True}` stands for [DONE]. Decided by the first byte: some servers mislabel what they send.
    """
    events, head = Events(), b""
    async with aclosing(answer.chunks()) as chunks:
        async for data in chunks:
            if events.n == 0 and not head.strip():
                head += data
                if not head.strip():
                    continue
                data = head
                if head.lstrip()[:1] in (b"{", b"[", b"<"):
                    yield _whole(answer, head + await _gather(chunks))
                    return
            for event in events.feed(data):
                if event == "[DONE]":
                    yield {"done": True}
                    await _drain(chunks)
                    return
                yield _parsed(answer, event)
    for event in events.flush():
        yield {"done": True} if event == "[DONE]" else _parsed(answer, event)


async def _gather(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([data async for data in chunks])


def _whole(answer: Answer, body: bytes) -> Fields:
    found = _parsed(answer, body.decode("utf-8", "replace"))
    return {**found, "done": True}


def _parsed(answer: Answer, event: str) -> Fields:
    try:
        found: object = json.loads(event)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise answer.unexpected(event.encode(), "a reply")
    return cast("Fields", found)


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """At the end of the body the connection can be used again; without it, it is closed with the answer."""
    with contextlib.suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in chunks:
                pass
