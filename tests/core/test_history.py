"""What the handler is told of what was said."""

from __future__ import annotations

from voiceloop.core.history import History, Item


def texts(history: History, turn: int | None = None) -> list[str]:
    return [item.text for item in history.view(turn)]


def test_items_in_order_without_those_of_the_turn() -> None:
    it = History()
    it.user(1, "hello")
    it.assistant(1, 1, "Hi.")
    it.user(2, "and now")
    assert it.view()[1] == Item("assistant", "Hi.", turn=1, reply=1)
    assert texts(it) == ["hello", "Hi.", "and now"]
    assert texts(it, 2) == ["hello", "Hi."]


def test_what_nobody_heard_keeps_its_place() -> None:
    it = History()
    it.user(1, "hello")
    it.assistant(1, 1, "")
    it.user(2, "and now")
    assert texts(it) == ["hello", "and now"]
    it.amend(1, "Hi.")
    it.amend(99, "No.")
    assert texts(it) == ["hello", "Hi.", "and now"]
    it.amend(1, "")
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
