"""Frames -> segments and turns."""

from __future__ import annotations

import pytest

from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.events import Voice
from voiceloop.core.hearing import Closed, Hearing, Opened, Paused, Rejected, Resumed, Spoke
from voiceloop.core.policy import Policy

P = Policy()


def hear(hearing: Hearing, *parts: float, p: float = 0.9, deaf: bool = False) -> list:
    """Seconds of speech (positive) and of silence (negative)."""
    facts = []
    for part in parts:
        for _ in range(ticks(abs(part)) // FRAME):
            facts += hearing.voice(Voice(FRAME, p if part > 0 else 0.0, -20.0 if part > 0 else -60.0), deaf=deaf)
    return facts


def test_a_turn() -> None:
    it = Hearing(P)
    assert hear(it, -1.0, 0.04) == []
    assert not it.speaking
    assert hear(it, 0.46) == [
        Opened(1, 0, 16000, P, continues=False, reopened=False),
        Spoke(1, 11200, 16000, 20800, 4800),
    ]
    assert it.speaking
    assert hear(it, -0.1) == [Paused(1, 0, 16000 - 4800, 16000, 25600, 16000, 8000)]
    assert hear(it, 0.06) == [Resumed(1, 1, ticks(0.1)), Spoke(1, 11200, 16000, 26560, 8000 + 320)]
    assert hear(it, -0.6) == [
        Paused(1, 1, 11200, 16000, 25600 + 960 + 1600, 16000, 8000 + 320),
        Closed(1, 1, 11200, 16000, 28160, ticks(0.6), ticks(0.6), "silence"),
    ]
    assert (it.at, it.open_turn) == (ticks(1 + 0.5 + 0.1 + 0.06 + 0.6), None)


def test_pre_roll_ends_at_the_turn_before() -> None:
    it = Hearing(Policy(wait=ticks(0.2)))
    hear(it, 0.5)
    closed = hear(it, -0.2)[-1]
    hear(it, 0.5)
    paused = hear(it, -0.1)[-1]
    assert paused.context == closed.end == ticks(0.6)
    assert paused.start == ticks(0.7)


@pytest.mark.parametrize(("speech", "n_turns"), [(0.06, 0), (0.08, 0), (0.1, 1)])
def test_the_hangover_does_not_make_a_noise_a_turn(speech, n_turns) -> None:
    it = Hearing(P)
    facts = hear(it, speech, -1.0)
    assert sum(isinstance(f, Closed) for f in facts) == n_turns
    assert [f for f in facts if isinstance(f, Rejected)] == [Rejected(1, "too short", ticks(speech))] * (1 - n_turns)


def test_a_doubtful_frame_delays_the_end() -> None:
    it = Hearing(P)
    hear(it, 0.5, -0.58)
    assert hear(it, 0.02) == []
    assert hear(it, -0.04) == []
    assert [f.waited for f in hear(it, -0.02)] == [ticks(0.66)]


@pytest.mark.parametrize("pause", [-0.06, -0.62])
def test_a_policy_comes_with_the_next_segment(pause) -> None:
    it = Hearing(P)
    hear(it, 0.5)
    new = Policy(onset=ticks(0.2))
    it.configure(new)
    assert it.policy is new
    hear(it, -0.7)
    assert hear(it, 0.18) == []
    hear(it, pause)
    assert hear(it, 0.26 if pause > -0.1 else 0.2)[0].policy is new


def test_configuring_keeps_an_onset() -> None:
    it = Hearing(P)
    hear(it, 0.04)
    it.configure(Policy(pre_roll=0))
    assert hear(it, 0.02) == [Opened(1, 0, 0, it.policy, continues=False, reopened=False)]


def test_the_longest_turn_goes_on_as_another_that_is_not_speech_until_it_pauses() -> None:
    policy = Policy(max_turn=ticks(3))
    it = Hearing(policy)
    facts = [f for f in hear(it, 3.1) if not isinstance(f, Spoke)]
    cut = facts[1].end
    assert ticks(1.5) < cut <= ticks(3)
    assert facts[1:] == [
        Closed(1, 0, 0, 0, cut, 0, policy.wait, "cap"),
        Opened(2, 0, cut, policy, continues=True, reopened=False),
    ]
    assert (it.open_turn, it.speaking) == (2, False)
    hear(it, -0.2)
    assert not it.speaking
    hear(it, 0.1)
    assert it.speaking


def test_typed_turns_are_counted_too() -> None:
    it = Hearing(P)
    assert it.new_turn() == 1
    assert hear(it, 0.06)[0].turn == 2


def test_close() -> None:
    it = Hearing(P)
    assert it.close() == []
    hear(it, 0.5)
    assert it.close() == [Rejected(1, "closed", ticks(0.5))]
    assert it.open_turn is None


def test_deaf() -> None:
    it = Hearing(P)
    assert hear(it, 1.0, deaf=True) == []
    assert hear(it, 0.24) == []
    assert hear(it, 0.06) == [Opened(1, 0, ticks(1.24), P, continues=False, reopened=False)]
