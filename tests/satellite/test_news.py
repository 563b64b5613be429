"""What a server says, as events: once each, whatever it says again."""

from __future__ import annotations

import pytest

from voiceloop.core import events as ev
from voiceloop.satellite.news import Told
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Ready
from voiceloop.wire import bridge


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (bridge.Ready("s", "t", 16_000, 24_000, 30.0), Ready("s")),
        (bridge.Transcript("user", "hello", final=True, turn=3), ev.Heard(3, 0, "hello")),
        (bridge.Transcript("assistant", "Hi.", final=False, reply=2), ev.ReplySaid(2, 0, "Hi.")),
        (bridge.AudioEnd(2, 99, "completed", "Hi."), ev.ReplyEnded(2, None, "completed", "", "Hi.", None)),
        (bridge.AudioEnd(2, 99, "interrupted", "H"), ev.ReplyEnded(2, None, "interrupted", "", "H", 50)),
        (bridge.AudioEnd(2, 99, "of tomorrow", "Hi."), ev.ReplyEnded(2, None, "failed", "", "Hi.", None)),
        (bridge.StateChanged("paused"), ev.StateChanged("paused")),
        (bridge.StateChanged("of tomorrow"), None),
        (bridge.Muted(True), ev.Muted(True)),
        (bridge.Muted(False), None),
        (bridge.Latency(3, {"words": 1, "heard": 6}), Latency(3, 0, 1, 0, 0, 0, 0, 6)),
        (bridge.Notice("stt", "It was late."), ev.Notice("stt", "It was late.")),
        (bridge.Error("message", "No."), ev.Notice("message", "No.")),
        (bridge.Caption(1, []), None),
        (bridge.Transcript("user", "of nobody", final=True), None),
    ],
)
def test_each_message_is_an_event_or_none(message: bridge.ToPeer, event: object) -> None:
    assert Told().event(message, 50) == event


def test_what_is_said_again_after_a_connection_was_lost_is_no_news() -> None:
    told = Told()
    user = bridge.Transcript("user", "what time", final=True, turn=1)
    clauses = [
        bridge.Transcript("assistant", text, final=False, reply=1) for text in ("It is one.", "It is one.", "Ha.")
    ]
    end = bridge.AudioEnd(1, 900, "completed", "It is one. It is one. Ha.")
    assert told.event(user)
    assert [told.event(clause) for clause in clauses] == [
        ev.ReplySaid(1, 0, "It is one."), ev.ReplySaid(1, 1, "It is one."), ev.ReplySaid(1, 2, "Ha."),
    ]  # fmt: skip
    assert told.begin(again=True) == []
    assert [told.event(message) for message in (user, *clauses)] == [None] * 4
    assert isinstance(told.event(end), ev.ReplyEnded)
    assert told.event(end) is None
    assert told.event(bridge.AudioEnd(1, 900, "interrupted", "It is"), 400) == ev.Amend(1, "It is", 400)
    assert told.event(bridge.Transcript("user", "what time is it", final=True, turn=1)) == ev.Heard(
        1, 1, "what time is it"
    )


def test_replies_of_a_session_that_is_no_more_have_an_end() -> None:
    told = Told()
    for text in ("One.", "Two."):
        told.event(bridge.Transcript("assistant", text, final=False, reply=4))
    told.event(bridge.AudioEnd(5, 9, "completed", "All."))
    assert told.begin(again=False) == [ev.ReplyEnded(4, None, "interrupted", "One. Two.", "")]
    assert told.begin(again=False) == []
    assert told.event(bridge.Transcript("assistant", "One.", final=False, reply=4)) == ev.ReplySaid(4, 0, "One.")


def test_only_the_last_are_remembered() -> None:
    told = Told()
    for reply in range(100):
        told.event(bridge.Transcript("assistant", "So.", final=False, reply=reply))
        told.event(bridge.Transcript("user", "So?", final=True, turn=reply))
    assert len(told.begin(again=False)) == 32
