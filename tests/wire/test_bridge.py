"""The bridge protocol: what is read, what is refused, what is written."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.errors import ProtocolError
from voiceloop.wire import bridge


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ('{"type":"start"}', bridge.Start()),
        (
            '{"type":"start","sample_rate":48000,"agent_sample_rate":16000,"reports":true,"name":"page","more":1}',
            bridge.Start(48_000, 16_000, True, "page"),
        ),
        ('{"type":"resume","token":"t","mic":3,"played":{"1":20}}', bridge.Resume("t", 3, {"1": 20})),
        ('{"type":"played","reply":-1,"samples":9,"underruns":1}', bridge.Played(-1, 9, 1)),
        ('{"type":"text","text":"hello"}', bridge.Say("hello")),
        ('{"type":"mute"}', bridge.Mute(True)),
        ('{"type":"push_to_talk","down":false}', bridge.PushToTalk(False)),
        ('{"type":"volume","volume":0.5}', bridge.Volume(0.5)),
        ('{"type":"echo","likeness":0.9}', bridge.Echo(0.9)),
        ('{"type":"residue","doubt":0.4}', bridge.Residue(0.4)),
        ('{"type":"interrupt"}', bridge.Interrupt()),
        ('{"type":"commit"}', bridge.Commit()),
        ('{"type":"end"}', bridge.End()),
        ('{"type":"something of tomorrow","x":[1]}', None),
    ],
)
def test_what_a_peer_may_say(frame, message) -> None:
    assert bridge.decode(frame) == message


@pytest.mark.parametrize(
    "frame",
    [
        *("", "{", "[]", "null", '"start"', "{}", '{"type":7}', '{"type":"text"}', '{"type":"text","text":" "}'),
        *('{"type":"text","text":5}', '{"type":"start","sample_rate":1}', '{"type":"start","sample_rate":"16000"}'),
        *('{"type":"start","agent_sample_rate":1000000}', '{"type":"played","reply":1,"samples":-1}'),
        *('{"type":"resume","token":"t","mic":-1}', '{"type":"volume","volume":2}', '{"type":"echo","likeness":-1}'),
        *(
            '{"type":"residue","doubt":1.1}',
            '{"type":"mute","on":"yes"}',
            '{"type":"resume","token":"t","played":{"1":"x"}}',
        ),
    ],
)
def test_what_is_refused_with_a_sentence(frame) -> None:
    with pytest.raises(ProtocolError) as refused:
        bridge.decode(frame)
    assert str(refused.value)[0].isupper()
    assert str(refused.value).endswith(".")


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_whatever_comes_it_is_a_message_or_refused(frame) -> None:
    with suppress(ProtocolError):
        bridge.decode(frame)


def test_a_query_is_a_start_too() -> None:
    assert bridge.started({"sample_rate": "8000", "reports": "true"}) == bridge.Start(8000, reports=True)
    for query in ({"sample_rate": "much"}, {"sample_rate": "7"}):
        with pytest.raises(ProtocolError):
            bridge.started(query)


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        (bridge.Audio(3, 480), {"type": "audio", "reply": 3, "from": 480}),
        (bridge.Clear(), {"type": "clear"}),
        (
            bridge.Transcript("user", "hi", final=True, turn=1),
            {"type": "transcript", "role": "user", "text": "hi", "final": True, "turn": 1},
        ),
        (bridge.Caption(1, [("a", 5)]), {"type": "caption", "reply": 1, "words": [["a", 5]]}),
        (bridge.Ack(5), {"type": "ack", "mic": 5}),
        (
            bridge.Error("message", "No.", fatal=True),
            {"type": "error", "code": "message", "message": "No.", "fatal": True},
        ),
    ],
)
def test_what_is_told_to_a_peer(message, plain) -> None:
    assert json.loads(bridge.encode(message)) == plain


@pytest.mark.parametrize(
    "message",
    [
        bridge.Ready("s", "t", 16_000, 24_000, 30.0),
        bridge.Resumed(480),
        bridge.Audio(3, 480),
        bridge.AudioEnd(3, 960, "interrupted", "So"),
        bridge.Clear(),
        bridge.Ack(5),
        bridge.Transcript("user", "hi", final=True, turn=1),
        bridge.Transcript("assistant", "hello", final=False, reply=2),
        bridge.Caption(1, [("a", 5)]),
        bridge.StateChanged("hearing"),
        bridge.Muted(True),
        bridge.Latency(1, {"words": 20}),
        bridge.Notice("stt", "It was late."),
        bridge.Error("message", "No.", fatal=True),
    ],
)
def test_a_client_reads_what_the_server_writes(message) -> None:
    assert bridge.told(bridge.encode(message)) == message


def test_a_client_writes_what_the_server_reads() -> None:
    for message in (bridge.Start(8_000, reports=True), bridge.Resume("t", 3, {"1": 20}), bridge.Mute(), bridge.End()):
        assert bridge.decode(bridge.encode(message)) == message


def test_a_client_ignores_what_it_does_not_know_and_refuses_what_is_none() -> None:
    assert bridge.told('{"type":"something of tomorrow"}') is None
    wrong = '{"type":"audio","reply":1,"from":-1}', '{"type":"ack","mic":-1}', '{"type":"resumed","mic":-5}'
    for frame in (*wrong, "", "{}", '{"type":"ready"}', '{"type":"transcript","role":"nobody","text":"","final":true}'):
        with pytest.raises(ProtocolError):
            bridge.told(frame)


@given(st.text())
def test_whatever_a_server_says_it_is_a_message_or_refused(frame) -> None:
    with suppress(ProtocolError):
        bridge.told(frame)


def test_every_type_has_a_name_of_its_own() -> None:
    for union in (bridge.FromPeer, bridge.ToPeer):
        msgspec.json.Decoder(union)  # raises where two have one


def test_sound() -> None:
    assert bridge.sound(b"\x01\x00\xff\xff").tolist() == [1, -1]
    assert bridge.sound(b"").size == 0
    with pytest.raises(ProtocolError, match="even number"):
        bridge.sound(b"\x01\x00\xff")
    assert bridge.frame(bridge.sound(b"\x01\x00\xff\xff")) == b"\x01\x00\xff\xff"
