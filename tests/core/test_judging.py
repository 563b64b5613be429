"""What to make of a voice over a reply, by what is known of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voiceloop.core.audio import ticks
from voiceloop.core.judging import Glimpse, Verdict, judge
from voiceloop.core.policy import Policy

YOUNG = Glimpse(
    words=1, sense="words", logprob=-0.4, spoken=ticks(0.3), age=ticks(0.4), over=False, held=True, lost=False
)


@pytest.mark.parametrize(
    ("known", "want"),
    [
        ({}, None),
        ({"words": 2}, Verdict(True, "words")),
        ({"age": ticks(0.5)}, Verdict(True, "words")),
        ({"over": True}, Verdict(True, "words")),
        ({"sense": "stop"}, Verdict(True, "stop word")),
        ({"sense": "wait"}, Verdict(True, "wait word")),
        ({"sense": "backchannel", "words": 2}, None),
        ({"sense": "backchannel", "over": True}, Verdict(False, "backchannel")),
        ({"sense": "backchannel", "age": ticks(1.8)}, Verdict(True, "long voice")),
        ({"sense": "none", "words": 0}, None),
        ({"sense": "none", "words": 0, "over": True}, Verdict(False, "no words")),
        ({"sense": "none", "words": 0, "age": ticks(0.9)}, Verdict(False, "no words", rash=True)),
        ({"sense": "invented", "age": ticks(0.9)}, Verdict(False, "no speech", rash=True)),
    ],
)
def test_with_words(known, want) -> None:
    assert judge(Policy(), replace(YOUNG, **known)) == want


@pytest.mark.parametrize(
    ("known", "want"),
    [
        ({}, None),
        ({"over": True, "spoken": ticks(0.05)}, Verdict(False, "too short")),
        ({"age": ticks(1), "held": False}, None),
        ({"age": ticks(1)}, None),
        ({"age": ticks(1), "spoken": ticks(0.6)}, Verdict(True, "long voice", rash=True)),
        ({"age": ticks(1.8), "over": True}, Verdict(False, "brief voice", rash=True)),
        ({"lost": True, "over": True}, Verdict(False, "brief voice", rash=True)),
        ({"lost": True}, None),
    ],
)
def test_without_words(known, want) -> None:
    assert judge(Policy(), replace(YOUNG, words=None, sense="none", **known)) == want
