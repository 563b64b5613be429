"""Messages, session objects and the older dialect."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from tests.wire.test_realtime_conversation import TOOL, Talk, types
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy, preset
from voiceloop.wire import realtime as rt
from voiceloop.wire.realtime_session import RealtimeSession, policy_of, updated

Json = dict[str, Any]


def refusal(message: str | bytes) -> rt.Refusal:
    with pytest.raises(rt.Refusal) as found:
        rt.decode(message)
    return found.value


# --- messages ---


@pytest.mark.parametrize(
    ("message", "code", "param", "event_id"),
    [
        ("", "invalid_json", None, None),
        ("{", "invalid_json", None, None),
        (b"\xff\xfe", "invalid_json", None, None),
        ("[]", "invalid_value", None, None),
        ("{}", "missing_required_parameter", None, None),
        ('{"type": 5}', "invalid_value", "type", None),
        ('{"type": "nonsense", "event_id": "e"}', "invalid_value", "type", "e"),
        ('{"type": "response.cancel", "event_id": 5}', "invalid_value", "event_id", None),
        ('{"type": "input_audio_buffer.append", "event_id": "e"}', "missing_required_parameter", None, "e"),
        ('{"type": "input_audio_buffer.append", "audio": 1, "event_id": "e"}', "invalid_value", "audio", "e"),
        ('{"type": "session.update", "session": []}', "invalid_value", "session", None),
        ('{"type": "x", "a": ' + "[" * 100_000, "invalid_json", None, None),
    ],
)
def test_messages_that_are_none(message: str | bytes, code: str, param: str | None, event_id: str | None) -> None:
    found = refusal(message)
    assert (found.code, found.param, found.event_id) == (code, param, event_id)
    assert str(found).endswith(".")


def test_unknown_keys_are_tolerated() -> None:
    event = rt.decode('{"type": "input_audio_buffer.append", "audio": "AAA=", "more": {}}')
    assert event == rt.Append(audio="AAA=")


def test_what_a_long_type_looks_like() -> None:
    assert len(str(refusal(json.dumps({"type": "x" * 100_000})))) < 200


# --- sound ---


def test_samples_there_and_back() -> None:
    pcm = np.array([0, 1, -1, 32767, -32768], np.int16)
    assert rt.packed(pcm, "audio/pcm") == base64.b64encode(pcm.tobytes()).decode()
    for format in ("audio/pcm", "audio/pcmu", "audio/pcma"):
        back = rt.sound(rt.packed(pcm, format), format)
        assert np.allclose(back, pcm, atol=700 if format != "audio/pcm" else 0)
        assert back.dtype == np.int16
    assert rt.sound("", "audio/pcmu").size == 0


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ("@@@@", "invalid_audio"),
        ("AAA", "invalid_audio"),
        ("AA==AA==", "invalid_audio"),
        ("AAAA", "invalid_audio"),  # three bytes
        ("ää", "invalid_audio"),
        ("A" * (21 * 1024 * 1024), "audio_too_long"),
    ],
)
def test_audio_that_is_none(audio: str, code: str) -> None:
    with pytest.raises(rt.Refusal) as found:
        rt.sound(audio, "audio/pcm")
    assert found.value.code == code


def test_the_longest_append_is_taken() -> None:
    data = bytes(rt.MOST_AUDIO)
    assert rt.sound(base64.b64encode(data).decode(), "audio/pcm").size == rt.MOST_AUDIO // 2
    with pytest.raises(rt.Refusal):
        rt.sound(base64.b64encode(data + bytes(4)).decode(), "audio/pcm")


# --- the session ---


def test_a_deep_merge() -> None:
    session = updated(
        RealtimeSession(), {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}
    )
    session = updated(
        session, {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}}}
    )
    detection = session.to_json("s", 1)["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 900)
    session = updated(session, {"audio": {"output": {"voice": "cedar"}}, "instructions": "Be brief."})
    assert session.to_json("s", 1)["audio"]["input"]["turn_detection"] == detection
    assert session.instructions == "Be brief."


def test_another_type_begins_anew() -> None:
    session = updated(RealtimeSession(), {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    detection = session.to_json("s", 1)["audio"]["input"]["turn_detection"]
    assert detection == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    session = updated(session, {"audio": {"input": {"format": {"type": "audio/pcma"}}}})
    assert session.to_json("s", 1)["audio"]["input"]["format"] == {"type": "audio/pcma"}


def test_null_switches_off() -> None:
    session = updated(
        RealtimeSession(),
        {
            "audio": {
                "input": {
                    "turn_detection": None,
                    "transcription": {"model": "x"},
                    "noise_reduction": {"type": "near_field"},
                }
            }
        },
    )
    assert session.turn_detection is None
    session = updated(session, {"audio": {"input": {"transcription": None}}, "tools": None, "tool_choice": None})
    assert session.audio.input.transcription is None
    assert session.turn_detection is None
    assert (session.tools, session.tool_choice) == ([], "auto")


def test_unknown_keys_of_a_session_are_forgotten() -> None:
    session = updated(RealtimeSession(), {"tracing": "auto", "x": {"y": [1]}, "audio": {"z": 1}})
    assert session == RealtimeSession()


@pytest.mark.parametrize(
    ("patch", "param"),
    [
        ({"type": "other"}, "session.type"),
        ({"audio": 5}, "session.audio"),
        ({"audio": {"input": {"turn_detection": {"type": "psychic"}}}}, "session.audio.input.turn_detection.type"),
        ({"audio": {"input": {"turn_detection": {"threshold": 7}}}}, "session.audio.input.turn_detection.threshold"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "session.audio.input.format.type"),
        ({"output_modalities": []}, "session.output_modalities"),
        ({"max_output_tokens": "many"}, "session.max_output_tokens"),
        ({"tools": [{"type": "mcp"}]}, "session.tools[0].type"),
        ({"tools": [TOOL, {"type": "function"}]}, "session.tools[1]"),
        ({"tools": {}}, "session.tools"),
        ({"tools": [5]}, "session.tools[0]"),
        ({"tool_choice": "perhaps"}, "session.tool_choice"),
    ],
)
def test_sessions_that_are_none(patch: Json, param: str) -> None:
    talk = Talk()
    before = talk.conversation.session
    talk.send("session.update", session=patch, event_id="e9")
    assert (talk.error()["param"], talk.error()["event_id"]) == (param, "e9")
    assert talk.conversation.session == before


def detecting(**detection: Any) -> RealtimeSession:
    return updated(RealtimeSession(), {"audio": {"input": {"turn_detection": detection}}})


def test_server_vad_is_a_fixed_silence() -> None:
    base = Policy(moment="One moment.", reopen=ticks(1))
    policy = policy_of(
        detecting(type="server_vad", silence_duration_ms=800, threshold=0.6, prefix_padding_ms=100), base
    )
    assert (policy.wait, policy.waits, policy.late) == (ticks(0.8), (), 0)
    assert (policy.on, policy.off, policy.pre_roll) == (0.6, 0.35, ticks(0.1))
    assert (policy.moment, policy.reopen, policy.barge_in, policy.push_to_talk) == ("", 0, "pause", False)


def test_a_silence_is_never_shorter_than_a_pause() -> None:
    assert (
        policy_of(detecting(type="server_vad", silence_duration_ms=0, threshold=0.1), Policy()).wait == Policy().pause
    )


@pytest.mark.parametrize(("eagerness", "longest"), [("low", 8), ("medium", 4), ("auto", 4), ("high", 2)])
def test_semantic_vad_weighs_evidence(eagerness: str, longest: int) -> None:
    policy = policy_of(detecting(type="semantic_vad", eagerness=eagerness), Policy())
    assert policy.waits == preset(eagerness).waits
    assert max(wait for _, wait in policy.waits) <= ticks(longest)


def test_how_a_voice_interrupts() -> None:
    assert policy_of(detecting(type="semantic_vad"), Policy(), fast=True).barge_in == "stop"
    assert (
        policy_of(detecting(type="semantic_vad", interrupt_response=False), Policy(), fast=True).barge_in
        == "finish_reply"
    )
    assert policy_of(updated(RealtimeSession(), {"audio": {"input": {"turn_detection": None}}}), Policy()).push_to_talk


# --- the older dialect ---


def test_a_client_of_the_older_dialect() -> None:
    talk = Talk(beta=True)
    old = talk.events[0]["session"]
    assert (old["modalities"], old["voice"], old["input_audio_format"]) == (["audio"], "alloy", "pcm16")
    session = {
        "modalities": ["text", "audio"],
        "instructions": "Be brief.",
        "voice": "verse",
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        "max_response_output_tokens": 100,
        "temperature": 0.8,
    }
    (new,) = talk.send("session.update", session=session)
    assert {key: new["session"][key] for key in session if key not in ("temperature", "turn_detection")} == {
        key: value for key, value in session.items() if key not in ("temperature", "turn_detection")
    }
    assert talk.conversation.session.audio.input.format.type == "audio/pcmu"
    talk.speak()
    talk.reply(1, 1, "Hi.")
    talk.tell(ev.ReplyEnded(1, 1, "completed", "Hi.", "Hi."))
    assert types(talk.events)[2:] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    done = talk.events[-1]["response"]
    assert (done["modalities"], done["voice"]) == (["text", "audio"], "verse")
    assert done["output"][0]["content"] == [{"type": "audio", "transcript": "Hi."}]
    talk.send("response.create", response={"modalities": ["text"]})
    assert talk.events[-1]["response"]["modalities"] == ["text"]
    talk.conversation.tell(ev.Sure(5, 0))
    talk.conversation.wrote(5, "Hm")
    assert types(talk.take())[-1] == "response.text.delta"


def test_the_older_dialect_keeps_what_is_new_in_it() -> None:
    talk = Talk(beta=True)
    talk.send("session.update", session={"audio": {"output": {"speed": 1.2}}, "voice": "sage", "input_audio_format": 5})
    assert talk.conversation.session.audio.output.speed == 1.2
    assert talk.conversation.session.audio.output.voice_name == "sage"
    talk.send("session.update", session={"audio": 5, "voice": "ash"})
    assert talk.conversation.session.audio.output.voice_name == "ash"
    talk.send("response.create")
    item = {"type": "function_call_output", "call_id": "c", "output": "x"}
    talk.send("conversation.item.create", item=item)
    assert talk.events[-1]["item"]["output"] == "x"
