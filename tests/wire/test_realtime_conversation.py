"""The translator: news of our session in, events out, in the order that clients rely on; and the other way."""

import base64
import itertools
import json
from typing import Any

import numpy as np
import pytest

from tests.wire.realtime_order import Order
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.wire.realtime_conversation import Conversation, Hear, Terms
from voiceloop.wire.realtime_outbox import Recite, Understand
from voiceloop.wire.realtime_session import RealtimeSession

Json = dict[str, Any]


class Talk:
    """A conversation, everything that it said, and a check of the order."""

    def __init__(self, *, beta: bool = False, **session: Any) -> None:
        numbers = itertools.count(1)
        terms = Terms("sess_1", 1234, Policy(), beta=beta)
        self.conversation = Conversation(terms, RealtimeSession(), lambda: str(next(numbers)))
        self.order = Order()
        self.beta = beta
        self.events: list[Json] = []
        self.orders: list[object] = []
        self.take()
        if session:
            self.send("session.update", session=session)

    def take(self) -> list[Json]:
        new = [json.loads(message) for message in self.conversation.take()]
        self.events += new
        for event in new:
            if not self.beta:
                self.order.feed(event)
        self.orders += self.conversation.orders()
        return new

    def send(self, type: str, **fields: Any) -> list[Json]:
        self.conversation.receive(json.dumps({"type": type, **fields}))
        return self.take()

    def tell(self, *news: object) -> list[Json]:
        for one in news:
            self.conversation.tell(one)
        return self.take()

    def sound(self, reply: int, n: int = 2400) -> list[Json]:
        self.conversation.sound(reply, np.ones(n, np.int16))
        return self.take()

    def feeds(self, kind: type) -> list[Any]:
        return [order for order in self.orders if isinstance(order, kind)]

    def error(self) -> Json:
        assert self.events[-1]["type"] == "error"
        return self.events[-1]["error"]

    def speak(self, turn: int = 1, text: str = "hello") -> list[Json]:
        """A whole turn of the user."""
        start = ticks(turn)
        return self.tell(
            ev.SpeechStarted(turn, start),
            ev.SpeechStopped(turn, start + ticks(0.5), "silence"),
            ev.Decided(turn, 0, ticks(0.5), False),
            ev.Heard(turn, 0, text),
        )

    def reply(self, reply: int = 1, turn: int | None = 1, *clauses: str) -> list[Json]:
        """The beginning of a reply."""
        new = self.tell(ev.ReplyStarted(reply, turn))
        for n, clause in enumerate(clauses or ("Hi there.", "All well?")):
            new += self.tell(ev.ReplySaid(reply, n, clause))
            new += self.sound(reply)
        return new


def types(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def only(events: list[Json], type: str) -> Json:
    (found,) = [event for event in events if event["type"] == type]
    return found


TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
MANUAL = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}}
TAIL = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
HEAD = ["response.output_item.added", "conversation.item.added", "response.content_part.added"]
AUDIO = base64.b64encode(bytes(9600)).decode()


def test_a_voice_turn_in_the_order_that_all_clients_want() -> None:
    talk = Talk(**TRANSCRIBED)
    talk.speak()
    talk.reply()
    talk.tell(ev.ReplyEnded(1, 1, "completed", "Hi there. All well?", "Hi there. All well?"))
    assert types(talk.events) == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        *HEAD,
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        *TAIL,
    ]
    start, stop = talk.events[2], talk.events[3]
    assert (start["audio_start_ms"], stop["audio_end_ms"]) == (700, 1500)  # 300 ms of prefix_padding
    assert start["item_id"] == stop["item_id"] == talk.events[4]["item_id"]
    done = only(talk.events, "response.done")["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hi there. All well?"}]
    talk.order.over()


def test_words_are_told_only_to_those_who_want_them() -> None:
    talk = Talk()
    assert not [t for t in types(talk.speak()) if "transcription" in t]
    item = talk.send("conversation.item.retrieve", item_id="item_1")[0]["item"]
    assert item["content"] == [{"type": "input_audio", "transcript": "hello"}]


def test_a_voice_over_the_reply_is_told_when_it_is_known_that_it_interrupts() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()
    assert talk.tell(ev.SpeechStarted(2, ticks(3))) == []
    talk.sound(1)  # the reply goes on meanwhile
    new = talk.tell(ev.ReplyEnded(1, 1, "interrupted", "Hi there. All well?", "Hi there.", 2000))
    assert types(new) == ["input_audio_buffer.speech_started", *TAIL]
    done = new[-1]["response"]
    assert (done["status"], done["status_details"]) == ("cancelled", {"type": "cancelled", "reason": "turn_detected"})
    assert done["output"][0]["status"] == "incomplete"
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hi there."}]
    talk.tell(ev.SpeechStopped(2, ticks(4), "silence"), ev.Heard(2, 0, "stop"))
    assert only(talk.events[-4:], "response.created")


def test_a_voice_that_does_not_interrupt_is_never_told() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()
    assert talk.tell(ev.SpeechStarted(2, ticks(3)), ev.SpeechRejected(2, "backchannel")) == []
    assert talk.tell(ev.SpeechStarted(3, ticks(4)), ev.SpeechStopped(3, ticks(5), "silence")) == []
    assert talk.tell(ev.TurnDropped(3, "own voice")) == []
    assert types(talk.tell(ev.ReplyEnded(1, 1, "completed", "x", "x"))) == TAIL


