"""Replies, and which has the floor."""

from __future__ import annotations

import pytest

from voiceloop.core.floor import Floor, Reply, Script
from voiceloop.core.pace import length
from voiceloop.core.policy import Policy

P = Policy()


def spoken(floor: Floor, text: str = "One. Two. Three.", *, kind="answer", public: bool = True) -> Reply:
    reply = floor.add(kind, P, public=public)
    reply.script.write(text, final=True)
    return reply


def test_a_script_takes_what_it_has_room_for() -> None:
    it = Script(room=10)
    it.write("One. Two", final=False)
    assert (it.ledger.said, it.complete, it.overlong) == ("One.", False, False)
    it.write(". ", final=False)
    assert not it.overlong
    it.write("", final=False)
    it.write("Three", final=False)
    assert (it.ledger.said, it.complete, it.overlong) == ("One. Two.", True, True)
    it.end_with("Sorry, that was all.")
    assert it.ledger.said == "One. Two. Sorry, that was all."


def test_ids() -> None:
    it = Floor()
    assert it.add("answer", P).id == 1
    assert it.add_said(-1, P).id == -1
    assert it.add_said(-5, P).id == -5
    assert it.add("answer", P).id == 2
    for used in (-5, -2, 0, 3):
        with pytest.raises(ValueError, match="not below -5"):
            it.add_said(used, P)
    assert it.get(None) is None
    assert it.get(99) is None
    assert it[-5].kind == "say"


def test_who_is_next() -> None:
    it = Floor()
    early = spoken(it, public=False)
    empty = it.add("answer", P)
    aside = spoken(it, kind="text")
    say = spoken(it, kind="say")
    answer = spoken(it)
    filler = spoken(it, kind="filler")
    assert [r.id for r in it.replies()] == [filler.id, early.id, empty.id, aside.id, say.id, answer.id]
    assert it.to_release(answers=True) is filler
    filler.state = "playing"
    assert it.to_release(answers=True) is None
    assert it.audible is filler
    filler.state = "hushed"
    assert it.settling
    assert it.to_release(answers=True) is None
    it.end(filler)
    assert it.to_release(answers=False) is say
    it.end(say)
    assert it.to_release(answers=False) is None
    assert it.to_release(answers=True) is None, "an older answer is still made"
    it.end(empty)
    assert it.to_release(answers=True) is answer


def test_clauses_are_made_one_by_one_and_not_too_far_ahead() -> None:
    it = Floor()
    reply = spoken(it)
    made = []
    reply.state = "playing"
    for _ in range(2):
        (due,) = it.to_synthesize()
        made.append(due.script.asked)
        due.script.asked += 1
        assert list(it.to_synthesize()) == []
        it.prepared(due, due.script.asked - 1, 100, final=True)
    assert list(it.to_synthesize()) == []
    reply.played = 100
    assert list(it.to_synthesize()) == [reply]


def test_the_one_that_is_heard_the_next_and_an_early_one_are_made() -> None:
    it = Floor()
    replies = [spoken(it, public=False), *(spoken(it, kind=kind) for kind in ("answer", "say", "filler", "filler"))]
    replies[2].state = "playing"
    assert list(it.to_synthesize()) == [replies[2], replies[3], replies[0]]


def test_the_pace_of_speech_is_learned() -> None:
    it = Floor()
    first, second = spoken(it, "Ten words."), spoken(it, "Words of a voice that was torn off.")
    size = round(100 * length("Ten words."))
    it.prepared(first, 0, size, final=False)
    it.prepared(first, 0, size, final=True)
    second.played = round(100 * length("Words of a voice"))
    it.prepared(second, 0, second.played, final=False)
    assert it.heard(second) == "Words of a voice"


@pytest.mark.parametrize(
    ("sizes", "complete", "played", "cut_at"),
    [
        ([100, 100], True, 50, 50),
        ([100, 100], True, 199, 199),
        ([100, 100], True, 200, None),
        ([100, 100], False, 200, 200),
        ([100], True, 130, 100),
        ([], False, 0, 0),
    ],
)
def test_where_a_reply_was_cut(sizes, complete, played, cut_at) -> None:
    it = Floor()
    reply = spoken(it, "One. Two.")
    for clause, n in enumerate(sizes):
        it.prepared(reply, clause, n, final=True)
    reply.script.complete = complete
    reply.played = played
    assert reply.cut_at == cut_at


@pytest.mark.parametrize(
    ("kind", "text", "state", "size", "played", "ending"),
    [
        ("answer", "", "waiting", 0, 0, "empty"),
        ("answer", "One.", "waiting", 100, 0, None),
        ("answer", "One.", "playing", 100, 99, None),
        ("answer", "One.", "paused", 100, 100, "completed"),
        ("answer", "One.", "playing", 100, 100, "completed"),
        ("answer", "One.", "hushed", 100, 100, None),
        ("answer", "One.", "playing", 0, 0, "empty"),
        ("answer", "One. Two.", "playing", 100, 100, None),
        ("text", "", "waiting", 0, 0, "completed"),
        ("text", "One.", "waiting", 0, 0, "completed"),
    ],
)
def test_how_a_reply_ends(kind, text, state, size, played, ending) -> None:
    it = Floor()
    reply = spoken(it, text, kind=kind)
    if text and kind != "text":
        it.prepared(reply, 0, size, final=True)
    reply.state, reply.played = state, played
    assert reply.ending == ending
    reply.failed = True
    assert reply.ending == (ending and "failed")
    reply.public = False
    assert reply.ending is None


def test_clauses_begin_to_be_heard() -> None:
    it = Floor()
    reply = spoken(it)
    assert reply.begun == 0
    reply.state, reply.script.asked = "playing", 1
    assert reply.begun == 1
    reply.script.asked = 2
    it.prepared(reply, 0, 100, final=True)
    assert reply.begun == 1
    reply.played = 100
    assert reply.begun == 2
    reply.state = "paused"
    assert reply.begun == 0
    assert spoken(it, kind="text").begun == 3


def test_some_ended_replies_are_remembered() -> None:
    it = Floor()
    hidden = spoken(it, public=False)
    known = [spoken(it) for _ in range(10)]
    for reply in (*known, hidden):
        it.end(reply)
    assert it.ended(hidden.id) is None
    assert [r.id for r in known if it.ended(r.id)] == [r.id for r in known[2:]]
    assert it.count("answer") == 0
