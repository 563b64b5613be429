"""One form for what happened: written, read, and written again."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core import events as ev
from voiceloop.core.policy import Policy
from voiceloop.core.record import from_line, is_input, plain, revived, to_line

TYPES = get_args(ev.Input) + get_args(ev.Action)


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(st.one_of([st.builds(cls) for cls in TYPES]), st.integers(0), st.integers(0))
def test_what_is_written_can_be_read(what, now, at) -> None:
    line = to_line(now, at, what)
    assert "\n" not in line
    assert line.isascii()
    assert to_line(*from_line(line)) == line
    if "NaN" not in line:  # what is no number is not equal to itself
        assert from_line(line) == (now, at, what)


def test_every_input_and_action_has_a_name_of_its_own() -> None:
    assert len({cls.__name__ for cls in TYPES}) == len(TYPES)


def test_the_form() -> None:
    assert to_line(5, 320, ev.Voice(320, 0.25, -40.5)) == (
        '{"now":5,"at":320,"Voice":{"n":320,"p":0.25,"level_db":-40.5}}'
    )
    assert to_line(5, 320, ev.Voice(320, 0.25, -40.5, 0.5)) == (
        '{"now":5,"at":320,"Voice":{"n":320,"p":0.25,"level_db":-40.5,"echo":0.5}}'
    )
    assert to_line(5, 320, ev.Interrupt()) == '{"now":5,"at":320,"Interrupt":{}}'
    assert from_line(to_line(5, 320, ev.Interrupt(3))) == (5, 320, ev.Interrupt(3))
    assert to_line(0, 0, ev.Heard(1, 0, "Grüß Gott\n\ud83d")) == (
        '{"now":0,"at":0,"Heard":{"turn":1,"rev":0,"text":"Gr\\u00fc\\u00df Gott\\n\\ud83d"}}'
    )
    assert to_line(0, 0, ev.Commit()) == '{"now":0,"at":0,"Commit":{}}'


def test_a_policy_is_written_wholly_and_read_with_defaults() -> None:
    line = to_line(1, 2, ev.Configure(Policy(wait=123)))
    assert set(json.loads(line)["Configure"]["policy"]) == {f.name for f in fields(Policy)}
    older = '{"now":1,"at":2,"Configure":{"policy":{"wait":123}}}'
    assert from_line(older) == (1, 2, ev.Configure(Policy(wait=123)))


def test_a_trace_keeps_its_facts_and_their_order() -> None:
    facts = {"wait_s": 0.6, "quiet_s": 1, "state": "speaking", "score": None}
    line = to_line(7, 8, ev.Trace("ended", "silence", turn=2, facts=facts))
    assert line == (
        '{"now":7,"at":8,"Trace":{"what":"ended","because":"silence","turn":2,"reply":null,'
        '"facts":{"wait_s":0.6,"quiet_s":1,"state":"speaking","score":null}}}'
    )
    assert from_line(line)[2] == ev.Trace("ended", "silence", turn=2, facts=facts)
    assert to_line(*from_line(line)) == line


def test_what_is_an_input() -> None:
    assert is_input(ev.Commit())
    assert not is_input(ev.Wake(1))


@dataclass(frozen=True, slots=True)
class Inner:
    n: int


@dataclass(frozen=True, slots=True)
class Outer:
    words: tuple[str, ...] = ()
    pair: tuple[int, Inner] | None = None
    inner: Inner | None = None


def test_tuples_and_classes_come_back_as_such() -> None:
    whole = Outer(("a", "b"), (1, Inner(2)), Inner(3))
    assert plain(whole)["pair"] == [1, {"n": 2}]
    assert revived(Outer, plain(whole)) == whole
    assert revived(Outer, plain(Outer())) == Outer()


@dataclass(frozen=True, slots=True)
class Tables:
    rows: dict[str, tuple[int, ...]]


def test_tables_hold_them_too() -> None:
    assert revived(Tables, {"rows": {"a": [1, 2]}}) == Tables({"a": (1, 2)})


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Inner, 7), (Inner, [1]), (Inner, {"m": 1}), (Inner, {}), (Inner, {"n": [1]}), (Inner, {"n": {}}),
     (Outer, {"pair": [1]})],
)  # fmt: skip
def test_what_is_not_of_the_kind(kind, value) -> None:
    with pytest.raises(ValueError, match=f"not a {kind.__name__}"):
        revived(kind, value)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "7",
        "null",
        "[1,2,3]",
        '"abc"',
        "{}",
        '{"now":1,"at":2}',
        '{"now":1,"at":2,"Nothing":{}}',
        '{"now":1,"at":2,"Voice":{"n":1}}',
        '{"now":1,"at":2,"Voice":{"n":1,"p":1,"level_db":0,"more":0}}',
        '{"now":1,"at":2,"Voice":7}',
        '{"now":1,"at":2,"Configure":{}}',
        '{"now":1,"at":2,"Configure":{"policy":{"odd":1}}}',
        '{"at":1,"now":2,"Commit":{}}',
        '{"now":1,"at":2,"Commit":{},"more":{}}',
    ],
)
def test_other_lines_are_refused(line) -> None:
    with pytest.raises(ValueError, match="not a line of a recording"):
        from_line(line)
