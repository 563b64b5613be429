"""The same inputs lead to the same actions; other settings to what they would have led to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.program import DATA, distribution
from tests.talk import INTERRUPTED, noisy, talk
from voiceloop import build, cli, testing
from voiceloop.config import Config, override, shown
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, ticks
from voiceloop.core.policy import Policy
from voiceloop.errors import ConfigError, ProviderError
from voiceloop.journal.reader import Recording, read
from voiceloop.journal.replay import replay
from voiceloop.journal.writer import Journal
from voiceloop.session.session import Parts
from voiceloop.testing import (
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeSynthesizer,
    FakeTranscriber,
    FakeVad,
    VirtualLoop,
)
from voiceloop.whatif import run as whatif
from voiceloop.whatif.memory import UNKNOWN_ANSWER, UNKNOWN_WORDS, Memory, spelled
from voiceloop.whatif.outcome import Turn, alike, near, pairs, turns, typical

FAKES = """
import asyncio
from voiceloop.core.audio import FRAME, RATE
from voiceloop.testing import FakeTranscriber, FakeVad

def listen(pcm):
    # Deaf to the length of silence, so that the words depend on what was said.
    vad = FakeVad()
    n = sum(vad.probability(pcm[i:i + FRAME]) > 0.5 for i in range(0, pcm.size - FRAME + 1, FRAME))
    return f"{round(n * FRAME / RATE, 1)} seconds of tone"

vad = lambda config: FakeVad()
stt = lambda tools: FakeTranscriber(listen=listen, delay_s=0.01)
"""


@pytest.fixture(autouse=True)
def _engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake engines as plug-ins, so that a second run needs no models."""
    site = tmp_path / "site"
    distribution(
        site, "replay_fakes", FAKES,
        "[voiceloop.vad]\nfake = replay_fakes:vad\n[voiceloop.stt]\nfake = replay_fakes:stt\n",
    )  # fmt: skip
    monkeypatch.syspath_prepend(site)


CONFIG = override(
    Config(),
    {"vad.engine": "fake", "stt.engine": "fake", "turn.barge_in": "stop", "turn.wait_s": 0.6, "turn.reopen_s": 0.0},
)


def heard(pcm: Pcm) -> str:
    n = sum(level_db(pcm[i : i + FRAME]) > -40 for i in range(0, pcm.size - FRAME + 1, FRAME))
    return f"{round(n * FRAME / RATE, 1)} seconds of tone"


def recorded(
    folder: Path, mic: Pcm, *, config: Config = CONFIG, facts: dict[str, object] | None = None, host=(), **changes
) -> Recording:
    """A session with fakes, written to a file and read back. STT, handler and voice take 100 ms each."""
    path = folder / "talk.voiceloop"
    known = {"config": shown(config), "engines": {"stt": "fake", "vad": "fake"}, "early": True}
    journal = Journal(path, {**known, **(facts or {})})
    made = Parts(
        FakePort(mic), FakeVad(), FakeTranscriber(listen=heard, delay_s=0.1),
        FakeHandler(delay_s=0.1), FakeSynthesizer(), FakeResampler,
        policy=build.policy(config), taps=(journal,),
    )  # fmt: skip
    talk(replace(made, **changes), host=host)
    assert journal.close() is None
    return read(path)


def again(recording: Recording, *settings: str) -> whatif.Outcome:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(whatif.run(recording, settings))


PAUSES = noisy(-0.5, 1.0, -0.75, 1.2, -9.0)
"""A sentence with a pause of 750 ms in it: too long for a wait of 600, not for one of 900."""


# --- the same ---


def test_a_field_bug_becomes_a_test_by_copying_the_file() -> None:
    """The file was written by

        voiceloop run --handler echo --input tests/data/ps_card001.flac --record tests/data/ten_of_clubs.voiceloop

    and is written again by the same when the core changes on purpose.
    """
    found = testing.replay(DATA / "ten_of_clubs.voiceloop")
    assert found.identical
    assert found.n_inputs > 100