def test_a_voice_that_was_judged_after_its_end() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()
    talk.tell(ev.SpeechStarted(2, ticks(3)), ev.SpeechStopped(2, ticks(4), "silence"))
    new = talk.tell(ev.ReplyEnded(1, 1, "interrupted", "x", ""), ev.Heard(2, 0, "wait"))
    assert types(new) == [
        "input_audio_buffer.speech_started",
        *TAIL,
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]


def test_a_voice_that_is_known_to_be_words_while_the_reply_goes_on() -> None:
    """`finish_reply`: the reply plays to its end, and the next one comes after it."""
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.order.interrupts = False
    talk.speak()
    talk.reply()
    assert types(talk.speak(2, "and more"))[-1] == "conversation.item.done"
    new = talk.tell(ev.ReplyEnded(1, 1, "completed", "x", "x"))
    assert types(new) == [*TAIL, "response.created"]


def test_noise_that_was_told_of_is_closed() -> None:
    talk = Talk()
    new = talk.tell(ev.SpeechStarted(1, ticks(1)), ev.SpeechRejected(1, "too short"))
    assert types(new) == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert talk.tell(ev.SpeechRejected(1, "too short")) == []


def test_a_turn_without_words() -> None:
    talk = Talk(**TRANSCRIBED)
    new = talk.tell(ev.SpeechStarted(1, 0), ev.SpeechStopped(1, ticks(1), "silence"), ev.TurnDropped(1, "no words"))
    assert only(new, "conversation.item.input_audio_transcription.completed")["transcript"] == ""
    assert not [t for t in types(talk.events) if t.startswith("response")]


def test_words_that_could_not_be_found() -> None:
    talk = Talk(**TRANSCRIBED)
    talk.tell(ev.SpeechStarted(1, 0), ev.SpeechStopped(1, ticks(1), "silence"))
    new = talk.tell(ev.Notice("stt", "The recognizer is away."), ev.TurnDropped(1, "failed"))
    failed = only(new, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["message"] == "The recognizer is away."


def test_a_turn_that_is_dropped_after_its_words_are_known() -> None:
    talk = Talk()
    new = talk.tell(
        ev.SpeechStarted(1, 0),
        ev.SpeechStopped(1, ticks(1), "silence"),
        ev.Heard(1, 0, "stop"),
        ev.TurnDropped(1, "stop word"),
    )
    assert not [t for t in types(new) if t.startswith("response")]


def test_a_turn_that_is_dropped_after_its_response_was_created() -> None:
    talk = Talk()
    assert types(talk.speak())[-1] == "response.created"
    (done,) = talk.tell(ev.TurnDropped(1, "closed"))
    assert (done["type"], done["response"]["status"]) == ("response.done", "cancelled")


def test_a_turn_that_goes_on_after_its_end() -> None:
    """Not by the policies that we give; but if it happens, the item is taken back."""
    talk = Talk()
    talk.speak()
    new = talk.tell(ev.SpeechStarted(1, ticks(2)), ev.Reopened(1, 1, 800))
    assert types(new) == ["input_audio_buffer.speech_started", "conversation.item.deleted", "response.done"]
    new = talk.tell(ev.SpeechStopped(1, ticks(3), "silence"), ev.Heard(1, 1, "hello you"), ev.Reopened(9, 1, 1))
    assert new[-1]["type"] == "response.created"


def test_a_reply_that_is_withdrawn_before_anybody_heard_of_it() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()
    talk.order.interrupts = False
    talk.tell(ev.SpeechStarted(2, ticks(3)), ev.SpeechStopped(2, ticks(4), "silence"), ev.Heard(2, 0, "a"))
    assert talk.tell(ev.ReplyEnded(2, 2, "withdrawn", "", "")) == []
    assert types(talk.tell(ev.ReplyEnded(1, 1, "completed", "x", "x"))) == TAIL


def test_a_reply_without_text() -> None:
    talk = Talk()
    talk.speak()
    (done,) = talk.tell(ev.Notice("handler", "The handler gave no answer."), ev.ReplyEnded(1, 1, "empty", "", ""))
    assert (done["response"]["status"], done["response"]["output"]) == ("completed", [])


def test_a_handler_that_fails() -> None:
    talk = Talk()
    talk.speak()
    (done,) = talk.tell(ev.Notice("handler", "The service is down."), ev.ReplyEnded(1, 1, "failed", "", ""))
    assert done["response"]["status_details"]["error"]["message"] == "The service is down."


def test_trouble_of_the_session_is_an_error() -> None:
    talk = Talk()
    talk.tell(ev.Notice("session", "Too many announcements."))
    assert talk.error()["type"] == "server_error"


def test_an_announcement_is_a_response_that_nobody_asked_for() -> None:
    talk = Talk()
    new = talk.reply(-1, None, "Dinner is ready.")
    new += talk.tell(ev.ReplyEnded(-1, None, "completed", "Dinner is ready.", "Dinner is ready."))
    assert types(new)[0] == "response.created"
    assert types(new)[-1] == "response.done"


def test_after_a_long_silence() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    assert talk.feeds(ev.Configure)[-1].policy.reprompt_after == ticks(5)
    talk.send("input_audio_buffer.append", audio=AUDIO)
    new = talk.tell(ev.Trace("silence", "reprompt"))
    new += talk.reply(5, None, "Are you still there?")
    assert types(new)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert new[0]["audio_end_ms"] == 200


# --- what the client does ---


def test_text_is_answered() -> None:
    talk = Talk()
    new = talk.send(
        "conversation.item.create",
        item={
            "id": "0" * 32,
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "What time is it?"}],
        },
    )
    assert types(new) == ["conversation.item.added", "conversation.item.done"]
    (created,) = talk.send("response.create", response={"metadata": {"mine": "1"}, "instructions": "Be brief."})
    assert created["response"]["metadata"] == {"mine": "1"}
    assert talk.feeds(ev.Respond) == [ev.Respond("What time is it?")]
    talk.tell(ev.Heard(1, 0, "What time is it?"))
    ask = talk.conversation.ask(1, "What time is it?")
    assert ask
    assert (ask.text, ask.instructions, [item.text for item in ask.context]) == (
        "What time is it?",
        "Be brief.",
        ["What time is it?"],
    )
    talk.reply(1, 1, "Noon.")
    talk.tell(ev.ReplyEnded(1, 1, "completed", "Noon.", "Noon."))
    assert types(talk.events)[-1] == "response.done"
    assert talk.send("conversation.item.retrieve", item_id="0" * 32)[0]["item"]["content"][0]["type"] == "input_text"


