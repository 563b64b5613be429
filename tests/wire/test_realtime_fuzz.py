"""Whatever is told and received, in whatever order: nothing raises, and the events stay in order."""

import json
import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.test_realtime_conversation import AUDIO, TOOL, Talk
from voiceloop.core import events as ev

Json = dict[str, Any]

TURNS = st.integers(1, 4)
REPLIES = st.integers(-1, 4)
TIMES = st.integers(0, 200_000)
WORDS = st.sampled_from(["", "hello", "stop it"])
MAYBE_TURN = st.one_of(st.none(), TURNS)

NEWS = st.one_of(
    st.builds(ev.SpeechStarted, TURNS, TIMES),
    st.builds(ev.SpeechStopped, TURNS, TIMES, st.just("silence")),
    st.builds(ev.SpeechRejected, TURNS, st.just("noise")),
    st.builds(ev.Heard, TURNS, st.just(0), WORDS),
    st.builds(ev.Reopened, TURNS, st.just(1), TIMES),
    st.builds(ev.Sure, TURNS, st.just(0)),
    st.builds(ev.TurnDropped, TURNS, st.sampled_from(["no words", "failed", "closed"])),
    st.builds(ev.ReplyStarted, REPLIES, MAYBE_TURN),
    st.builds(ev.ReplySaid, REPLIES, st.integers(0, 2), WORDS),
    st.builds(
        ev.ReplyEnded,
        REPLIES,
        MAYBE_TURN,
        st.sampled_from(["completed", "interrupted", "withdrawn", "failed", "empty"]),
        WORDS,
        WORDS,
    ),
    st.builds(ev.Amend, REPLIES, WORDS),
    st.builds(ev.Notice, st.sampled_from(["stt", "handler", "session"]), WORDS),
    st.just(ev.Trace("silence", "reprompt")),
)

ITEM_IDS = st.sampled_from(["mine", "item_2", "item_3", "item_5", "item_7", "root", "gone"])
DETECTIONS = st.sampled_from(
    [
        None,
        {"type": "server_vad", "create_response": False},
        {"type": "server_vad", "interrupt_response": False},
        {"type": "semantic_vad", "eagerness": "high"},
        {"type": "psychic"},
    ]
)
SESSIONS = st.one_of(
    st.builds(lambda d: {"audio": {"input": {"turn_detection": d}}}, DETECTIONS),
    st.builds(lambda t: {"audio": {"input": {"transcription": t}}}, st.sampled_from([None, {"model": "m"}])),
    st.builds(lambda f: {"audio": {"output": {"format": {"type": f}}}}, st.sampled_from(["audio/pcm", "audio/pcmu"])),
    st.sampled_from([{"output_modalities": ["text"]}, {"output_modalities": ["audio"]}, {"tools": [TOOL]}, {"x": 1}]),
)
ITEMS = st.one_of(
    st.builds(
        lambda id: {"id": id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        ITEM_IDS,
    ),
    st.just({"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}]}),
    st.just({"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "a"}]}),
    st.just({"type": "function_call_output", "call_id": "c", "output": "x"}),
    st.just({"type": "nothing"}),
)
WISHES = st.sampled_from(
    [
        None,
        {},
        {"conversation": "none", "output_modalities": ["text"]},
        {"conversation": "none"},
        {"output_modalities": ["text"], "metadata": {"a": "b"}},
        {"input": [{"type": "item_reference", "id": "item_2"}]},
    ]
)


def message(type: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"type": st.just(type), **fields})


MESSAGES = st.one_of(
    message("session.update", session=SESSIONS),
    message("input_audio_buffer.append", audio=st.sampled_from([AUDIO, "", "?", "AAAA"])),
    message("input_audio_buffer.commit"),
    message("input_audio_buffer.clear"),
    message("output_audio_buffer.clear"),
    message("conversation.item.create", item=ITEMS, previous_item_id=st.one_of(st.none(), ITEM_IDS)),
    message("conversation.item.retrieve", item_id=ITEM_IDS),
    message("conversation.item.delete", item_id=ITEM_IDS),
    message("conversation.item.truncate", item_id=ITEM_IDS, audio_end_ms=st.integers(-10, 10_000)),
    message("response.create", response=WISHES),
    message("response.cancel", response_id=st.one_of(st.none(), st.just("resp_3"))),
)

RESPONSES = st.sampled_from([f"resp_{n}" for n in range(1, 6)])

HANDLER = st.one_of(
    st.tuples(st.just("ask"), TURNS, WORDS),
    st.tuples(st.just("wrote"), TURNS, WORDS),
    st.tuples(st.just("called"), TURNS, st.just("weather"), st.just("{}")),
    st.tuples(st.just("limited"), TURNS),
    st.tuples(st.just("whole"), REPLIES, st.sampled_from([0, 2400])),
    st.tuples(st.just("recites"), RESPONSES, st.just(np.ones(100, np.int16)), WORDS),
    st.tuples(st.just("recited"), RESPONSES, WORDS),
    st.tuples(st.just("understood"), ITEM_IDS, WORDS),
    st.tuples(st.just("sound"), REPLIES),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(NEWS, MESSAGES, HANDLER), max_size=60))
def test_anything_in_any_order(steps: list[Any]) -> None:
    talk = Talk()
    talk.order.interrupts = False  # news that no session gives may go on with a reply
    for step in steps:
        before = len(talk.events) + len(talk.orders)
        match step:
            case dict():
                talk.send(**step)
                if step["type"] not in ("input_audio_buffer.append", "response.cancel", "output_audio_buffer.clear"):
                    assert len(talk.events) + len(talk.orders) > before, f"no answer to {step}"
            case ("sound", reply):
                talk.sound(reply)
            case (name, *arguments):
                getattr(talk.conversation, name)(*arguments)
                talk.take()
            case _:
                talk.tell(step)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
        ).map(json.dumps),
    )
)
def test_any_text_is_answered(text: str | bytes) -> None:
    talk = Talk()
    talk.conversation.receive(text)
    (event,) = talk.take()
    assert event["type"] == "error"


@settings(max_examples=300, deadline=None)
@given(MESSAGES, st.integers(0, 2**32))
def test_a_message_with_something_wrong_in_it_is_answered(found: Json, seed: int) -> None:
    chance = random.Random(seed)
    key = chance.choice([key for key in found])
    wrong = {**found, key: chance.choice([None, 5, -1, [], {}, [[]], "\ud800", {"type": []}, True, 1e400])}
    talk = Talk()
    talk.conversation.receive(json.dumps(wrong))
    assert all(event["type"] for event in talk.take())
