"""Frames -> segments and turns."""

from __future__ import annotations

import pytest

from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.events import Voice
from voiceloop.core.hearing import Closed, Hearing, Lasted, Opened, Paused, Rejected, Resumed, Spoke
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
        Spoke(1, 11200, 16000, 22400, 6400),
        Spoke(1, 11200, 16000, 24000, 8000),
    ]
    assert it.speaking
    assert hear(it, -0.1) == [
        Spoke(1, 11200, 16000, 24320, 8000),
        Paused(1, 0, 16000 - 4800, 16000, 25600, 16000, 8000),
    ]
    assert hear(it, 0.06) == [Resumed(1, 1, ticks(0.1)), Spoke(1, 11200, 16000, 26560, 8000 + 320)]
    assert hear(it, -0.6) == [
        Spoke(1, 11200, 16000, 26560 + 320, 8000 + 320),
        Paused(1, 1, 11200, 16000, 25600 + 960 + 1600, 16000, 8000 + 320),
        Lasted(1, 11200, 25600 + 960 + P.second),
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


# --- a turn that is reopened ---


def again(hearing: Hearing, *parts: float, level: float = -20.0) -> list:
    """As `hear`, while turn 1 may go on."""
    facts = []
    for part in parts:
        for _ in range(ticks(abs(part)) // FRAME):
            frame = Voice(FRAME, 0.9 if part > 0 else 0.0, level if part > 0 else -60.0)
            facts += hearing.voice(frame, deaf=False, reopen=1)
    return facts


def test_a_decided_turn_goes_on() -> None:
    it = Hearing(P)
    hear(it, 0.5, -0.7)
    (opened,) = again(it, 0.1)
    assert opened == Opened(1, 1, ticks(1.2), P, continues=False, reopened=True)
    assert again(it, -0.1)[-1] == Paused(1, 1, 0, 0, it.at, ticks(1.2), ticks(0.1))
    closed = again(it, -0.6)[-1]
    assert (closed.turn, closed.rev, closed.start, closed.end) == (1, 1, 0, ticks(1.4))


def test_a_noise_reopens_for_nothing_and_the_turn_may_be_reopened_again() -> None:
    it = Hearing(P)
    hear(it, 0.5, -0.7)
    assert again(it, 0.06, -0.7)[-1] == Rejected(1, "too short", ticks(0.06))
    assert again(it, 0.06)[0].reopened


def test_a_voice_that_belongs_to_the_turn_is_not_too_short() -> None:
    it = Hearing(P)
    hear(it, 0.5, -0.7)
    again(it, 0.06)
    it.go_on(7)
    it.go_on(1)
    assert isinstance(again(it, -0.7)[-1], Closed)
    it.go_on(1)


def test_a_turn_does_not_grow_beyond_the_longest_one() -> None:
    it = Hearing(Policy(max_turn=ticks(1)))
    hear(it, 0.5, -0.7)
    assert again(it, 0.06)[0] == Opened(2, 0, ticks(1.2), it.policy, continues=False, reopened=False)


def test_a_voice_far_behind_the_speaker_does_not_reopen_his_turn() -> None:
    it = Hearing(P)
    hear(it, 0.5, -0.7)
    assert again(it, 1.0, level=-45.0) == []
    assert again(it, 0.06)[0].reopened


# --- looks, and what is behind the speaker ---


def test_it_is_time_to_look_again_and_again() -> None:
    """Often at first: who says a single word has said it soon."""
    it = Hearing(P)
    looks = [f for f in hear(it, -1.0, 1.3) if isinstance(f, Spoke)]
    assert [f.end - f.start for f in looks] == [ticks(at) for at in (0.3, 0.4, 0.5, 0.6, 0.9, 1.2)]
    assert {(f.context, f.start) for f in looks} == {(16000 - 4800, 16000)}


@pytest.mark.parametrize(("spoken", "n"), [(0.08, 0), (0.1, 1), (0.2, 1), (0.96, 0)])
def test_it_is_time_to_look_when_a_word_may_be_over(spoken, n) -> None:
    """Not at a noise, and not for ever: what is tried for a turn is limited."""
    it = Hearing(P)
    hear(it, -1.0, spoken)
    looks = [f for f in hear(it, -0.08) if isinstance(f, Spoke)]
    assert [(f.end, f.spoken) for f in looks] == [(ticks(1.0 + spoken + 0.02), ticks(spoken))] * n


def level(hearing: Hearing, seconds: float, level_db: float, p: float = 0.9) -> list:
    frames = ticks(seconds) // FRAME
    return [f for _ in range(frames) for f in hearing.voice(Voice(FRAME, p, level_db), deaf=False)]


@pytest.mark.parametrize(("behind_db", "held"), [(25.0, False), (10.0, False), (5.0, True)])
def test_voices_far_behind_do_not_hold_a_turn_open(behind_db, held) -> None:
    it = Hearing(P)
    level(it, 1.0, -20.0)
    facts = level(it, 3.0, -20.0 - behind_db)
    assert any(isinstance(f, Closed) for f in facts) is not held


def test_the_background_is_not_heard_until_it_is_quiet_for_a_while() -> None:
    """A party behind the speaker: it ends his turn, opens none, and he is heard over it; when it is over, all are."""
    it = Hearing(P)
    level(it, 3.0, -20.0)
    assert any(isinstance(f, Closed) for f in level(it, 4.0, -30.0))
    assert level(it, 5.0, -30.0) == []
    assert any(isinstance(f, Opened) for f in level(it, 0.5, -20.0))
    level(it, 3.0, -60.0, p=0.0)
    assert any(isinstance(f, Opened) for f in level(it, 0.5, -35.0))


def test_who_goes_on_softly_after_a_long_pause_is_not_his_own_background() -> None:
    """What was louder lies so far back that it says nothing; and his first syllables are not the loudest."""
    it = Hearing(Policy(wait=ticks(1.4)))
    level(it, 2.0, -20.0)
    level(it, 1.3, -60.0, p=0.0)
    facts = level(it, 0.4, -30.0) + level(it, 1.0, -20.0)
    assert any(isinstance(f, Resumed) for f in facts)
    assert not any(isinstance(f, Closed) for f in facts)


@pytest.mark.parametrize("slam_s", [0.02, 0.1, 0.2])
def test_a_door_that_slams_does_not_make_the_speaker_background(slam_s) -> None:
    it = Hearing(P)
    level(it, 1.0, -40.0)
    level(it, slam_s, -3.0)
    assert [f for f in level(it, 3.0, -40.0) if not isinstance(f, Spoke)] == []


def test_what_is_known_may_end_the_turn_now() -> None:
    it = Hearing(P)
    assert it.due() == []
    hear(it, 0.5)
    assert it.due() == []
    hear(it, -0.3)
    assert it.due() == []
    it.be_patient(7, wait=0, ready=True)
    it.be_patient(1, wait=ticks(0.2), ready=True)
    assert [f.wait for f in it.due()] == [ticks(0.2)]
    it.be_patient(1, wait=0, ready=True)
    assert it.level_db == -60.0
    assert Hearing(P).level_db < -60.0


def test_who_goes_on_just_when_the_reply_becomes_ready_is_still_given_a_last_chance() -> None:
    """However long ago the silence alone would have been enough: the chance begins when the turn may first end."""
    it = Hearing(P)
    hear(it, 1.0)
    it.be_patient(1, wait=ticks(2), ready=True)
    hear(it, -0.9, 0.02)
    it.be_patient(1, wait=ticks(0.5), ready=True)
    assert it.due() == []
    assert any(isinstance(f, Resumed) for f in hear(it, 0.04))
    assert [f.waited for f in hear(it, -0.6) if isinstance(f, Closed)] == [P.wait]


def test_nothing_is_lost_where_a_segment_is_cut_before_its_last_pause() -> None:
    """The quietest place may lie before the last pause: what stood between them used to belong to no segment."""
    it = Hearing(Policy(max_turn=ticks(3)))
    level(it, 2.0, -20.0)
    level(it, 0.1, -50.0)
    level(it, 0.3, -20.0)
    level(it, 0.3, -40.0, p=0.0)
    facts = level(it, 0.5, -20.0)
    closed, opened = (next(f for f in facts if isinstance(f, kind)) for kind in (Closed, Opened))
    assert closed.cause == "cap"
    assert (opened.start, opened.continues) == (closed.end, True)
    assert closed.end < ticks(2.2)