def test_one_response_at_a_time() -> None:
    talk = Talk()
    talk.send("response.create")
    talk.send("response.create", event_id="mine")
    assert talk.error()["code"] == "conversation_already_has_active_response"
    assert talk.error()["event_id"] == "mine"


def test_a_response_is_cancelled() -> None:
    talk = Talk()
    talk.send("response.create")
    talk.tell(ev.Heard(1, 0, "…"))
    talk.reply(1, 1)
    assert talk.send("response.cancel") == []
    assert talk.feeds(ev.Interrupt)
    new = talk.tell(ev.ReplyEnded(1, 1, "interrupted", "Hi there.", "Hi", 10))
    assert new[-1]["response"]["status_details"]["reason"] == "client_cancelled"
    talk.send("response.cancel")
    assert talk.error()["code"] == "response_cancel_not_active"
    assert talk.send("output_audio_buffer.clear") == []


def test_a_response_that_gets_no_turn() -> None:
    talk = Talk()
    talk.send("response.create")
    talk.send("output_audio_buffer.clear")
    assert talk.feeds(ev.Interrupt)
    (done,) = talk.tell(ev.TurnDropped(1, "interrupted"))
    assert done["response"]["status"] == "cancelled"


def test_turns_of_the_clients_own() -> None:
    talk = Talk(**MANUAL)
    assert talk.feeds(ev.Configure)[-1].policy.push_to_talk
    assert talk.send("input_audio_buffer.append", audio=AUDIO) == []
    assert not talk.feeds(Hear)
    assert types(talk.send("input_audio_buffer.commit")) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    (understand,) = talk.feeds(Understand)
    assert (understand.pcm.size, understand.rate) == (4800, 24_000)
    assert types(talk.send("response.create")) == ["response.created"]
    assert not talk.feeds(ev.Respond)  # its words are not known yet
    talk.conversation.understood(understand.item_id, "good morning")
    assert types(talk.take())[-1] == "conversation.item.input_audio_transcription.completed"
    assert talk.feeds(ev.Respond) == [ev.Respond("good morning")]


def test_turns_of_the_clients_own_that_are_not_understood() -> None:
    talk = Talk(**MANUAL)
    talk.send("input_audio_buffer.append", audio=AUDIO)
    talk.send("input_audio_buffer.commit")
    talk.send("response.create")
    (understand,) = talk.feeds(Understand)
    talk.conversation.understood(understand.item_id, "", "The recognizer is away.")
    assert types(talk.take()) == ["conversation.item.input_audio_transcription.failed"]
    assert talk.feeds(ev.Respond) == [ev.Respond("…")]


def test_a_response_that_waits_for_words_is_cancelled() -> None:
    talk = Talk(**MANUAL)
    for _ in range(2):
        talk.send("input_audio_buffer.append", audio=AUDIO)
        talk.send("input_audio_buffer.commit")
    talk.send("response.create")
    first, second = talk.feeds(Understand)
    talk.conversation.understood(first.item_id, "one")
    assert not talk.feeds(ev.Respond)
    assert types(talk.send("response.cancel"))[-1] == "response.done"
    talk.conversation.understood(second.item_id, "two")
    talk.conversation.understood("item_gone", "three")
    assert not talk.feeds(ev.Respond)


