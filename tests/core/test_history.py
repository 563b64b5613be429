"""What the handler is told of what was said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core.history import History, Item


def texts(history: History, turn: int | None = None) -> list[str]:
    return [item.text for item in history.view(turn)]


def test_items_in_order_without_those_of_the_turn() -> None:
    it = History()
    it.user(1, "hello")
    it.assistant(1, 1, "Hi.", said="Hi.")
    it.user(2, "and now")
    assert it.view()[0] == Item("user", "hello", turn=1)
    assert it.view()[1] == Item("assistant", "Hi.", turn=1, reply=1, said="Hi.", cut_at=None)
    assert texts(it) == ["hello", "Hi.", "and now"]
    assert texts(it, 2) == ["hello", "Hi."]


def test_what_nobody_heard_keeps_its_place() -> None:
    it = History()
    it.user(1, "hello")
    it.assistant(1, 1, "", said="Hi. How are you?", cut_at=0)
    it.user(2, "and now")
    assert texts(it) == ["hello", "and now"]
    it.amend(1, "Hi.", 4000)
    it.amend(99, "No.", None)
    assert texts(it) == ["hello", "Hi.", "and now"]
    assert it.view()[1] == Item("assistant", "Hi.", turn=1, reply=1, said="Hi. How are you?", cut_at=4000)
    it.amend(1, "", 0)
    assert texts(it) == ["hello", "and now"]


def test_it_is_trimmed_to_the_newest() -> None:
    it = History(max_items=3, max_chars=10)
    for turn, text in enumerate(("a", "b", "c", "d")):
        it.user(turn, text)
    assert texts(it) == ["b", "c", "d"]
    it.user(5, "12345678")
    assert texts(it) == ["c", "d", "12345678"]
    it.user(6, "a text that is longer than all of the room")
    assert texts(it) == ["a text that is longer than all of the room"]


def test_announcements_without_end_are_trimmed_too() -> None:
    it = History(max_items=3)
    it.user(1, "hello")
    for reply in range(-1, -100, -1):
        it.assistant(reply, None, str(reply), said=str(reply))
    assert texts(it) == ["-97", "-98", "-99"]


def test_a_withdrawn_turn_was_never_said() -> None:
    it = History()
    it.user(1, "hello")
    it.assistant(1, 1, "Hi.", said="Hi.")
    it.user(2, "turn on")
    it.assistant(2, 2, "Turn", said="Turn what on?", cut_at=1600)
    it.assistant(-1, None, "Your tea is ready.", said="Your tea is ready.")
    it.withdraw(2)
    assert texts(it) == ["hello", "Hi.", "Your tea is ready."]
    it.amend(2, "Turn what", 3200)
    it.withdraw(2)
    it.withdraw(77)
    it.user(2, "turn on the light")
    assert texts(it) == ["hello", "Hi.", "Your tea is ready.", "turn on the light"]


@pytest.mark.parametrize("long", ["b", "too long for all of the room"])
def test_what_was_trimmed_for_a_withdrawn_turn_comes_back(long) -> None:
    it = History(max_items=3, max_chars=10)
    for turn, text in enumerate(("0", "1", "2", "3")):
        it.user(turn, text)
    it.user(4, "a")
    it.assistant(1, 4, long, said=long)
    assert "1" not in texts(it)
    it.withdraw(4)
    assert texts(it) == ["1", "2", "3"]


step = st.tuples(st.sampled_from(["user", "answer", "say"]), st.text("ab ", min_size=1, max_size=6))


def told(history: History, turn: int, steps: list[tuple[str, str]]) -> None:
    for number, (kind, text) in enumerate(steps):
        reply = 100 * turn + number
        if kind == "user":
            history.user(turn, text)
        else:
            history.assistant(reply, turn if kind == "answer" else None, text, said=text + " more", cut_at=1)


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.lists(step, max_size=4), max_size=8), st.lists(step, max_size=4))
def test_withdrawing_the_newest_turn_leaves_what_was_there(turns, newest) -> None:
    """But for what was said without a turn in the meantime."""
    said, unsaid = History(max_items=4, max_chars=12), History(max_items=4, max_chars=12)
    for turn, steps in enumerate(turns):
        told(said, turn, steps)
        told(unsaid, turn, steps)
    told(said, 50, [("user", "words"), *newest])
    said.withdraw(50)
    for number, (kind, text) in enumerate([("user", "words"), *newest]):
        if kind == "say":
            unsaid.assistant(5000 + number, None, text, said=text + " more", cut_at=1)
    assert said.view() == unsaid.view()
