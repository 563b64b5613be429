"""One form for what happened: written, read, and written again."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core import events as ev
from voiceloop.core.policy import Policy
from voiceloop.core.record import from_line, to_line

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
    assert to_line(0, 0, ev.Heard(1, 0, "Grüß Gott\n\ud83d")) == (
        '{"now":0,"at":0,"Heard":{"turn":1,"rev":0,"text":"Gr\\u00fc\\u00df Gott\\n\\ud83d"}}'
    )
    assert to_line(0, 0, ev.Commit()) == '{"now":0,"at":0,"Commit":{}}'


def test_a_policy_is_written_wholly_and_read_with_defaults() -> None:
    line = to_line(1, 2, ev.Configure(Policy(wait=123)))
    assert set(json.loads(line)["Configure"]["policy"]) == {f.name for f in fields(Policy)}
    older = '{"now":1,"at":2,"Configure":{"policy":{"wait":123}}}'
    assert from_line(older) == (1, 2, ev.Configure(Policy(wait=123)))


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