def test_the_buffer_is_cleared_and_checked() -> None:
    talk = Talk(**MANUAL)
    talk.send("input_audio_buffer.commit")
    assert talk.error()["code"] == "input_audio_buffer_commit_empty"
    talk.send("input_audio_buffer.append", audio=AUDIO)
    talk.send("session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    assert talk.error()["param"] == "session.audio.input.format"
    assert types(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    talk.send("input_audio_buffer.commit")
    assert talk.error()["code"] == "input_audio_buffer_commit_empty"
    piece = base64.b64encode(bytes(14 * 1024 * 1024)).decode()
    talk.send("input_audio_buffer.append", audio=piece)
    talk.send("input_audio_buffer.append", audio=piece)
    assert talk.error()["code"] == "input_audio_buffer_full"


def test_audio_goes_to_the_session_and_is_cleared_there() -> None:
    talk = Talk(**TRANSCRIBED)
    talk.send("input_audio_buffer.append", audio=AUDIO)
    talk.send("input_audio_buffer.append", audio="")
    (hear,) = talk.feeds(Hear)
    assert (hear.pcm.size, hear.rate) == (4800, 24_000)
    talk.send("input_audio_buffer.commit")
    assert talk.error()["code"] == "input_audio_buffer_commit_empty"
    talk.tell(ev.SpeechStarted(1, 100))
    talk.send("input_audio_buffer.commit")
    assert talk.feeds(ev.Commit)
    talk.send("input_audio_buffer.clear")
    new = talk.tell(ev.SpeechStopped(1, 16_000, "commit"), ev.Heard(1, 0, "never mind"))
    assert types(new) == ["input_audio_buffer.speech_stopped"]
    assert talk.conversation.ask(1, "never mind") is None


def test_detection_is_switched_off_while_somebody_speaks() -> None:
    talk = Talk()
    talk.tell(ev.SpeechStarted(1, 100))
    talk.send("session.update", session=MANUAL)
    assert talk.feeds(ev.Commit)
    assert types(talk.tell(ev.SpeechStopped(1, 16_000, "commit"))) == ["input_audio_buffer.speech_stopped"]


def test_turns_that_are_heard_but_answered_only_when_asked() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    talk.speak()
    assert talk.conversation.ask(1, "hello") is None
    assert talk.tell(ev.ReplyEnded(1, 1, "empty", "", "")) == []
    talk.send("response.create")
    assert talk.feeds(ev.Respond) == [ev.Respond("hello")]


def test_a_transcription_session_answers_nothing() -> None:
    talk = Talk(type="transcription", **TRANSCRIBED)
    assert types(talk.speak())[-1] == "conversation.item.input_audio_transcription.completed"
    assert talk.conversation.ask(1, "hello") is None


def test_a_spoken_turn_is_answered_in_text() -> None:
    talk = Talk(output_modalities=["text"])
    assert types(talk.speak())[-1] == "response.created"
    assert talk.conversation.ask(1, "hello") is None  # not by the way that is spoken
    assert talk.feeds(ev.Respond) == [ev.Respond("hello", out_of_band=True)]
    talk.tell(ev.ReplyEnded(1, 1, "empty", "", ""), ev.Sure(2, 0))
    ask = talk.conversation.ask(2, "hello")
    assert ask
    assert not ask.speaks
    assert talk.conversation.wrote(2, "Good ")
    assert talk.conversation.wrote(2, "day.")
    new = talk.tell(ev.ReplySaid(2, 0, "Good day."), ev.ReplyEnded(2, 2, "completed", "Good day.", ""))
    assert types(new) == [
        *HEAD,
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert new[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Good day."}]


def test_out_of_band() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()  # meanwhile
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Classify."}]}
    (created,) = talk.send(
        "response.create",
        response={
            "conversation": "none",
            "output_modalities": ["text"],
            "metadata": {"topic": "class"},
            "input": [message, {"type": "item_reference", "id": "item_1"}],
        },
    )
    assert created["response"]["conversation_id"] is None
    talk.tell(ev.Sure(2, 0))
    ask = talk.conversation.ask(2, "x")
    assert ask
    assert [item.text for item in ask.context] == ["Classify.", "hello"]
    talk.conversation.wrote(2, '{"a": 1}')
    new = talk.tell(ev.ReplyEnded(2, 2, "completed", "", ""))
    assert not [t for t in types(new) if t.startswith("conversation")]
    assert new[-1]["response"]["metadata"] == {"topic": "class"}
    assert new[-1]["response"]["output"][0]["content"][0]["text"] == '{"a": 1}'
    assert types(talk.sound(1)) == ["response.output_audio.delta"]


def test_out_of_band_and_aloud() -> None:
    """It is spoken beside the talk, whatever has the floor there."""
    talk = Talk()
    talk.speak()
    talk.reply()
    (created,) = talk.send("response.create", response={"conversation": "none", "input": []})
    id = created["response"]["id"]
    assert talk.feeds(ev.Respond) == [ev.Respond("…", out_of_band=True)]
    talk.tell(ev.Sure(2, 0))
    assert talk.conversation.wrote(2, "Hm. ")
    assert talk.conversation.wrote(2, "Well.")
    assert talk.tell(ev.ReplyEnded(2, 2, "completed", "Hm. Well.", "")) == []
    assert talk.feeds(Recite) == [Recite(id, "Hm. Well.", talk.conversation.session.audio.output)]
    pcm = np.ones(2400, np.int16)
    for text in ("Hm.", "", "Well."):
        assert talk.conversation.recites(id, pcm, text)
    assert talk.conversation.recites(id, pcm[:0], "")
    talk.conversation.recited(id)
    new = talk.take()
    assert types(new) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        *[type for type in TAIL if type != "conversation.item.done"],
    ]
    assert new[-1]["response"]["output"][0]["content"][0]["transcript"] == "Hm. Well."
    assert new[-1]["response"]["usage"]["output_token_details"] == {"text_tokens": 3, "audio_tokens": 6}
    assert types(talk.sound(1)) == ["response.output_audio.delta"]
    assert not talk.conversation.recites(id, pcm, "")
    talk.conversation.recited(id)
    assert talk.take() == []


def test_out_of_band_and_aloud_comes_to_nothing() -> None:
    talk = Talk()
    for turn, (words, trouble, status) in enumerate(
        [("Hm.", "The voice is away.", "failed"), ("", "", "completed")], 1
    ):
        (created,) = talk.send("response.create", response={"conversation": "none"})
        talk.tell(ev.Sure(turn, 0))
        talk.conversation.wrote(turn, words)
        new = talk.tell(ev.ReplyEnded(turn, turn, "completed", words, ""))
        if words:
            talk.conversation.recited(created["response"]["id"], trouble)
            new = talk.take()
        assert (new[-1]["type"], new[-1]["response"]["status"]) == ("response.done", status)


def test_a_response_is_over_when_all_of_it_is_sent() -> None:
    talk = Talk(tools=[TOOL])
    talk.speak()
    talk.conversation.ask(1, "hello")
    talk.conversation.called(1, "weather", "{}")
    talk.reply(1, 1, "Let me see.")
    talk.conversation.whole(1, 4800)
    assert talk.take() == []
    talk.conversation.sound(1, np.ones(0, np.int16), 240)  # too little for one sample at another rate
    assert talk.take() == []
    new = talk.sound(1)
    assert types(new)[0] == "response.output_audio.delta"
    assert types(new)[-1] == "response.done"
    message, call = new[-1]["response"]["output"]
    assert (message["status"], call["type"]) == ("completed", "function_call")
    assert talk.sound(1) == []
    assert talk.tell(ev.ReplyEnded(1, 1, "completed", "Let me see.", "Let me see.")) == []
    talk.conversation.whole(99, 1)


def test_it_was_all_sent_when_it_is_known_to_be_all() -> None:
    talk = Talk()
    talk.speak()
    talk.reply(1, 1, "Hm.")
    talk.conversation.whole(1, 2400)
    assert types(talk.take()) == TAIL


def sent(talk: Talk, turn: int = 1) -> str:
    """A reply that the client has and plays; its item."""
    talk.reply(turn, turn)
    talk.conversation.whole(turn, 4800)
    return talk.take()[-1]["response"]["output"][0]["id"]


def test_a_voice_over_what_the_client_still_plays() -> None:
    talk = Talk()
    talk.speak()
    item = sent(talk)
    assert talk.tell(ev.SpeechStarted(2, ticks(3))) == []  # not before it is judged
    new = talk.tell(ev.ReplyEnded(1, 1, "interrupted", "Hi there. All well?", "Hi there.", 2400))
    assert types(new) == ["input_audio_buffer.speech_started"]
    (shown,) = talk.send("conversation.item.retrieve", item_id=item)
    assert (shown["item"]["status"], shown["item"]["content"][0]["transcript"]) == ("incomplete", "Hi there.")
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=50)
    assert talk.feeds(ev.Interrupt) == []
    assert talk.feeds(ev.Flushed) == [ev.Flushed(1, 1200, exact=True)]


def test_what_the_client_still_plays_is_truncated_or_cancelled() -> None:
    talk = Talk()
    talk.speak()
    item = sent(talk)
    response = only(talk.events, "response.done")["response"]["id"]
    talk.send("session.update", session={"audio": {"output": {"format": {"type": "audio/pcmu"}}}})
    assert talk.events[-1]["type"] == "session.updated"
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=50)
    assert talk.feeds(ev.Interrupt) == [ev.Interrupt(1)]
    talk.send("response.cancel")
    talk.send("response.cancel", response_id=response)
    talk.send("output_audio_buffer.clear")
    assert talk.feeds(ev.Interrupt) == [ev.Interrupt(1)] * 4
    talk.send("response.cancel", response_id="resp_other")
    assert talk.error()["code"] == "response_cancel_not_active"
    talk.tell(ev.ReplyEnded(1, 1, "interrupted", "x", "Hi"))
    talk.send("response.cancel", response_id=response)
    assert talk.error()["code"] == "response_cancel_not_active"


def test_the_next_response_need_not_wait_for_what_the_client_still_plays() -> None:
    talk = Talk()
    talk.speak()
    sent(talk)
    talk.send("response.create")
    assert talk.feeds(ev.Played) == [ev.Played(1, 4800)]


def test_one_response_in_a_voice_and_a_format_of_its_own() -> None:
    talk = Talk()
    output = {"format": {"type": "audio/pcma"}, "voice": {"id": "anna"}}
    (created,) = talk.send("response.create", response={"audio": {"output": output}})
    assert created["response"]["audio"]["output"] == output
    talk.tell(ev.Heard(1, 0, "hello"))
    assert (talk.conversation.output(1).voice_name, talk.conversation.output(None).voice_name) == ("anna", "alloy")
    talk.reply(1, 1, "Hi.")
    assert (talk.conversation.rate(1), talk.conversation.rate(2)) == (8_000, 24_000)
    (delta,) = talk.sound(1, 800)
    assert len(base64.b64decode(delta["delta"])) == 800
    talk.send("response.create", response={"audio": {"output": {"voice": 7}}})
    assert talk.error()["param"] == "response.audio.output.voice"


def test_text_that_is_answered_counts() -> None:
    """Tokens: what is read, and what is made."""
    talk = Talk(tools=[TOOL], instructions="Be brief.", output_modalities=["text"])
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 40}]}
    talk.send("conversation.item.create", item=item)
    wish = {"instructions": "", "tools": []}
    for turn, response in enumerate(({}, wish), 1):
        talk.send("response.create", response=response)
        talk.tell(ev.Sure(turn, 0))
        talk.conversation.ask(turn, "x")
        talk.conversation.wrote(turn, "Good day.")
        talk.conversation.called(turn, "weather", "{}")
        talk.tell(ev.ReplyEnded(turn, turn, "completed", "", ""))
    first, second = [event["response"]["usage"] for event in talk.events if event["type"] == "response.done"]
    assert first["input_token_details"]["text_tokens"] > 10 + 3
    assert second["input_tokens"] == 10 + 3 + (1 + 2)
    assert first["output_token_details"] == {"text_tokens": 3 + 3, "audio_tokens": 0}


