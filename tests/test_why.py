"""Decisions in plain words, from a trace that every session leaves, without a word of what was said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import pytest

from tests.talk import noisy, parts, talk
from voiceloop import cli
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.errors import MediaError
from voiceloop.journal import trace
from voiceloop.journal.trace import Entry, TraceLog, entries, newest
from voiceloop.journal.why import SENTENCES, last_turns, sentence
from voiceloop.journal.writer import Journal
from voiceloop.session.latency import Latency

ONE = [
    (ticks(0.38), ev.Trace("started", "voice", turn=1, facts={"level_db": -24.3})),
    (ticks(2.40), ev.Trace("waiting", "words", turn=1, facts={"words": 3, "sense": "words", "finished": 0.31})),
    (ticks(2.72), ev.Trace("ended", "silence", turn=1,
                           facts={"quiet_s": 0.52, "wait_s": 0.5, "finished": 0.83, "score": None, "ready": "yes"})),
    (ticks(4.31), ev.Trace("paused", "voice over the reply", reply=1, facts={"voice_s": 0.08, "level_db": -31.4})),
    (ticks(5.02), ev.Trace("ignored", "backchannel", turn=2)),
]  # fmt: skip


def log(folder: Path, rows, *, session: str = "abc", latency: bool = True) -> None:
    """A trace as a session with these decisions leaves it."""
    kept = TraceLog(folder, latency=latency)
    kept.begin(session, Policy(), 24_000)
    for now, action in rows:
        if isinstance(action, Latency):
            kept(action)
        else:
            kept.step(now, now, ev.Tick(), [ev.Wake(now), action, ev.Heard(1, 0, "secret words")])
    kept.close()


# --- sentences ---


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (ONE[0][1], "heard a voice at -24 dB: a turn begins"),
        (ONE[1][1], "understood 3 words so far (sense words, finished 0.31)"),
        (ONE[2][1], "ended the turn after 0.52 s of silence (needed 0.50 s); reply ready: yes (finished 0.83)"),
        (ONE[3][1], "paused the reply: a voice for 0.08 s at -31 dB over it"),
        (ONE[4][1], "took no notice of a sign of listening, as mm-hm or yeah"),
    ],
)
def test_a_decision_in_plain_words(action, said) -> None:
    assert sentence(action) == said


def test_what_is_in_no_table_is_told_with_all_its_facts() -> None:
    odd = ev.Trace("ended", "full_moon", turn=1, facts={"moon_s": 2.0, "n": 3, "who": "it", "p": 0.5, "late_ms": 7.6})
    assert sentence(odd) == "ended the turn: full moon (moon 2.00 s, n 3, who it, p 0.50, late 8 ms)"
    assert sentence(ev.Trace("gone_home", "tired")) == "gone home: tired"


def test_a_sentence_without_its_facts_hides_none_of_the_others() -> None:
    assert sentence(ev.Trace("paused", "voice over the reply", facts={"level_db": -20.0, "voice_s": None})) == (
        "paused the reply: voice over the reply (level -20 dB)"
    )


@pytest.mark.parametrize("key", SENTENCES, ids=" ".join)
def test_every_sentence_can_be_said_and_mentions_every_fact(key) -> None:
    names = [name for _, name, _, _ in Formatter().parse(SENTENCES[key]) if name]
    facts = {name: 0.125 * (n + 1) for n, name in enumerate([*names, "odd"])}
    said = sentence(ev.Trace(*key, facts=facts))
    assert said.endswith(")")
    assert "odd 0." in said
    assert len(re.findall(r"-?\d+(?:\.\d+)?", said)) == len(facts)
    assert not re.search(r"[{}_]", said)


# --- which turns ---


def test_the_last_turns() -> None:
    found = [Entry(n, ev.Trace("ended", "cap", turn=turn)) for n, turn in enumerate([None, 1, 1, None, 2, 1, 3, None])]
    assert [entry.now for entry in last_turns(found, 1)] == [6, 7]
    assert [entry.now for entry in last_turns(found, 2)] == [4, 5, 6, 7]
    assert last_turns(found, 3) == last_turns(found, 99) == found


# --- the trace that is always kept ---


def test_a_trace_holds_decisions_and_latencies_and_no_word(tmp_path: Path) -> None:
    latency = Latency(1, 1, 1, 2, 3, 4, 5, 6)
    log(tmp_path / "deep" / "traces", [*ONE, (0, latency)])
    path = newest(tmp_path / "deep" / "traces")
    assert path is not None
    assert path.name == "000001-abc.jsonl"
    assert "secret" not in path.read_text()
    assert entries(path) == [*(Entry(now, action) for now, action in ONE), Entry(ONE[-1][0], latency)]


def test_a_session_that_does_not_run_in_time_leaves_no_latency(tmp_path: Path) -> None:
    log(tmp_path, [*ONE, (0, Latency(1, 1, 1, 2, 3, 4, 5, 6))], latency=False)
    path = newest(tmp_path)
    assert path is not None
    assert [entry.what for entry in entries(path)] == [action for _, action in ONE]


def test_the_last_five_sessions_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not ours")
    for n in range(8):
        log(tmp_path, ONE, session=f"s{n}")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [*(f"{n + 1:06}-s{n}.jsonl" for n in range(3, 8)), "notes.txt"]
    assert newest(tmp_path) == tmp_path / "000008-s7.jsonl"


def test_a_long_session_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_HALF", 2000)
    many = [(n, ev.Trace("ended", "cap", turn=n, facts={"cap_s": 60.0})) for n in range(200)]
    log(tmp_path, many)
    path = newest(tmp_path)
    assert path is not None
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2 * 2000
    kept = [entry.now for entry in entries(path)]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 15
    for n in range(5):
        log(tmp_path, ONE, session=f"s{n}")
    assert len(list(tmp_path.iterdir())) == 5


def test_a_session_without_decisions_leaves_its_head(tmp_path: Path) -> None:
    log(tmp_path, [])
    path = newest(tmp_path)
    assert path is not None
    assert entries(path) == []


def test_a_trace_that_was_being_written_is_read_up_to_there(tmp_path: Path) -> None:
    log(tmp_path, ONE)
    path = newest(tmp_path)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-10])
    assert len(entries(path)) == len(ONE) - 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log(tmp_path / "file" / "traces", ONE)
    assert newest(tmp_path / "file" / "traces") is None


def test_what_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.jsonl cannot be read"):
        entries(tmp_path / "gone.jsonl")
    other = tmp_path / "other.jsonl"
    for text in ("hello\n", '{"now":1}\n', '{"now":1,"at":2,"Commit":{}}\n', "[1]\n"):
        other.write_text(text)
        with pytest.raises(MediaError, match="neither a recording nor a trace"):
            entries(other)


def test_a_session_leaves_a_trace_as_a_tap(tmp_path: Path) -> None:
    kept = TraceLog(tmp_path)
    talk(parts(noisy(-0.5, 1.0, -6.0), kept), kept)
    kept.close()
    path = newest(tmp_path)
    assert path is not None
    latencies = [entry.what for entry in entries(path) if isinstance(entry.what, Latency)]
    assert [latency.turn for latency in latencies] == [1]


# --- the command ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command looks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(trace, "trace_folder", lambda: tmp_path / "traces")
    return tmp_path / "traces"


def test_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(folder, [*ONE, (0, Latency(3, 2, 100, 110, 150, 600, 601, 620))])
    assert cli.main(["why"]) == 0
    assert capsys.readouterr().out == (
        "turn 1\n"
        "    0.38 s  heard a voice at -24 dB: a turn begins\n"
        "    2.40 s  understood 3 words so far (sense words, finished 0.31)\n"
        "    2.72 s  ended the turn after 0.52 s of silence (needed 0.50 s); reply ready: yes (finished 0.83)\n"
        "    4.31 s  paused the reply: a voice for 0.08 s at -31 dB over it\n"
        "turn 2\n"
        "    5.02 s  took no notice of a sign of listening, as mm-hm or yeah\n"
        "turn 3\n"
        "    5.02 s  after your last sound: words 100 ms, answer 110 ms, speech ready 150 ms, turn decided 600 ms, "
        "heard 620 ms\n"
    )
    assert cli.main(["why", "--last", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Nothing was decided in that session."


def test_why_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(folder, [*ONE, (0, Latency(3, 2, 100, 110, 150, 600, 601, 620))])
    assert cli.main(["why", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[3] == {
        "s": 4.31, "kind": "Trace", "what": "paused", "because": "voice over the reply", "turn": None, "reply": 1,
        "facts": {"voice_s": 0.08, "level_db": -31.4},
        "text": "paused the reply: a voice for 0.08 s at -31 dB over it",
    }  # fmt: skip
    assert (found[-1]["kind"], found[-1]["heard_ms"]) == ("Latency", 620)


def test_why_of_a_recording_has_the_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talk.voiceloop"
    journal = Journal(path, {})
    talk(parts(noisy(-0.5, 1.0, -6.0), journal))
    journal.close()
    assert cli.main(["why", str(path)]) == 0
    out = capsys.readouterr().out
    assert "s  you: what time is it\n" in out
    assert "s  voiceloop: You said what time is it.\n" in out
    assert "s  after your last sound: words " in out


def test_why_before_any_session(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["why"]) == 1
    assert capsys.readouterr().err == (
        "No session has left a trace yet: talk first (voiceloop run), or name a recording.\n"
    )
