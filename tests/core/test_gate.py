"""Probabilities -> voiced or unvoiced."""

from __future__ import annotations

import pytest

from voiceloop.core.audio import FRAME
from voiceloop.core.gate import Gate


def run(gate: Gate, *ps: float, at: int = 0) -> str:
    """One letter a frame: V voiced, - not."""
    out = ""
    for p in ps:
        at += FRAME
        gate.step(at, FRAME, p)
        out += "V" if gate.voiced else "-"
    return out


def gate() -> Gate:
    return Gate(on=0.5, off=0.35, onset=3 * FRAME, hangover=4 * FRAME)


@pytest.mark.parametrize(
    ("ps", "want"),
    [
        ([0.9, 0.9, 0.9, 0.9], "--VV"),
        ([0.9, 0.9, 0.1, 0.9, 0.9], "----V"),
        ([0.9, 0.1, 0.9, 0.1, 0.9, 0.1], "------"),
        ([0.4, 0.4, 0.4, 0.4], "----"),
        ([0.9, 0.9, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], "--VVVVVVV"),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1], "--VVVV--"),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1], "--VVVVVVVV-"),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9], "--VVVV---V"),
    ],
)
def test_hysteresis(ps, want) -> None:
    assert run(gate(), *ps) == want


def test_it_knows_where_speech_began_and_was_last_heard() -> None:
    it = gate()
    assert it.doubt == -1
    run(it, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9, 0.4, 0.1)
    assert (it.since, it.last, it.doubt) == (FRAME, 7 * FRAME, 6 * FRAME)


def test_reset_and_tune() -> None:
    it = gate()
    run(it, 0.9, 0.9, 0.9)
    it.tune(on=0.8, off=0.7, onset=FRAME, hangover=FRAME)
    assert it.voiced
    assert run(it, 0.75, 0.6, 0.75, 0.85, at=3 * FRAME) == "V--V"
    it.reset()
    assert not it.voiced
    assert run(gate(), 0.9, 0.9) == "--"