def test_a_text_response_is_cancelled_by_its_id() -> None:
    talk = Talk()
    wish = {"conversation": "none", "output_modalities": ["text"]}
    (created,) = talk.send("response.create", response=wish)
    talk.tell(ev.Sure(1, 0))
    talk.conversation.wrote(1, "One")
    talk.send("response.cancel", response_id="resp_unknown")
    assert talk.error()["code"] == "response_cancel_not_active"
    new = talk.send("response.cancel", response_id=created["response"]["id"])
    assert new[-1]["response"]["status"] == "cancelled"
    assert not talk.conversation.wrote(1, "two")
    assert talk.tell(ev.ReplyEnded(1, 1, "completed", "One two", "")) == []


def test_so_many_out_of_band_and_no_more() -> None:
    talk = Talk()
    for _ in range(17):
        talk.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    assert talk.error()["code"] == "too_many_responses"


TOOL = {"type": "function", "name": "weather", "description": "It knows.", "parameters": {"type": "object"}}


def test_a_function_is_called_and_its_output_answered() -> None:
    talk = Talk(tools=[TOOL], tool_choice="auto")
    talk.speak(1, "How is the weather?")
    ask = talk.conversation.ask(1, "How is the weather?")
    assert ask
    assert ([tool.name for tool in ask.tools], ask.choice) == (["weather"], "auto")
    talk.conversation.called(1, "weather", '{"city": "Rome"}', "call_7")
    new = talk.tell(ev.ReplyEnded(1, 1, "empty", "", ""))
    assert types(new) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    item = new[-1]["response"]["output"][0]
    assert (item["name"], item["arguments"], item["call_id"]) == ("weather", '{"city": "Rome"}', "call_7")
    talk.send("conversation.item.create", item={"type": "function_call_output", "call_id": "call_7", "output": "sunny"})
    talk.send("response.create")
    talk.tell(ev.Heard(2, 0, "How is the weather?"))
    again = talk.conversation.ask(2, "")
    assert again
    assert [item.kind for item in again.context] == ["message", "function_call", "function_call_output"]
    assert again.text == "How is the weather?"


