"""What a peer asks of a chat service: its own instructions, and functions that it runs itself (`view.Brief`)."""

from __future__ import annotations

from typing import Any, cast

from voiceloop.view import Brief, Message, Note, ToolCall

Fields = dict[str, object]

_LIMITS = ("max_completion_tokens", "max_tokens")


def briefed(request: Fields, system: str, brief: Brief) -> Fields:
    """The body of a request, with what the brief says instead of the configuration."""
    instructions = system if brief.instructions is None else brief.instructions
    out = {**request, "messages": [{"role": "system", "content": instructions}] if instructions else []}
    messages = cast("list[Fields]", out["messages"])
    for said in brief.context:
        _append(messages, said)
    if not any(message["role"] != "system" for message in messages):
        messages.append({"role": "user", "content": ""})  # some services take no conversation without a user
    if brief.tools:
        out["tools"] = [{"type": "function", "function": _function(brief, n)} for n in range(len(brief.tools))]
        named = brief.choice not in ("auto", "none", "required")
        out["tool_choice"] = {"type": "function", "function": {"name": brief.choice}} if named else brief.choice
    if brief.max_tokens is not None:
        out[next((name for name in _LIMITS if name in request), "max_tokens")] = brief.max_tokens
    return out


def private(brief: Brief) -> list[str]:
    """What is not to stand in a log."""
    texts = [brief.instructions or ""]
    for said in brief.context:
        match said:
            case Message() | Note():
                texts.append(said.text)
            case ToolCall():
                texts.append(said.arguments)
            case _:
                texts.append(said.output)
    return [text for text in texts if text]


def _function(brief: Brief, n: int) -> Fields:
    tool = brief.tools[n]
    function: Fields = {"name": tool.name, "parameters": tool.parameters or {"type": "object", "properties": {}}}
    return {**function, "description": tool.description} if tool.description else function


def _append(messages: list[Fields], said: object) -> None:
    """One more message. Neighbours of one role are joined, and calls that follow each other are one message."""
    last = messages[-1] if messages else None
    match said:
        case Message(role=role, text=text) if text:
            if last and last["role"] == role and "tool_calls" not in last:
                last["content"] = f"{last['content']}\n{text}"
            else:
                messages.append({"role": role, "content": text})
        case Note(text=text) if text:
            messages.append({"role": "system", "content": text})
        case ToolCall(id=id, name=name, arguments=arguments):
            call: Fields = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            if last and last["role"] == "assistant":
                last["tool_calls"] = [*cast("list[Fields]", last.get("tool_calls", [])), call]
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case Message() | Note():
            pass  # nothing was heard of it
        case _:
            result = cast("Any", said)
            messages.append({"role": "tool", "tool_call_id": result.id, "content": result.output})


class Calls:
    """Calls of functions as they come in pieces: by their index, and arguments in fragments."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, pieces: object) -> None:
        """The `tool_calls` of one delta; anything else is ignored."""
        for n, piece in enumerate(cast("list[object]", pieces) if isinstance(pieces, list) else []):
            if not isinstance(piece, dict):
                continue
            found = cast("Fields", piece)
            index = found.get("index")
            call = self._calls.setdefault(
                index if isinstance(index, int) else n, {"id": "", "name": "", "arguments": ""}
            )
            if isinstance(id := found.get("id"), str) and id:
                call["id"] = id
            function = found.get("function")
            for key in ("name", "arguments"):
                text = cast("Fields", function).get(key) if isinstance(function, dict) else None
                call[key] += text if isinstance(text, str) else ""

    def make(self, brief: Brief) -> None:
        """Has the peer run them."""
        for _, call in sorted(self._calls.items()):
            if call["name"]:
                brief.call(call["id"], call["name"], call["arguments"] or "{}")