def test_a_replay_finds_what_is_different(tmp_path: Path) -> None:
    found = recorded(tmp_path, noisy(*INTERRUPTED))
    assert replay(found).identical
    slower = replay(replace(found, policy=replace(found.policy, wait=ticks(0.9))))
    first = slower.differences[0]
    assert any("Decided" in line for line in first.recorded)
    assert not any("Decided" in line for line in first.replayed)
    assert first == next(d for d in slower.differences if d.number == first.number)
    missing = replay(replace(found, steps=found.steps[:100] + found.steps[200:]))
    assert missing.differences[0].number == 101  # the microphone clock is compared too


def test_the_command_says_identical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = recorded(tmp_path, noisy(*INTERRUPTED))
    n_actions = sum(len(step.actions) for step in found.steps)
    path = str(tmp_path / "talk.voiceloop")
    assert cli.main(["replay", path]) == 0
    assert capsys.readouterr().out == f"identical: {len(found.steps):,} inputs, {n_actions} actions\n"
    assert cli.main(["replay", "--json", path]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "identical": True, "inputs": len(found.steps), "actions": n_actions, "whole": True, "differences": []
    }  # fmt: skip


def test_the_command_says_what_is_different(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talk.voiceloop"
    journal = Journal(path, {"policy": {"wait": ticks(0.9)}, "voiceloop": "0.0.1"})
    talk(replace(Parts(
        FakePort(noisy(-0.5, 1.0, -3.0)), FakeVad(), FakeTranscriber(), FakeHandler(), FakeSynthesizer(), FakeResampler,
    ), taps=(journal,)))  # fmt: skip
    journal.close()
    assert cli.main(["replay", str(path)]) == 1
    first, second, third, fourth, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("different: ")
    assert second.startswith("    2.10 s  input ")
    assert ", Voice (n 320, p 0.05, level_db -" in second
    assert third.startswith(
        "            recorded  Trace (what ended, because silence, turn 1, quiet_s 0.6, wait_s 0.6, "
    )
    assert fourth == "            now       nothing"
    assert rest[-1] == "It was recorded by voiceloop 0.0.1; this is 0.1.0."
    assert cli.main(["replay", "--json", str(path)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["identical"]
    assert told["differences"][0]["recorded"][0]["Trace"]["because"] == "silence"
    assert told["differences"][0]["replayed"] == []


def test_a_file_that_was_cut_off_is_replayed_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, noisy(*INTERRUPTED))
    data = (tmp_path / "talk.voiceloop").read_bytes()
    (tmp_path / "half.voiceloop").write_bytes(data[: len(data) // 2])
    assert cli.main(["replay", str(tmp_path / "half.voiceloop")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("half.voiceloop was not finished; its first ")
    assert second.startswith("identical: ")
    (tmp_path / "head.voiceloop").write_bytes(data[:2000])
    assert cli.main(["replay", str(tmp_path / "head.voiceloop")]) == 0
    assert capsys.readouterr().out == (
        "head.voiceloop was not finished; nothing of it can be read.\nidentical: 0 inputs, 0 actions\n"
    )


# --- what if ---


def test_the_same_settings_give_the_same_session(tmp_path: Path) -> None:
    found = recorded(tmp_path, noisy(*INTERRUPTED))
    outcome = again(found, "turn.wait_s=0.6")
    assert [(step.now, step.event) for step in outcome.steps if isinstance(step.event, ev.Voice)][
        : len(found.steps)
    ] == [(step.now, step.event) for step in found.steps if isinstance(step.event, ev.Voice)]
    assert len(outcome.pairs) == 2
    assert all(len(p.recorded) == len(p.what_if) == 1 and alike(p.recorded[0], p.what_if[0]) for p in outcome.pairs)
    assert [p.recorded[0].ending for p in outcome.pairs] == ["interrupted", "completed"]
    assert outcome.notes == ()
    kinds = [
        [type(action).__name__ for step in steps for action in step.actions] for steps in (found.steps, outcome.steps)
    ]
    assert kinds[0] == kinds[1]


def test_a_longer_wait_lets_the_person_finish(tmp_path: Path) -> None:
    outcome = again(recorded(tmp_path, PAUSES), "turn.wait_s=0.9")
    (pair,) = outcome.pairs
    assert [turn.words for turn in pair.recorded] == ["1.0 seconds of tone", "1.2 seconds of tone"]
    assert pair.recorded[0].went_on_s == pytest.approx(0.15 + 0.0, abs=0.03)
    (turn,) = pair.what_if
    assert (turn.words, turn.reply, turn.estimated) == ("2.2 seconds of tone", None, True)
    assert turn.decided_ms == 900
    assert turn.heard_ms == pytest.approx(920, abs=20)
    assert turn.went_on_s is None
    assert (turn.start, turn.end) == (pair.recorded[0].start, pair.recorded[1].end)


def test_delays_are_the_recorded_ones(tmp_path: Path) -> None:
    found = recorded(tmp_path, noisy(-0.5, 1.0, -6.0))
    (pair,) = again(found, "turn.run_ahead=none").pairs
    assert near(pair.recorded[0].heard_ms, 620)
    # 100 ms of recognition, 160 of the handler until its sentence is whole, 100 of the voice, one frame
    assert pair.what_if[0].heard_ms == pytest.approx(600 + 100 + 160 + 100, abs=20)
    assert pair.what_if[0].reply == "You said 1.0 seconds of tone."


def test_a_handler_that_is_not_called_early_is_not_in_the_second_run_either(tmp_path: Path) -> None:
    mic = noisy(-0.5, 1.0, -6.0)
    found = recorded(tmp_path, mic, handler=FakeHandler(early=False), facts={"early": False})
    (pair,) = again(found, "turn.pause_s=0.2").pairs
    assert near(pair.recorded[0].heard_ms, pair.what_if[0].heard_ms)
    assert pair.recorded[0].heard_ms > 900


def test_the_host_says_again_what_it_said(tmp_path: Path) -> None:
    host = [
        (0.1, ev.Say(-1, "Welcome.")),
        (3.0, ev.Mute(True)),
        (4.5, ev.Mute(False)),
        (5.0, ev.Configure(replace(build.policy(CONFIG), moment="Hold on.", wait=ticks(0.7)))),
    ]
    found = recorded(tmp_path, noisy(-1.5, 0.5, -1.5, 0.5, -2.5, 0.5, -6.0), host=host)
    outcome = again(found, "turn.pause_s=0.2", "turn.wait_s=0.8")
    said = [step.event for step in outcome.steps if not isinstance(step.event, ev.Voice | ev.Played)]
    assert [event for event in said if isinstance(event, ev.Say | ev.Mute)] == [what for _, what in host[:3]]
    (configured,) = [event for event in said if isinstance(event, ev.Configure)]
    assert (configured.policy.moment, configured.policy.wait) == ("Hold on.", ticks(0.8))
    assert [turn.decided_ms for pair in outcome.pairs for turn in pair.recorded] == [600, 700]
    assert [turn.decided_ms for pair in outcome.pairs for turn in pair.what_if] == [800, 800]


def test_a_failure_fails_again(tmp_path: Path) -> None:
    broken = FakeHandler({"1.0 seconds of tone": ProviderError("It is tired.", stage="handler")}, delay_s=0.1)
    found = recorded(tmp_path, noisy(-0.5, 1.0, -6.0), handler=broken)
    outcome = again(found, "turn.wait_s=0.7")
    failed = [step.event for step in outcome.steps if isinstance(step.event, ev.Failed)]
    assert failed
    assert [event.message for event in failed] == [
        step.event.message for step in found.steps if isinstance(step.event, ev.Failed)
    ]
    (pair,) = outcome.pairs
    assert pair.what_if[0].reply == pair.recorded[0].reply == Policy().sorry_handler


def test_words_of_a_service_are_used_again_where_it_heard_the_same(tmp_path: Path) -> None:
    config = override(CONFIG, {"stt.engine": "openai"})
    facts = {"config": shown(config), "engines": {"stt": "openai", "vad": "fake"}}
    talker = FakeTranscriber(["one two three", "four five six"])
    found = recorded(
        tmp_path, PAUSES, transcriber=talker, facts=facts, policy=replace(build.policy(config), run_ahead="none")
    )
    outcome = again(found, "vad.on=0.6")
    assert [turn.words for pair in outcome.pairs for turn in pair.what_if] == ["one two three", "four five six"]
    assert outcome.notes[0] == "Words are those that openai found then, where it heard the same sound."


def test_without_an_engine_other_words_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = override(CONFIG, {"stt.engine": "openai"})
    facts = {"config": shown(config), "engines": {"stt": "openai", "vad": "fake"}}
    found = recorded(tmp_path, PAUSES, facts=facts)
    monkeypatch.setattr(build, "choose", lambda config, port: refuse() if port == "stt" else "fake")
    outcome = again(found, "turn.wait_s=0.9")
    (pair,) = outcome.pairs
    assert [(turn.words, turn.reply, turn.estimated) for turn in pair.what_if] == [(None, None, True)]
    assert "Nobody knows the words of " in outcome.notes[1]


def refuse() -> str:
    raise ConfigError("there is none.")


def test_other_engines_are_said(tmp_path: Path) -> None:
    found = recorded(tmp_path, noisy(-0.5, 1.0, -4.0), facts={"engines": {"stt": "other", "vad": "silero"}})
    notes = again(found, "stt.engine=fake", "handler.name=chat").notes
    assert notes[-1] == "handler.name changes nothing here: answers, voice and sound are the recorded ones."
    assert "Voice activity was found by fake; then by silero." in notes


def test_a_recording_that_was_cut_off_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    recorded(tmp_path, noisy(*INTERRUPTED))
    data = (tmp_path / "talk.voiceloop").read_bytes()
    short = tmp_path / "short.voiceloop"
    n_turns = set[int]()
    for share in (0.05, 0.2, 0.3, 0.45, 0.6, 0.9):
        short.write_bytes(data[: round(len(data) * share)])
        outcome = again(read(short), "turn.wait_s=0.7")
        assert outcome.notes[-1].startswith("The recording was not finished; its first ")
        n_turns.add(sum(len(pair.what_if) for pair in outcome.pairs))
    assert n_turns == {0, 1, 2}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("turn.wat_s=1", r"turn\.wat_s: there is no such key"),
        ("turn=1", r"turn: there is no such key"),
        ("turn.wait_s", "write a key, = and a value"),
        ("turn.wait_s=long", r"turn\.wait_s: expected a number"),
        ("turn.wait_s=100", r"turn\.wait_s: expected"),
        ("turn.barge_in=maybe", r"Known: 'stop', 'pause'"),
        ("turn.pause_s=1.5", r"turn\.pause_s must not be longer"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        again(recorded(tmp_path, noisy(-0.1)), setting)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, np.concatenate((PAUSES, noisy(1.0, -6.0))))
    path = str(tmp_path / "talk.voiceloop")
    assert cli.main(["replay", path, "--set", "turn.wait_s=0.9"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[1][:3] == ["0.50", "s", "recorded"]
    assert "the person went on 0.1" in out
    assert [row[2:4] for row in rows if "920" in row and row[0] != "Median"] == [["what", "if"]] * 2
    assert any("920 ms ?" in line and "2.2 seconds of tone" in line for line in out.splitlines())
    assert "Turns: 3 -> 2, went on within 1.5 s: 1 -> 0, reopened: 0, interrupted: " in out
    assert "?: another answer than the recorded one" in out
    assert cli.main(["replay", path, "--set", "turn.wait_s=0.6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["recorded"][0]["words"] == row["what_if"][0]["words"] for row in told["turns"]] == [True] * 3
    assert cli.main(["replay", path, "--set", "turn.wait_s=0.6"]) == 0
    assert " both " in capsys.readouterr().out


def test_a_recording_without_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, noisy(-2.0))
    assert cli.main(["replay", str(tmp_path / "talk.voiceloop"), "--set", "turn.wait_s=0.9"]) == 0
    assert capsys.readouterr().out == "There are no turns in it.\n"


# --- what a recording knows ---


def test_what_was_never_said_gets_a_typical_length(tmp_path: Path) -> None:
    nothing = Memory(recorded(tmp_path, noisy(-1.0)))
    assert (nothing.recognition(RATE), nothing.thinking(), nothing.speaking()) == (0, 1600, 1600)
    assert (nothing.length(UNKNOWN_ANSWER), nothing.length("12345")) == (48_000, 7200)
    assert nothing.words(0, RATE) is None
    known = Memory(recorded(tmp_path, noisy(-0.5, 1.0, -6.0)))
    reply = "You said 1.0 seconds of tone."
    assert known.length(UNKNOWN_ANSWER) == known.length("x" * len(reply)) == len(reply) * 1440
    assert near(known.recognition(RATE) * 1000 // RATE, 100)
    assert near(known.thinking() * 1000 // RATE, 110)
    assert known.answer("you said, 1.0 SECONDS of tone") is None
    assert known.answer("1.0 Seconds, of tone!") is not None


def test_words_are_compared_without_commas() -> None:
    assert spelled("Go forward, ten metres.") == spelled("go forward ten metres")
    assert spelled("It's") != spelled("Its")


def test_turns_are_matched_by_sound() -> None:
    def turn(id: int, start: int, end: int) -> Turn:
        return Turn(id, start, end)

    a, b, c, x, y = turn(1, 0, 10), turn(2, 20, 30), turn(3, 40, 50), turn(1, 2, 28), turn(2, 60, 70)
    assert [(p.recorded, p.what_if) for p in pairs([a, b, c], [x, y])] == [((a, b), (x,)), ((c,), ()), ((), (y,))]
    assert typical([None, 3, 5, 4]) == 4
    assert typical([None]) is None
    assert near(600, 620)
    assert not near(600, None)
    assert not near(600, 621)


def test_what_turns_tell() -> None:
    from voiceloop.journal.reader import Step

    news: list[tuple[int, ev.Action]] = [
        (1000, ev.SpeechStarted(1, 1000)),
        (9000, ev.SpeechStopped(1, 8000, "silence")),
        (9000, ev.Decided(1, 0, 9600, ready=True)),
        (9000, ev.Heard(1, 0, "go")),
        (9000, ev.ReplyStarted(1, 1)),
        (9000, ev.ReplySaid(1, 0, "Going.")),
        (11000, ev.SpeechStarted(1, 11000)),
        (11500, ev.SpeechRejected(1, "no words")),
        (12000, ev.SpeechStarted(1, 12000)),
        (12000, ev.Reopened(1, 1, 3000)),
        (12000, ev.ReplyEnded(1, 1, "withdrawn", "Going.", "")),
        (30000, ev.Decided(1, 1, 8000, ready=False)),
        (30000, ev.Heard(1, 1, f"go {UNKNOWN_WORDS}")),
        (30000, ev.TurnDropped(1, "no words")),
        (40000, ev.SpeechStarted(2, 39000)),
        (41000, ev.SpeechRejected(2, "short")),
    ]
    (turn,) = turns([Step(now, now, ev.Tick(), (action,)) for now, action in news])
    assert (turn.start, turn.end) == (1000, 22000)
    assert (turn.words, turn.decided_ms, turn.reopened, turn.dropped) == (None, 500, 1, "no words")
    assert turn.marks == ("reopened", "withdrawn", "dropped: no words")
    assert turn.went_on_s is None


def test_the_configuration_is_kept_without_secrets() -> None:
    config = override(Config(), {
        "service.base_url": "https://me:pass@host.example/v1?key=abc", "stt.options": {"api_key": "abc", "beam": 3},
    })  # fmt: skip
    kept = shown(config)
    assert kept["service"]["base_url"] == "https://host.example/v1"
    assert kept["stt"]["options"] == {"api_key": "", "beam": 3}
    assert config.stt.options["api_key"] == "abc"
    assert "abc" not in json.dumps(kept)
    assert "pass" not in json.dumps(kept)