def test_a_call_after_some_words() -> None:
    talk = Talk(tools=[TOOL])
    talk.speak()
    talk.conversation.ask(1, "hello")
    talk.conversation.called(1, "weather", "{}")
    talk.reply(1, 1, "Let me see.")
    new = talk.tell(ev.ReplyEnded(1, 1, "completed", "Let me see.", "Let me see."))
    assert types(new)[:6] == [*TAIL[:-1], "response.output_item.added"]
    assert [item["type"] for item in new[-1]["response"]["output"]] == ["message", "function_call"]


def test_a_call_that_was_interrupted_or_asked_for_again_is_none() -> None:
    talk = Talk(tools=[TOOL])
    talk.speak()
    talk.conversation.ask(1, "hello")
    talk.conversation.called(1, "weather", "{}")
    talk.conversation.ask(1, "hello")
    talk.reply(1, 1, "Let me see.")
    new = talk.tell(ev.ReplyEnded(1, 1, "completed", "Let me see.", "Let me see."))
    assert len(new[-1]["response"]["output"]) == 1
    talk.speak(2)
    talk.conversation.called(2, "weather", "{}")
    talk.reply(2, 2, "Let me see.")
    new = talk.tell(ev.ReplyEnded(2, 2, "interrupted", "Let me see.", "Let"))
    assert len(new[-1]["response"]["output"]) == 1


def test_a_call_of_a_reply_that_nobody_was_told_of_yet() -> None:
    talk = Talk(tools=[TOOL])
    talk.conversation.tell(ev.SpeechStarted(1, 0))
    talk.conversation.tell(ev.SpeechStopped(1, 16_000, "silence"))
    talk.conversation.ask(1, "hello")
    talk.conversation.called(1, "weather", "{}")
    talk.conversation.tell(ev.Heard(1, 0, "hello"))
    new = talk.tell(ev.ReplyEnded(1, 1, "empty", "", ""))
    assert types(new)[-8] == "response.created"


