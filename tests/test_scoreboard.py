"""The scoreboard of benchmarks/turns.py measures what it says: scenes whose numbers can be told by hand."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from voiceloop.core.audio import FRAME, RATE, Pcm, silence, ticks
from voiceloop.core.policy import Policy
from voiceloop.ports import Transcript
from voiceloop.testing import FakeVad, tone

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


class Words:
    """A recognizer that always hears the same."""

    def choice(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        return self.transcript(pcm), ()

    def transcript(self, pcm: Pcm) -> Transcript:
        return Transcript("what time is it")


def played(mic: Pcm, policy: Policy, **more: object) -> tuple[object, object]:
    """A take and its result; the user's speech are the tones in `mic`."""
    stage, scenes, score = module("stage"), module("scenes"), module("score")
    scene = scenes.Scene("by hand", tags=("inside", "600"), speaker="tone", mic=mic, room=silence(RATE), **more)
    (take,) = stage.Player(Words(), FakeVad).play(scene, [policy])
    return take, score.judge(take, "test")


def joined(*parts: float) -> Pcm:
    return np.concatenate([tone(p) if p > 0 else silence(round(-p * RATE)) for p in parts])


FIXED = Policy(wait=ticks(1))
END = ticks(2.2)


def test_latency_of_a_fixed_silence() -> None:
    # Decided 1 s after the last voiced frame; the port takes it with its next block, 20 ms later.
    _, result = played(joined(-0.6, 1.6), FIXED, kind="end", end=END)
    assert (result.latency_ms, result.cut_ms, result.missed, result.stuck) == (1020, None, False, False)


def test_a_fast_decision_waits_for_the_services() -> None:
    # 100 ms until work begins, 540 ms of services, the next block.
    _, result = played(joined(-0.6, 1.6), Policy(wait=ticks(0.3)), kind="end", end=END)
    assert result.latency_ms == 660


def test_a_cut_off_counts_from_its_pause() -> None:
    end = ticks(0.6 + 1 + 1.5 + 1)
    pause = (ticks(1.6), ticks(3.1))
    _, result = played(joined(-0.6, 1, -1.5, 1), FIXED, kind="pause", end=end, pauses=(pause,))
    assert result.cut_ms == 1020
    assert result.cut
    assert result.turns == 2


def test_a_shorter_pause_is_no_cut_off() -> None:
    end = ticks(0.6 + 1 + 0.8 + 1)
    _, result = played(joined(-0.6, 1, -0.8, 1), FIXED, kind="pause", end=end, pauses=((ticks(1.6), ticks(2.4)),))
    assert (result.cut, result.latency_ms) == (False, 1020)
    assert result.wasted[0] == 1  # the words of the first half were looked for in vain


def test_a_voice_over_the_reply() -> None:
    more = {"kind": "over", "end": END, "sentences": 4, "over": tone(1.5), "over_after": ticks(2)}
    take, result = played(joined(-0.6, 1.6), FIXED, **more)
    assert take.port.over_at == END + ticks(1.02 + 2)
    # Held when 60 ms have been heard, and the frame in which they were heard is over; one block is under way.
    assert 80 <= result.hold_ms <= 100
    assert (result.right, result.verdict) == (True, "stopped")
    assert result.judged_ms is not None
    assert result.exact


def test_a_click_over_the_reply_changes_nothing() -> None:
    more = {"kind": "over", "end": END, "over": tone(0.02), "over_after": ticks(1), "goes_on": True}
    take, result = played(joined(-0.6, 1.6), FIXED, **more)
    assert (result.right, result.verdict, result.hold_ms) == (True, "was not held", None)
    heard, sound = take.reply(1)
    assert np.array_equal(heard, sound)


def test_lost_and_doubled_samples_are_seen() -> None:
    is_prefix, sound = module("score").is_prefix, module("engines").voice("A sentence.")
    assert is_prefix(sound[:5000], sound)
    assert not is_prefix(np.delete(sound[:5000], 100), sound)
    assert not is_prefix(np.insert(sound[:5000], 100, sound[100]), sound)
    assert not is_prefix(np.append(sound, sound[-1]), sound)


def test_wilson() -> None:
    low, high = module("score").wilson(5, 100)  # as in Newcombe 1998 and any table: 2.15 to 11.18 %
    assert (round(low, 4), round(high, 4)) == (0.0215, 0.1118)
    assert module("score").wilson(0, 0) == (0.0, 1.0)


def test_speech_is_found_in_room_noise() -> None:
    rng = np.random.default_rng(1)
    pcm = joined(-0.5, 1, -0.7) + rng.integers(-20, 20, ticks(2.2)).astype(np.int16)
    assert module("material").trim(pcm) == (ticks(0.5), ticks(1.5))


def test_a_pause_is_put_in_and_all_speech_stays() -> None:
    speech, room = tone(1), np.random.default_rng(1).integers(-20, 20, ticks(0.3)).astype(np.int16)
    laid = module("material").laid(
        [ticks(0.6), speech[:8000], ticks(0.8), speech[8000:]], room, np.random.default_rng(2)
    )
    assert laid.size == speech.size + ticks(1.4)
    edge = RATE // 200
    first, second = laid[ticks(0.6) :][:8000], laid[ticks(0.6) + 8000 + ticks(0.8) :]
    assert np.abs(first[edge:-edge] - speech[edge : 8000 - edge]).max() <= 1
    assert np.abs(second[edge:-edge] - speech[8000 + edge : -edge]).max() <= 1
    between = laid[ticks(0.6) + 8000 :][: ticks(0.8)]
    assert 0 < np.abs(between).max() < 200


def test_marks_of_a_transcript() -> None:
    said, marks, final = module("material").marked("by allah / replied the fireman | i tell thee / the truth .")
    assert said[:3] == ("by", "allah", "replied")
    assert marks == {2: "/", 5: "|", 8: "/"}
    assert final == "."


def test_words_on_both_sides_of_a_gap_must_fit() -> None:
    alike = module("material")._alike
    assert alike("tothehouse", "hewenttothehouse") == 1
    assert alike("tothehouse", "hewenttothemouse") > 0.75  # one letter that was misheard
    assert alike("tothehouse", "hewenttothehouseof") == 0  # it goes on: the gap is elsewhere


def test_a_preset_is_compared_with_the_line_between_fixed_silences() -> None:
    fixed_at = module("table").fixed_at
    line = [(600.0, 0.8), (600.0, 0.7), (800.0, 0.3)]
    assert fixed_at(line, 700) == pytest.approx(0.5)
    assert fixed_at(line, 600) == pytest.approx(0.7)  # of two as fast, the better
    assert fixed_at(line, 900) == pytest.approx(0.3)
    assert fixed_at(line, 500) is None


def test_what_was_recalled_is_what_the_detector_says() -> None:
    class Counting(FakeVad):
        """Its answer depends on all it heard."""

        n = 0

        def probability(self, frame: Pcm) -> float:
            self.n += 1 if frame.any() else 10
            return self.n / 100

        def reset(self) -> None:
            self.n = 0

    recall = module("engines").Recall(Counting())
    loud, quiet = tone(FRAME / RATE), silence(FRAME)
    heard = [[quiet, loud], [quiet, loud, loud, quiet], [quiet, loud, quiet, quiet], [quiet, loud, quiet]]
    found: list[list[float]] = []
    for frames in heard:
        recall.reset()
        found.append([recall.probability(frame) for frame in frames])
    assert found == [[0.1, 0.11], [0.1, 0.11, 0.12, 0.22], [0.1, 0.11, 0.21, 0.31], [0.1, 0.11, 0.21]]
