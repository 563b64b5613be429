"""The client's half of the bridge protocol: what it keeps, what it sends when, and when it comes again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.core.audio import RATE, Pcm
from voiceloop.errors import ProtocolError
from voiceloop.wire import bridge
from voiceloop.wire.line import (
    BEHIND_S,
    CLOSINGS,
    KEEP_S,
    PASSING,
    PIECE,
    READY_S,
    SILENT_S,
    Kept,
    Line,
    Speech,
    backoff,
)

READY = bridge.encode(bridge.Ready("s", "t", RATE, 24_000, 30.0))
FRAME = 320


def tone(start: int, n: int = FRAME) -> Pcm:
    """Samples that say where they are, as far as 16 bits can."""
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


class Talk:
    """A line whose server is the test. mic: samples that the server has."""

    def __init__(self) -> None:
        self.line = Line(bridge.Start(reports=True, name="desk"))
        self.said = 0
        self.now = 0.0

    def hear(self, n: int = 1) -> None:
        for _ in range(n):
            self.line.hear(tone(self.said))
            self.said += FRAME

    def sent(self, most: int = 10_000) -> list[Any]:
        """All that is to be sent now: messages as they are, sound as (first sample, samples)."""
        found: list[Any] = []
        while len(found) < most and (frame := self.line.next(self.now)) is not None:
            if isinstance(frame, str):
                found.append(json.loads(frame))
            else:
                pcm = np.frombuffer(frame, "<i2")
                assert np.array_equal(pcm, tone(int(pcm[0]), pcm.size))
                found.append((int(pcm[0]), pcm.size))
        return found

    def told(self, message: bridge.ToPeer) -> object:
        return self.line.receive(bridge.encode(message))

    def begin(self) -> None:
        self.line.opened(self.now, {})
        self.sent()
        self.line.receive(READY)

    def resume(self, mic: int, played: dict[int, int] | None = None) -> Any:
        """Another connection. What it began with."""
        self.line.opened(self.now, played or {})
        (hello,) = self.sent()
        self.told(bridge.Resumed(mic))
        return hello


def test_it_begins_with_start_and_sends_sound_once_it_is_ready() -> None:
    talk = Talk()
    assert talk.sent() == []
    talk.line.opened(0.0, {})
    talk.hear(3)
    assert talk.sent() == [
        {"type": "start", "sample_rate": RATE, "agent_sample_rate": 24_000, "reports": True, "name": "desk"}
    ]
    assert not talk.line.ready
    assert not talk.line.begun
    talk.line.receive(READY)
    assert (talk.line.ready, talk.line.begun, talk.line.kept) == (True, True, True)
    assert talk.sent() == [], "what was said before it listened is not heard"
    talk.hear()
    talk.hear()
    assert talk.sent() == [(3 * FRAME, 2 * FRAME)]
    talk.hear(20)
    assert talk.sent() == [(5 * FRAME + k * PIECE, PIECE) for k in range(4)], "in pieces"


def test_what_was_lost_with_a_connection_is_sent_again() -> None:
    talk = Talk()
    talk.begin()
    talk.hear(10)
    talk.sent()
    talk.told(bridge.Ack(4 * FRAME))
    assert talk.line.lost(1006, 0.5) == backoff(0, 0.5)
    talk.hear(5)
    assert talk.sent() == []
    hello = talk.resume(6 * FRAME, {1: 480})
    assert hello == {"type": "resume", "token": "t", "mic": 15 * FRAME, "played": {"1": 480}}
    assert talk.sent() == [(6 * FRAME, PIECE), (6 * FRAME + PIECE, 9 * FRAME - PIECE)]


def test_what_the_server_has_is_forgotten() -> None:
    kept = Kept(10 * FRAME)
    for at in range(4):
        kept.push(tone(at * FRAME))
    assert kept.take(3 * FRAME).size == 3 * FRAME
    kept.ack(10**9)
    kept.rewind(0)
    assert kept.sent == 3 * FRAME, "what is not sent yet cannot have arrived"
    assert kept.take(10**9).tolist() == tone(3 * FRAME).tolist()


def test_a_server_away_for_too_long_gets_the_newest_and_both_count_alike_again() -> None:
    talk = Talk()
    talk.begin()
    talk.hear()
    talk.sent()
    talk.line.lost(0, 0.0)
    talk.hear(round(KEEP_S * 50) + 100)
    heard = talk.said
    talk.resume(FRAME)
    frames = talk.sent()
    sent = sum(n for _, n in frames)
    assert sent == KEEP_S * RATE
    assert frames[0][0] == (heard - sent) % 30_000, "the newest"
    assert talk.line.mic.position == FRAME + sent
    talk.told(bridge.Ack(FRAME + sent))
    talk.line.lost(0, 0.0)
    talk.hear(2)
    assert talk.resume(FRAME + sent)["mic"] == FRAME + sent + 2 * FRAME
    assert talk.sent() == [(heard % 30_000, 2 * FRAME)]


def test_a_server_that_claims_more_than_was_said() -> None:
    talk = Talk()
    talk.begin()
    talk.hear(2)
    talk.resume(99 * FRAME)
    talk.hear()
    assert talk.sent() == [(2 * FRAME, FRAME)]
    assert talk.line.mic.position == 100 * FRAME


def test_a_line_slower_than_speech_gives_up_the_oldest() -> None:
    talk = Talk()
    talk.begin()
    talk.hear()
    talk.sent()
    talk.hear(round(BEHIND_S * 50) + 10)
    assert talk.line.mic.waiting == BEHIND_S * RATE
    assert talk.sent()[0][0] == 11 * FRAME


def test_but_not_what_waited_for_a_connection() -> None:
    talk = Talk()
    talk.begin()
    talk.line.lost(0, 0.0)
    talk.hear(500)
    talk.resume(0)
    talk.sent(10)
    talk.hear(2)
    assert talk.line.mic.waiting == 502 * FRAME - 10 * PIECE


def test_what_the_user_does_stands_between_the_sound_before_and_after() -> None:
    talk = Talk()
    talk.line.say(bridge.Mute(True))
    talk.begin()
    assert talk.sent() == [], "there was no session yet"
    talk.hear(2)
    talk.line.say(bridge.PushToTalk(True))
    talk.hear(2)
    talk.line.say(bridge.PushToTalk(False))
    down, up = {"type": "push_to_talk", "down": True}, {"type": "push_to_talk", "down": False}
    assert talk.sent() == [(0, 2 * FRAME), down, (2 * FRAME, 2 * FRAME), up]
    talk.told(bridge.Ack(3 * FRAME))
    talk.line.lost(0, 0.0)
    talk.hear()
    talk.resume(3 * FRAME)
    assert talk.sent() == [(3 * FRAME, FRAME), up, (4 * FRAME, FRAME)], "the first one had arrived, the other had not"
    talk.told(bridge.Ack(5 * FRAME))
    talk.line.lost(0, 0.0)
    talk.resume(5 * FRAME)
    assert talk.sent() == []


def test_what_was_done_while_the_server_was_away() -> None:
    talk = Talk()
    talk.begin()
    talk.hear()
    talk.sent()
    talk.line.lost(0, 0.0)
    talk.hear()
    talk.line.say(bridge.Interrupt())
    talk.hear()
    talk.resume(FRAME)
    assert talk.sent() == [(FRAME, FRAME), {"type": "interrupt"}, (2 * FRAME, FRAME)]


def test_too_much_of_it() -> None:
    talk = Talk()
    talk.begin()
    talk.hear()
    for _ in range(100):
        talk.line.say(bridge.Interrupt())
    assert len(talk.sent()) == 101
    for _ in range(200):
        talk.line.say(bridge.Commit())
    assert talk.sent() == [{"type": "commit"}] * 128
    talk.line.lost(0, 0.0)
    for _ in range(200):
        talk.line.say(bridge.Mute())
    talk.resume(FRAME)
    assert talk.sent() == [{"type": "mute", "on": True}] * 128


def test_the_doubt_of_the_echo_canceller_stands_before_the_sound_that_it_is_about() -> None:
    talk = Talk()
    talk.line.hear(tone(0), 0.5)
    talk.begin()
    talk.said = FRAME
    for doubt in (0.0, 0.52, 0.48, 0.7, 0.0, 0.02):
        talk.line.hear(tone(talk.said), doubt)
        talk.said += FRAME
    assert talk.sent() == [
        (FRAME, FRAME),
        {"type": "residue", "doubt": 0.5},
        (2 * FRAME, 2 * FRAME),
        {"type": "residue", "doubt": 0.7},
        (4 * FRAME, FRAME),
        {"type": "residue", "doubt": 0.0},
        (5 * FRAME, 2 * FRAME),
    ]


def test_a_new_session_knows_nothing_of_it() -> None:
    talk = Talk()
    talk.begin()
    talk.hear(5)
    talk.line.say(bridge.Mute())
    assert talk.line.lost(bridge.GOING, 0.0) is not None
    assert not talk.line.kept
    talk.begin()
    assert talk.sent() == []
    talk.hear()
    assert talk.sent() == [(5 * FRAME, FRAME)]
    assert talk.line.mic.position == FRAME


def test_reports_overtake_sound_and_only_the_newest_counts() -> None:
    talk = Talk()
    talk.line.report(bridge.Played(1, 1))
    talk.begin()
    talk.hear()
    for n in range(10):
        talk.line.report(bridge.Played(n, 10))
        talk.line.report(bridge.Played(n, 20))
    played = [{"type": "played", "reply": n, "samples": 20, "underruns": 0} for n in range(2, 10)]
    assert talk.sent() == [*played, (0, FRAME)]
    talk.line.lost(0, 0.0)
    talk.line.report(bridge.Played(1, 1))
    assert talk.resume(FRAME)["type"] == "resume"
    assert talk.sent() == []


def test_sound_is_of_what_was_announced() -> None:
    talk = Talk()
    assert talk.line.receive(READY) is None, "nobody is connected"
    talk.begin()
    with pytest.raises(ProtocolError):
        talk.line.receive(b"\x01\x00")
    assert talk.told(bridge.Audio(7, 480)) == bridge.Audio(7, 480)
    for start in (480, 482):
        speech = talk.line.receive(b"\x01\x00\x02\x00")
        assert isinstance(speech, Speech)
        assert (speech.reply, speech.start, speech.pcm.tolist()) == (7, start, [1, 2])
    assert talk.line.receive('{"type":"something of tomorrow"}') is None


def test_a_server_that_says_nothing_is_not_there() -> None:
    talk = Talk()
    assert not talk.line.dead(0.0)
    talk.line.opened(1.0, {})
    assert not talk.line.dead(READY_S)
    assert talk.line.dead(1.0 + READY_S)
    talk.line.receive(READY)
    assert not talk.line.dead(1000.0), "it was asked nothing"
    talk.now = 1000.0
    talk.hear()
    talk.sent()
    talk.now = 1002.0
    talk.hear()
    talk.sent()
    assert not talk.line.dead(1000.0 + SILENT_S - 0.1)
    assert talk.line.dead(1000.0 + SILENT_S)
    talk.told(bridge.Ack(FRAME))
    assert not talk.line.dead(1000.0 + SILENT_S)


@pytest.mark.parametrize("code", CLOSINGS)
def test_codes_after_which_it_does_not_come_again(code) -> None:
    talk = Talk()
    talk.begin()
    assert talk.line.lost(code, 0.5) is None


@pytest.mark.parametrize("code", [0, 1006, 1012, *PASSING])
def test_codes_after_which_it_does(code) -> None:
    talk = Talk()
    talk.begin()
    assert talk.line.lost(code, 0.5) == (5.0 if code == bridge.AGAIN_LATER else backoff(0, 0.5))
    assert talk.line.lost(0, 0.5) == backoff(1, 0.5)
    talk.begin()
    assert talk.line.lost(0, 0.5) == backoff(0, 0.5), "it was there in between"


def test_a_session_that_is_no_more_begins_anew_at_once_unless_the_key_is_none_either() -> None:
    talk = Talk()
    talk.begin()
    talk.line.lost(0, 0.0)
    talk.line.opened(0.0, {})
    assert talk.line.lost(bridge.POLICY, 0.0) == 0.0
    talk.line.opened(0.0, {})
    assert [hello["type"] for hello in talk.sent()] == ["start"]
    assert talk.line.lost(bridge.POLICY, 0.0) is None


def test_attempts_grow_rarer_and_do_not_come_together() -> None:
    assert [backoff(n, 0.5) for n in (0, 1, 2, 4, 5, 10_000)] == [0.25, 0.5, 1.0, 4.0, 5.0, 5.0]
    assert backoff(9, 0.0) == pytest.approx(4.0)
    assert backoff(9, 1.0) == pytest.approx(6.0)


@given(st.lists(st.sampled_from(["hear", "send", "cut", "ack", "key"]), max_size=60), st.data())
def test_whatever_the_network_does_each_sample_and_each_key_arrives_once_and_in_order(steps, data) -> None:
    """A network that loses the end of what was sent with each connection."""
    talk = Talk()
    talk.begin()
    arrived: list[Any] = []  # what the server has: samples and keys, in order
    flying: list[Any] = []
    keys = 0

    def samples() -> int:
        return sum(1 for what in arrived if isinstance(what, int))

    def deliver(n: int) -> None:
        for _ in range(n):
            what = flying.pop(0)
            arrived.extend(range(what[0], sum(what)) if isinstance(what, tuple) else [what["text"]])

    for step in [*steps, "cut", "hear", "send"]:
        if step == "hear":
            talk.hear()
        elif step == "key":
            talk.hear()
            keys += 1
            talk.line.say(bridge.Say(str(keys)))
            talk.hear()
        elif step == "send":
            flying += talk.sent()
        elif step == "ack":
            deliver(data.draw(st.integers(0, len(flying))))
            talk.told(bridge.Ack(samples()))
        else:
            n = data.draw(st.integers(0, len(flying)))
            deliver(n)
            flying.clear()
            while arrived and isinstance(arrived[-1], str):
                flying.append({"text": arrived.pop()})  # a message behind the last sample may come twice
            again = flying[::-1]
            flying.clear()
            talk.line.lost(0, 0.0)
            talk.resume(samples())
            sent = talk.sent()
            assert sent[: len(again)] == [{"type": "text", **message} for message in again]
            flying += sent
    deliver(len(flying))
    assert [what for what in arrived if isinstance(what, int)] == list(range(talk.said))
    assert [what for what in arrived if isinstance(what, str)] == [str(n + 1) for n in range(keys)]
    for key in range(keys):
        at = arrived.index(str(key + 1))
        assert sum(isinstance(what, int) for what in arrived[:at]) % FRAME == 0