def test_so_many_tokens() -> None:
    talk = Talk(max_output_tokens=5)
    talk.speak()
    ask = talk.conversation.ask(1, "hello")
    assert ask
    assert ask.max_tokens == 5
    talk.conversation.limited(1)
    talk.reply()
    new = talk.tell(ev.ReplyEnded(1, 1, "completed", "Hi there.", "Hi there."))
    assert new[-1]["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


def test_truncated_to_what_was_heard() -> None:
    talk = Talk()
    talk.speak()
    talk.reply()
    talk.tell(ev.ReplyEnded(1, 1, "completed", "Hi there. All well?", "Hi there. All well?"))
    item = only(talk.events, "response.done")["response"]["output"][0]["id"]
    (truncated,) = talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=120)
    assert truncated["audio_end_ms"] == 120
    assert talk.feeds(ev.Flushed) == [ev.Flushed(1, 2880, exact=True)]
    talk.tell(ev.Amend(1, "Hi there.", 2880))
    (shown,) = talk.send("conversation.item.retrieve", item_id=item)
    assert shown["item"]["content"] == [{"type": "output_audio", "transcript": "Hi there."}]
    (truncated,) = talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=99_999)
    assert truncated["audio_end_ms"] == 200
    talk.tell(ev.Amend(77, "of no item", 1))


def test_truncated_while_it_is_spoken() -> None:
    talk = Talk()
    talk.speak()
    new = talk.reply()
    item = new[0]["item"]["id"]
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=50)
    assert [type(order) for order in talk.orders] == [ev.Interrupt, ev.Flushed]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"item_id": "item_none"}, "item_id"),
        ({"item_id": "item_1"}, "item_id"),
        ({"content_index": 1}, "content_index"),
        ({"audio_end_ms": -1}, "audio_end_ms"),
        ({"audio_end_ms": "x"}, "audio_end_ms"),
        ({"audio_end_ms": None}, "audio_end_ms"),
    ],
)
def test_what_cannot_be_truncated(fields: Json, param: str) -> None:
    talk = Talk()
    talk.speak()
    item = talk.reply()[0]["item"]["id"]
    talk.send(
        "conversation.item.truncate",
        **{"item_id": item, "content_index": 0, "audio_end_ms": 5, "event_id": "e1", **fields},
    )
    assert (talk.error()["param"], talk.error()["event_id"]) == (param, "e1")


def test_an_item_that_we_did_not_speak_is_truncated_to_nothing() -> None:
    talk = Talk()
    item = {
        "id": "old",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "a"}],
    }
    talk.send("conversation.item.create", item=item)
    (truncated,) = talk.send("conversation.item.truncate", item_id="old", content_index=0, audio_end_ms=9)
    assert truncated["audio_end_ms"] == 0


