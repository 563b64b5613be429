"""The chat handler against a real server."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest

from voiceloop.adapters.handlers.chat import ChatHandler
from voiceloop.adapters.http import Service as Http
from voiceloop.errors import ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.ports import Handler, Message, TurnView
from voiceloop.view import Brief, Note, ToolCall, ToolOffer, ToolResult

from .service import Script, Service, answer, chunked, error, half, html, json_answer, never, sse

HISTORY = (Message("user", "Hi."), Message("assistant", "Hello! How"))


def turn(text: str = "What is up?", history: tuple[Message, ...] = ()) -> TurnView:
    return TurnView(text, history, turn=1, rev=0, session="s")


def delta(content: object = None, reason: str | None = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content, **fields}, "finish_reason": reason}]}


def stream(*pieces: bytes, ends: bool = True, then: Script | None = None) -> Script:
    return chunked(pieces, "text/event-stream", ends=ends, then=then)


def texts(*contents: str) -> Script:
    return stream(sse(*(delta(c) for c in contents), delta(reason="stop")))


async def reply(script: Script, view: TurnView | None = None, **options: float) -> list[str]:
    async with Service(script) as service:
        http = Http(service.url, **{"retries": 0, "chunk_s": 20.0, **options})  # pyright: ignore
        handler: Handler = ChatHandler(http, "gpt-x", "Be brief.")
        assert handler.early
        try:
            async with aclosing(handler.reply(view or turn())) as pieces:
                return [piece async for piece in pieces]
        finally:
            await handler.aclose()


async def test_request_holds_the_conversation() -> None:
    async with Service(texts("Yes.")) as service:
        handler = ChatHandler(
            Http(service.url), "gpt-x", "Be brief.", temperature=0.5, max_tokens=99, extra={"seed": 7}
        )
        history = (*HISTORY, Message("user", "never mind"), Message("assistant", "  "))
        assert [p async for p in handler.reply(turn("Go on.", history))] == ["Yes."]
        await handler.aclose()
        (request,) = service.requests
    body = json.loads(request.body)
    assert request.path == "/v1/chat/completions"
    assert body.pop("messages") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello! How"},
        {"role": "user", "content": "never mind\nGo on."},
    ]
    assert body == {"model": "gpt-x", "stream": True, "temperature": 0.5, "max_tokens": 99, "seed": 7}


@pytest.mark.parametrize(
    ("heard", "said", "cut_at", "told"),
    [
        ("The capital of", "The capital of Peru is Lima.", 0.8, "The capital of…"),
        ("Well,", "Well, it depends.", 0.3, "Well, …"),
        ("It depends.", "It depends.", 1.2, "It depends."),
        ("It depends.", "It depends. On the weather.", 1.2, "It depends. …"),
        ("It depends.", "It depends.", None, "It depends."),
        ("It", None, 0.1, "It…"),
        ("", "It depends.", 0.0, ""),
    ],
)
async def test_the_model_is_told_what_was_heard_and_that_it_was_cut(heard, said, cut_at, told) -> None:
    history = (Message("user", "Hi."), Message("assistant", heard, said, cut_at))
    async with Service(texts("Yes.")) as service:
        handler = ChatHandler(Http(service.url), "gpt-x")
        assert [p async for p in handler.reply(turn("Go on.", history))] == ["Yes."]
        await handler.aclose()
        (request,) = service.requests
    assert [m["content"] for m in json.loads(request.body)["messages"] if m["role"] == "assistant"] == [told] * bool(
        told
    )


PLAIN = sse(
    delta(role="assistant", content=""),
    delta(None),
    delta("Gr\u00fc\u00dfe, "),
    delta("wor"),
    delta("ld."),
    delta(reason="stop"),
    {"choices": [], "usage": {"total_tokens": 9}},
)


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        b": hello\n\nevent: message\nid: 1\nretry: 5\n" + PLAIN.replace(b"data: {", b": ping\n\ndata:{"),
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b"data: [DONE]\n\n", b""),
        PLAIN.removesuffix(b"\n\n"),
        PLAIN.replace(b', "finish_reason": "stop"', b', "finish_reason": null'),
        PLAIN.replace(b"data: [DONE]\n\n", b"data: \n\ndata: [DONE]"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_events_in_any_form_and_any_pieces(body: bytes, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert "".join(await reply(stream(*pieces))) == "Gr\u00fc\u00dfe, world."


async def test_first_piece_comes_before_the_last_is_sent_and_leaving_hangs_up() -> None:
    async with Service(stream(sse(delta("Well, "), done=False), then=never)) as service:
        handler = ChatHandler(Http(service.url), "m")
        async with aclosing(handler.reply(turn())) as pieces:
            assert await anext(pieces) == "Well, "
        await asyncio.wait_for(service.cancelled.wait(), 20)
        await handler.aclose()


async def test_connection_is_used_again_after_done() -> None:
    async with Service(texts("A.")) as service:
        handler = ChatHandler(Http(service.url), "m")
        for _ in range(2):
            assert [p async for p in handler.reply(turn())] == ["A."]
        await handler.aclose()
        assert service.n_connections == 1


async def test_done_is_the_end_even_if_the_body_is_not() -> None:
    assert await reply(stream(sse(delta("A."), delta(reason="stop")), then=never)) == ["A."]


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_an_answer_that_does_not_stream(kind: str) -> None:
    found = {"choices": [{"message": {"role": "assistant", "content": " Fine."}, "finish_reason": "stop"}]}
    assert "".join(await reply(answer(b"\n" + json.dumps(found).encode(), kind))) == "Fine."


async def test_content_in_parts_and_refusals_are_spoken() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}]
    assert await reply(stream(sse(delta(parts), delta(refusal=" No."), delta(reason="stop")))) == ["Yes.", " No."]


@pytest.mark.parametrize(
    "script",
    [
        stream(sse(delta(reasoning_content="hm"), delta(reasoning="hm"), delta("Yes."), delta(reason="stop"))),
        texts("<think>", "hm ", "</think>", "\n\nYes."),
        texts("\n<thi", "nk>h<m</th", "ink>", "Yes."),
        texts("<think>hm</think>\n\n<thinking>more</thinking>Yes."),
        texts("<", "thinking>hm</think></thinking> Yes", "."),
    ],
)
async def test_thoughts_are_not_spoken(script: Script) -> None:
    assert "".join(await reply(script)) == "Yes."


@pytest.mark.parametrize("text", ["<b>bold</b>", "<", "<thin", "a <think> b </think>"])
async def test_what_is_no_thought_is_spoken(text: str) -> None:
    assert "".join(await reply(texts(*text))) == text


async def test_unfinished_thoughts_are_not_spoken() -> None:
    assert await reply(texts("<think>I wonder")) == []


async def test_token_limit_ends_a_reply() -> None:
    assert await reply(stream(sse(delta("This is lo"), delta(reason="length")))) == ["This is lo"]


async def test_no_words_are_no_reply() -> None:
    assert await reply(stream(sse(delta(""), delta(reason="stop")))) == []


TOOL = delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (stream(sse(TOOL, delta(reason="tool_calls"))), "only asked for a tool"),
        (stream(sse(delta(reason="length"))), "used up its tokens before it said anything"),
        (stream(sse(delta(reason="content_filter"))), "content filter"),
        (stream(sse(delta("Wel"), done=False)), "broke off its reply"),
        (stream(sse(delta("Wel"), done=False), ends=False), "broke off its answer"),
        (half(sse(delta("Wel")), 9999, "text/event-stream"), None),
        (stream(sse({"error": {"message": "out of memory", "code": 500}})), "(out of memory) instead of a reply"),
        (stream(b'event: error\ndata: {"message": "out of memory"}\n\n'), "(out of memory) instead of a reply"),
        (stream(b"data: {broken\n\n"), "instead of a reply"),
        (stream(b"data: 5\n\n"), "instead of a reply"),
        (json_answer({"error": {"message": "no model"}}), "(no model) instead of a reply"),
        (json_answer({"detail": "no model"}), "(no model) instead of a reply"),
        (json_answer([1]), "instead of a reply"),
        (html(200, "Log in"), "(a web page: Log in) instead of a reply"),
        (error("The model `gpt-x` does not exist", 404), "404 (The model `gpt-x` does not exist)"),
    ],
)
async def test_what_is_no_reply_is_an_error(script: Script, words: str | None) -> None:
    if words is None:
        assert await reply(script) == ["Wel"], "all that matters has come"
        return
    with pytest.raises(ProviderError) as caught:
        await reply(script)
    assert words in str(caught.value)
    assert caught.value.stage == "handler"


async def test_text_beside_a_tool_call_is_spoken() -> None:
    assert await reply(stream(sse(delta("One moment."), TOOL, delta(reason="tool_calls")))) == ["One moment."]


async def test_empty_body() -> None:
    with pytest.raises(ProviderError, match="broke off its reply"):
        await reply(answer(b"", "text/event-stream"))


async def test_pause_in_the_stream() -> None:
    with pytest.raises(ProviderTimeout, match=r"paused for 0\.05 s"):
        await reply(stream(sse(delta("Well"), done=False), then=never), chunk_s=0.05)


async def test_errors_do_not_repeat_the_conversation() -> None:
    script = error("Flagged: 'my pin is four two' is not allowed", 400)
    with pytest.raises(ProviderRefused) as caught:
        await reply(script, turn("and now", (Message("user", "My pin is four two"),)))
    assert "pin" not in str(caught.value)


# --- what a peer asks for ---


def briefed(calls: list[tuple[str, str, str]], *, choice: str = "auto", max_tokens: int | None = None) -> TurnView:
    context = (
        Note("The user is in Rome."),
        Message("user", "Hi."),
        Message("assistant", "Let me see."),
        ToolCall("c1", "weather", '{"city": "Rome"}'),
        ToolCall("c2", "time", "{}"),
        ToolResult("c1", "sunny"),
        ToolResult("c2", "noon"),
        Message("assistant", ""),
        Message("user", "And"),
        Message("user", "now?"),
        ToolCall("c3", "weather", "{}"),
    )
    offers = (ToolOffer("weather", "It knows.", {"type": "object"}), ToolOffer("time"))

    def call(id: str, name: str, arguments: str) -> None:
        calls.append((id, name, arguments))

    brief = Brief(context, "Be polite.", offers, choice, max_tokens, call, lambda: calls.append(("", "limited", "")))
    return replace(turn("And now?"), brief=brief)


async def test_a_brief_is_what_is_sent() -> None:
    async with Service(texts("Yes.")) as service:
        handler = ChatHandler(Http(service.url), "gpt-x", "Be brief.", extra={"max_completion_tokens": 9})
        assert [p async for p in handler.reply(briefed([], choice="weather", max_tokens=50))] == ["Yes."]
        await handler.aclose()
        (request,) = service.requests
    body = json.loads(request.body)
    c1 = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    c2 = {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    c3 = {"id": "c3", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert body["messages"] == [
        {"role": "system", "content": "Be polite."},
        {"role": "system", "content": "The user is in Rome."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [c1, c2]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "user", "content": "And\nnow?"},
        {"role": "assistant", "content": None, "tool_calls": [c3]},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "parameters": {"type": "object"}, "description": "It knows."},
        },
        {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body


async def test_functions_come_in_pieces_and_are_the_peers() -> None:
    pieces = [
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "time"}}, "odd", {"index": 2}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "Rome"}'}}]),
        delta(reason="tool_calls"),
    ]
    calls: list[tuple[str, str, str]] = []
    assert await reply(stream(sse(*pieces)), briefed(calls)) == []
    assert calls == [("a", "weather", '{"city": "Rome"}'), ("b", "time", "{}")]


async def test_a_reply_at_the_limit_is_told() -> None:
    calls: list[tuple[str, str, str]] = []
    assert await reply(stream(sse(delta("Yes"), delta(reason="length"))), briefed(calls, max_tokens=1)) == ["Yes"]
    assert calls == [("", "limited", "")]


async def test_a_brief_without_anything() -> None:
    brief = Brief((), None, (), "auto", None, lambda *_: None, lambda: None)
    async with Service(texts("Hello.")) as service:
        handler = ChatHandler(Http(service.url), "gpt-x", "Be brief.")
        assert [p async for p in handler.reply(replace(turn(""), brief=brief))] == ["Hello."]
        await handler.aclose()
        body = json.loads(service.requests[0].body)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}]
    assert "tools" not in body


def test_results_are_those_since_the_user_spoke() -> None:
    view = briefed([])
    assert view.brief
    assert view.brief.results == ()
    after = replace(view.brief, context=(*view.brief.context, ToolResult("c3", "rain")))
    assert after.results == (ToolResult("c3", "rain"),)
    view.call("time")
    turn().call("nobody")  # there is no peer: nothing happens
