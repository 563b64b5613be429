"""Checks the order of a Realtime server's events, as clients were seen to rely on it (each rule raises Disorder)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class Disorder(AssertionError):
    """An event that may not come here."""


def need(condition: object, what: str, event: Json) -> None:
    if not condition:
        raise Disorder(f"{what}: {event}")


@dataclass
class Output:
    """One output item of a response. stage: added, part, audio_done, text_done, part_done, done."""

    item: Json
    stage: str = "added"
    text: str = ""
    audio: int = 0
    arguments: str = ""


@dataclass
class Made:
    response: Json
    outputs: list[Output] = field(default_factory=list)
    done: bool = False
    cut: bool = False
    """Speech began while it was played: nothing more of it may be heard."""

    @property
    def aside(self) -> bool:
        return self.response["conversation_id"] is None


@dataclass
class Order:
    """Feed it every event, in order. interrupts: speech that begins stops what is played."""

    interrupts: bool = True
    ids: set[str] = field(default_factory=set)
    items: dict[str, str] = field(default_factory=dict)
    """Of each item: added, done, or gone."""
    speech: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Of each segment: started, stopped, committed; and its time."""
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each item: the words so far, and whether they are complete."""
    responses: dict[str, Made] = field(default_factory=dict)
    began: bool = False
    expected: list[str] = field(default_factory=list)
    """Types that must come next, one after the other."""

    def feed(self, event: Json) -> None:
        need(event["event_id"] not in self.ids, "an event_id twice", event)
        self.ids.add(event["event_id"])
        kind: str = event["type"]
        need(self.began == (kind != "session.created"), "session.created comes first, and once", event)
        self.began = True
        if self.expected:
            need(kind == self.expected.pop(0), "not what must follow", event)
        name = kind.replace(".", "_")
        if kind.startswith("response."):
            self.response(kind.removeprefix("response."), event)
        elif check := getattr(self, name, None):
            check(event)
        else:
            need(kind in ("session.created", "session.updated", "error"), "unknown event", event)
            if kind == "error":
                need({"type", "code", "message", "param", "event_id"} <= event["error"].keys(), "a bare error", event)

    def active(self) -> list[Made]:
        return [made for made in self.responses.values() if not made.done]

    # --- the user ---

    def input_audio_buffer_speech_started(self, event: Json) -> None:
        need(event["item_id"] not in self.speech, "speech began twice", event)
        need(event["audio_start_ms"] >= max((at for _, at in self.speech.values()), default=0), "time runs back", event)
        self.speech[event["item_id"]] = ("started", event["audio_start_ms"])
        for made in self.active():
            made.cut = made.cut or (self.interrupts and any(output.audio for output in made.outputs))

    def input_audio_buffer_speech_stopped(self, event: Json) -> None:
        state, at = self.speech.get(event["item_id"], ("", 0))
        need(state == "started", "stopped without a start", event)
        need(event["audio_end_ms"] >= at, "it ends before it begins", event)
        self.speech[event["item_id"]] = ("stopped", event["audio_end_ms"])

    def input_audio_buffer_committed(self, event: Json) -> None:
        state, at = self.speech.get(event["item_id"], ("", 0))
        need(state in ("", "stopped"), "committed before it stopped", event)
        self.speech[event["item_id"]] = ("committed", at)
        self.expected = ["conversation.item.added", "conversation.item.done"]

    def input_audio_buffer_cleared(self, event: Json) -> None:
        pass

    def input_audio_buffer_timeout_triggered(self, event: Json) -> None:
        need(event["audio_end_ms"] >= event["audio_start_ms"], "it ends before it begins", event)
        self.expected = ["input_audio_buffer.committed"]

    # --- items ---

    def conversation_item_added(self, event: Json) -> None:
        item = event["item"]["id"]
        need(self.items.get(item) in (None, "gone"), "an item twice", event)
        need(event["previous_item_id"] in {None, *self.items}, "after an unknown item", event)
        self.items[item] = "added"

    def conversation_item_done(self, event: Json) -> None:
        item = event["item"]["id"]
        need(self.items.get(item) in ("added", "gone"), "done before it was added", event)
        need(event["item"]["status"] != "in_progress", "done, and in progress", event)
        if self.items[item] == "added":
            self.items[item] = "done"

    def conversation_item_deleted(self, event: Json) -> None:
        need(self.items.get(event["item_id"]) in ("added", "done"), "an unknown item is gone", event)
        self.items[event["item_id"]] = "gone"

    def conversation_item_retrieved(self, event: Json) -> None:
        need(self.items.get(event["item"]["id"]) in ("added", "done"), "an unknown item", event)

    def conversation_item_truncated(self, event: Json) -> None:
        need(self.items.get(event["item_id"]) in ("added", "done"), "an unknown item", event)
        need(event["audio_end_ms"] >= 0, "a negative time", event)

    def conversation_item_input_audio_transcription_delta(self, event: Json) -> None:
        text, state = self.words.get(event["item_id"], ("", ""))
        need(self.items.get(event["item_id"]) == "done" and not state, "words of no item", event)
        self.words[event["item_id"]] = (text + event["delta"], "")

    def conversation_item_input_audio_transcription_completed(self, event: Json) -> None:
        text, state = self.words.get(event["item_id"], ("", ""))
        need(self.items.get(event["item_id"]) == "done" and not state, "words of no item", event)
        need(text == event["transcript"], "other words than the deltas", event)
        self.words[event["item_id"]] = (text, "complete")

    def conversation_item_input_audio_transcription_failed(self, event: Json) -> None:
        need(event["item_id"] not in self.words, "words that failed", event)
        self.words[event["item_id"]] = ("", "failed")

    # --- responses ---

    def response(self, kind: str, event: Json) -> None:
        if kind == "created":
            self.created(event)
            return
        if kind == "done":
            self.done(event)
            return
        made = self.responses.get(event["response_id"])
        need(made and not made.done, "no such response is under way", event)
        assert made
        if kind == "output_item.added":
            need(event["output_index"] == len(made.outputs), "output_index", event)
            need(all(output.stage == "done" for output in made.outputs), "two items at once", event)
            need(event["item"]["status"] == "in_progress", "added, and not in progress", event)
            made.outputs.append(Output(event["item"]))
            self.expected = [] if made.aside else ["conversation.item.added"]
            return
        need(made.outputs and event["output_index"] == len(made.outputs) - 1, "output_index", event)
        output = made.outputs[-1]
        need(event.get("item_id", event.get("item", {}).get("id")) == output.item["id"], "another item", event)
        self.piece(kind, event, made, output)

    def created(self, event: Json) -> None:
        made = Made(event["response"])
        need(made.response["id"] not in self.responses, "a response twice", event)
        need(made.response["status"] == "in_progress" and made.response["output"] == [], "not fresh", event)
        if not made.aside:
            need(not [other for other in self.active() if not other.aside], "two responses at once", event)
        self.responses[made.response["id"]] = made

    def piece(self, kind: str, event: Json, made: Made, output: Output) -> None:
        stage = output.stage
        match kind:
            case "content_part.added":
                need(stage == "added" and output.item["type"] == "message", "not now", event)
                output.stage = "part"
            case "output_audio.delta":
                need(stage == "part" and event["delta"], "not now", event)
                need(not made.cut, "audio after speech began", event)
                output.audio += len(event["delta"])
            case "output_audio_transcript.delta" | "output_text.delta":
                need(stage == "part", "not now", event)
                output.text += event["delta"]
            case "output_audio.done":
                need(stage == "part", "not now", event)
                output.stage = "audio_done"
            case "output_audio_transcript.done" | "output_text.done":
                need(stage == ("part" if kind == "output_text.done" else "audio_done"), "not now", event)
                output.stage = "text_done"
                output.text = event.get("text", event.get("transcript"))
            case "content_part.done":
                need(stage == "text_done", "not now", event)
                need(output.text == event["part"].get("text", event["part"].get("transcript")), "other text", event)
                output.stage = "part_done"
            case "function_call_arguments.delta":
                need(stage == "added" and output.item["type"] == "function_call", "not now", event)
                output.arguments += event["delta"]
            case "function_call_arguments.done":
                need(stage == "added" and output.arguments == event["arguments"], "other arguments", event)
                output.stage = "part_done"
            case "output_item.done":
                need(stage == "part_done" and event["item"]["status"] != "in_progress", "not now", event)
                output.stage, output.item = "done", event["item"]
                self.expected = [] if made.aside else ["conversation.item.done"]
            case _:
                need(False, "unknown event", event)

    def done(self, event: Json) -> None:
        response = event["response"]
        made = self.responses.get(response["id"])
        need(made and not made.done, "no such response is under way", event)
        assert made
        need(all(output.stage == "done" for output in made.outputs), "items are not done", event)
        need(response["output"] == [output.item for output in made.outputs], "other output", event)
        need(response["status"] in ("completed", "cancelled", "failed", "incomplete"), "status", event)
        need((response["status"] == "completed") == (response["status_details"] is None), "details", event)
        need(response["metadata"] == made.response["metadata"], "metadata", event)
        made.done = True

    def over(self) -> None:
        """At the end nothing is open."""
        need(not self.active() and not self.expected, "not over", {"active": self.active(), "due": self.expected})