def test_items_of_the_client() -> None:
    talk = Talk()

    def message(id: str, text: str, **more: Any) -> list[Json]:
        item = {"id": id, "type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}
        return talk.send("conversation.item.create", item=item, **more)

    assert message("b", "2")[0]["previous_item_id"] is None
    assert message("c", "3")[0]["previous_item_id"] == "b"
    assert message("a", "1", previous_item_id="root")[0]["previous_item_id"] is None
    assert message("bb", "2.5", previous_item_id="b")[0]["previous_item_id"] == "b"
    message("b", "again")
    assert talk.error()["code"] == "item_create_duplicate_id"
    message("d", "4", previous_item_id="nowhere")
    assert talk.error()["param"] == "previous_item_id"
    talk.send("conversation.item.delete", item_id="bb")
    assert talk.events[-1] == {
        "type": "conversation.item.deleted",
        "event_id": talk.events[-1]["event_id"],
        "item_id": "bb",
    }
    talk.send("conversation.item.delete", item_id="bb")
    assert talk.error()["code"] == "item_delete_invalid_item_id"
    talk.send("conversation.item.retrieve", item_id="bb")
    assert talk.error()["code"] == "item_retrieve_invalid_item_id"
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    (added, _) = talk.send("conversation.item.create", item=call)
    assert added["item"]["call_id"].startswith("call_")


def test_audio_in_an_item() -> None:
    talk = Talk(**TRANSCRIBED)
    content = [{"type": "input_audio", "audio": AUDIO}, {"type": "input_text", "text": "Listen."}]
    talk.send("conversation.item.create", item={"id": "x", "type": "message", "role": "user", "content": content})
    (understand,) = talk.feeds(Understand)
    talk.conversation.understood("x", "rain")
    (shown,) = talk.send("conversation.item.retrieve", item_id="x")[-1:]
    assert [part.get("transcript", part.get("text")) for part in shown["item"]["content"]] == ["rain", "Listen."]
    assert understand.pcm.size == 4800


def test_no_more_than_so_many_items() -> None:
    talk = Talk()
    content = [{"type": "input_text", "text": "x"}]
    for n in range(1001):
        talk.conversation.receive(
            json.dumps(
                {
                    "type": "conversation.item.create",
                    "item": {"id": f"i{n}", "type": "message", "role": "user", "content": content},
                }
            )
        )
    talk.take()
    talk.send("conversation.item.retrieve", item_id="i0")
    assert talk.error()["code"] == "item_retrieve_invalid_item_id"


BAD_ITEMS = [
    {},
    {"type": "message"},
    {"type": "message", "role": "wizard", "content": []},
    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_audio"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "###"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}] * 2},
    {"type": "item_reference", "id": "x"},
    {"type": "function_call", "name": "f"},
    {"type": "function_call_output", "output": "x"},
    {"type": "mcp_call"},
]


@pytest.mark.parametrize("item", BAD_ITEMS)
def test_items_that_are_none(item: Json) -> None:
    talk = Talk()
    talk.send("conversation.item.create", item=item, event_id="e1")
    assert talk.error()["event_id"] == "e1"
    assert talk.error()["type"] == "invalid_request_error"


BAD_RESPONSES = [
    {"input": [{"type": "item_reference", "id": "x"}]},
    {"input": [{"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}]}]},
    {"output_modalities": []},
    {"output_modalities": ["video"]},
    {"max_output_tokens": 0},
    {"metadata": {"a": 1}},
    {"tools": [{"type": "function"}]},
]


@pytest.mark.parametrize("wish", BAD_RESPONSES)
def test_responses_that_are_none(wish: Json) -> None:
    talk = Talk()
    talk.send("response.create", response=wish)
    assert talk.error()["type"] == "invalid_request_error"
    assert types(talk.send("response.create", response={"tool_choice": {"type": "function", "name": "f"}})) == [
        "response.created"
    ]


def test_one_tool_is_to_be_called() -> None:
    talk = Talk(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    talk.speak()
    ask = talk.conversation.ask(1, "hello")
    assert ask
    assert ask.choice == "weather"


def test_formats_of_telephones() -> None:
    format = {"type": "audio/pcmu"}
    talk = Talk(audio={"input": {"format": format}, "output": {"format": {"type": "audio/pcma"}}})
    talk.send("input_audio_buffer.append", audio=base64.b64encode(bytes(80)).decode())
    assert talk.feeds(Hear)[0].rate == 8_000
    assert talk.conversation.rate(1) == 8_000
    talk.speak()
    delta = only(talk.reply(1, 1, "Hi."), "response.output_audio.delta")["delta"]
    assert len(base64.b64decode(delta)) == 2400
    talk.send("session.update", session={"audio": {"output": {"format": {"type": "audio/pcm"}}}})
    assert talk.error()["param"] == "session.audio.output.format"


def test_the_voice_is_settled_once_it_was_heard() -> None:
    talk = Talk(audio={"output": {"voice": "marin"}})
    talk.speak()
    talk.reply()
    talk.send("session.update", session={"audio": {"output": {"voice": {"id": "other"}}}})
    assert talk.error()["code"] == "cannot_update_voice"
    talk.send("session.update", session={"audio": {"output": {"voice": "marin"}}})
    assert talk.events[-1]["type"] == "session.updated"


def test_news_that_nobody_waits_for() -> None:
    talk = Talk()
    assert talk.tell(ev.Sure(7, 0), ev.Heard(7, 0, "x"), ev.TurnDropped(7, "x"), ev.Reopened(7, 1, 1)) == []
    assert (
        talk.tell(ev.ReplyEnded(7, 7, "completed", "", ""), ev.ReplySaid(7, 0, "x"), ev.SpeechStopped(7, 1, "x")) == []
    )
    assert talk.tell(ev.ReplyStarted(8, 9), ev.StateChanged("thinking"), "something else") == []
    assert talk.sound(1) == []
    assert talk.conversation.ask(9, "x") is None
    assert talk.conversation.wrote(9, "x")


def test_something_that_is_no_text() -> None:
    talk = Talk()
    talk.conversation.refuse("Messages are text.")
    talk.take()
    assert talk.error()["message"] == "Messages are text."


def test_a_written_answer_gives_way_to_a_spoken_one() -> None:
    talk = Talk()
    talk.send("response.create", response={"output_modalities": ["text"]})
    talk.tell(ev.Sure(1, 0))
    talk.conversation.wrote(1, "Well")
    talk.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})  # this one stays
    assert types(talk.speak(2))[-1] == "conversation.item.done"  # one at a time
    new = talk.reply(1, 2, "Hi.")
    assert types(new)[4:6] == ["response.done", "response.created"]
    assert new[4]["response"]["status"] == "cancelled"
    assert talk.tell(ev.ReplyStarted(9, 1)) == []
    assert types(talk.tell(ev.ReplyEnded(1, 2, "completed", "Hi.", "Hi."))) == TAIL


def test_what_is_remembered_is_bounded() -> None:
    talk = Talk(**MANUAL)
    talk.send("input_audio_buffer.append", audio="")
    talk.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    for turn in range(1, 1003):
        talk.conversation.ask(5000 + turn, "x")
        talk.conversation.tell(ev.SpeechStarted(turn, turn * 100))
        talk.conversation.tell(ev.SpeechStopped(turn, turn * 100 + 50, "silence"))
        talk.conversation.tell(ev.Heard(turn, 0, "x"))
        talk.conversation.tell(ev.Sure(turn, 0))
        talk.conversation.tell(ev.ReplyStarted(turn, turn))
        talk.conversation.tell(ev.ReplyEnded(turn, turn, "completed", "x", "x"))
    talk.take()
    talk.order.over()
    items = [event["item"]["id"] for event in talk.events if event["type"] == "response.output_item.done"]
    first, last = items[0], items[-1]
    talk.send("conversation.item.truncate", item_id=first, audio_end_ms=5)
    assert talk.error()["code"] == "item_truncate_invalid_item_id"
    talk.send("conversation.item.truncate", item_id=last, audio_end_ms=5)
    assert talk.feeds(ev.Flushed) == [ev.Flushed(1002, 0, exact=True)]


def test_an_item_that_was_taken_away_while_it_is_spoken() -> None:
    talk = Talk()
    talk.speak()
    new = talk.reply(1, 1, "Hi.")
    talk.send("conversation.item.delete", item_id=new[0]["item"]["id"])
    new = talk.tell(ev.ReplyEnded(1, 1, "completed", "Hi.", "Hi."))
    assert only(new, "conversation.item.done")["previous_item_id"] is None
