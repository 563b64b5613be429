"""A session as one file: what goes in comes out, wherever the file ends."""

from __future__ import annotations

import io
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.talk import INTERRUPTED, HearingVad, noisy, parts, talk
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.core.policy import Policy
from voiceloop.errors import MediaError
from voiceloop.journal.archive import Archive, members
from voiceloop.journal.pen import Pen
from voiceloop.journal.reader import read
from voiceloop.journal.replay import replay
from voiceloop.journal.writer import Journal, Loudspeaker
from voiceloop.testing import Recorder, tone


def record(path: Path, mic: Pcm, *, stepped: bool = False, host=()) -> HearingVad:
    vad = HearingVad()
    journal = Journal(path, {"note": "a test"}, wait_s=60)
    talk(parts(mic, journal, stepped=stepped, vad=vad), host=host)
    assert journal.close() is None
    return vad


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HearingVad]:
    path = tmp_path_factory.mktemp("recorded") / "talk.voiceloop"
    return path, record(path, noisy(*INTERRUPTED), host=[(6.1, ev.Mute(True)), (6.3, ev.Mute(False))])


def test_the_microphone_is_what_the_vad_heard(recorded) -> None:
    path, vad = recorded
    found = read(path)
    assert found.whole
    assert np.array_equal(found.mic, np.concatenate(vad.frames))
    assert (found.mic == 0).sum() > 0.15 * RATE  # while it was muted


def test_sound_is_found_by_the_microphone_clock(recorded) -> None:
    path, vad = recorded
    found = read(path)
    heard = np.concatenate(vad.frames)
    orders = [action for step in found.steps for action in step.actions if isinstance(action, ev.Transcribe)]
    assert orders
    for order in orders:
        assert np.array_equal(found.mic[order.context : order.end], heard[order.context : order.end])
    assert found.mic.size == found.steps[-1].at


def test_the_head(recorded) -> None:
    found = read(recorded[0])
    assert (found.policy, found.facts["note"], found.out_rate) == (Policy(), "a test", 24_000)
    assert len(found.facts["session"]) == 16


def test_an_interrupted_session_replays_identically(recorded) -> None:
    found = read(recorded[0])
    kinds = {type(action) for step in found.steps for action in step.actions}
    assert {ev.Hold, ev.Hush, ev.ReplyEnded} <= kinds
    compared = replay(found)
    assert compared.identical
    assert compared.n_inputs == len(found.steps) > 400
    assert compared.n_actions > 30


def test_what_was_heard_lies_beside_the_microphone(tmp_path: Path) -> None:
    path = tmp_path / "talk.voiceloop"
    journal = Journal(path, {})
    made = parts(noisy(*INTERRUPTED), journal)
    talk(made)
    assert journal.close() is None
    found = read(path)
    played = np.concatenate(made.port.out)
    assert found.out.size == found.mic.size * 24_000 // RATE
    assert np.array_equal(found.out, played[: found.out.size])
    assert found.out.any()


def test_any_unzip_program_opens_it(recorded) -> None:
    with zipfile.ZipFile(recorded[0]) as file:
        assert file.testzip() is None
        names = file.namelist()
        first, rate = soundfile.read(io.BytesIO(file.read("mic-000001.flac")), dtype="int16")
    assert names[:4] == ["head.json", "mic-000001.flac", "out-000001.flac", "000001.jsonl"]
    assert names[-1] == "end.json"
    assert (first.size, rate) == (RATE, RATE)


def test_a_file_cut_off_anywhere_is_read_up_to_there(recorded, tmp_path: Path) -> None:
    path, _ = recorded
    data, whole = path.read_bytes(), read(path)
    short = tmp_path / "short.voiceloop"
    n_steps: list[int] = []
    directory = data.index(b"PK\x01\x02")
    for end in [*range(2000, len(data), 5003), *range(directory - 30, directory + 30, 7), len(data)]:
        short.write_bytes(data[:end])
        found = read(short)
        n_steps.append(len(found.steps))
        assert found.steps == whole.steps[: len(found.steps)]
        assert np.array_equal(found.mic, whole.mic[: found.mic.size])
        assert np.array_equal(found.out, whole.out[: found.out.size])
        assert not found.steps or found.mic.size >= found.steps[-1].at
        assert replay(found).identical
        assert found.whole == (end >= directory + 4)
    assert n_steps == sorted(n_steps)
    assert (n_steps[0], n_steps[-1]) == (0, len(whole.steps))
    assert len(set(n_steps)) > 10


def test_an_archive_cut_off_at_any_byte_gives_its_whole_members(tmp_path: Path) -> None:
    path, short = tmp_path / "whole.zip", tmp_path / "short.zip"
    archive = Archive(path)
    added = [("head.json", b"{}"), ("one.flac", bytes(range(256))), ("none.flac", b""), ("two.jsonl", b"abc\n" * 50)]
    archive.add(added[:1])
    archive.add(added[1:])
    archive.close()
    archive.close()
    data = path.read_bytes()
    assert members(path) == (added, True)
    with zipfile.ZipFile(path) as file:
        assert [(name, file.read(name)) for name in file.namelist()] == added
        ends = [*(info.header_offset for info in file.infolist()[1:]), file.start_dir]
    for end in range(len(data)):
        short.write_bytes(data[:end])
        found, closed = members(short)
        assert found == added[: sum(end >= each for each in ends)]
        assert closed == (end >= ends[-1] + 4)


def test_every_damaged_byte_of_an_archive_is_noticed(tmp_path: Path) -> None:
    path, bad = tmp_path / "whole.zip", tmp_path / "bad.zip"
    archive = Archive(path)
    archive.add(added := [("one.flac", bytes(range(64))), ("two.jsonl", b"abc\n" * 50)])
    archive.close()
    data = path.read_bytes()
    for at in range(len(data)):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        found, _ = members(bad)
        assert [content for _, content in found] == [content for _, content in added[: len(found)]]


def test_a_damaged_file_is_read_up_to_the_damage(recorded, tmp_path: Path) -> None:
    data = bytearray(recorded[0].read_bytes())
    data[len(data) // 2] ^= 0xFF
    bad = tmp_path / "bad.voiceloop"
    bad.write_bytes(data)
    found, whole = read(bad), read(recorded[0])
    assert 0 < len(found.steps) < len(whole.steps)
    assert found.steps == whole.steps[: len(found.steps)]
    assert not found.whole


@pytest.mark.parametrize("stepped", [True, False])
def test_the_same_session_gives_the_same_file(tmp_path: Path, stepped: bool) -> None:
    one, two = tmp_path / "one.voiceloop", tmp_path / "two.voiceloop"
    for path in (one, two):
        record(path, noisy(-0.5, 1.0, -3.0), stepped=stepped)
    first, second = read(one), read(two)
    assert first.steps == second.steps
    assert (first.facts | {"session": ""}) == (second.facts | {"session": ""})
    with zipfile.ZipFile(one) as a, zipfile.ZipFile(two) as b:
        assert [i.CRC for i in a.infolist()[1:]] == [i.CRC for i in b.infolist()[1:]]


# --- what is no recording ---


def test_what_cannot_be_read_says_so(recorded, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone.voiceloop cannot be read \(No such file"):
        read(tmp_path / "gone.voiceloop")
    other = tmp_path / "other.voiceloop"
    for content in (b"", b"RIFF....", recorded[0].read_bytes()[:200]):
        other.write_bytes(content)
        with pytest.raises(MediaError, match=r"other.voiceloop is no recording of a session"):
            read(other)


@pytest.mark.parametrize("facts", [{"format": 99}, {"policy": {"newer": 1}}, {"policy": 7}])
def test_a_recording_of_another_version(tmp_path: Path, facts) -> None:
    path = tmp_path / "newer.voiceloop"
    journal = Journal(path, {**facts, "voiceloop": "9.9"})
    journal.begin("x", Policy(), 24_000)
    journal.close()
    with pytest.raises(MediaError, match=r"newer.voiceloop was recorded by voiceloop 9.9"):
        read(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot be written \(No such file or directory\): choose another place"):
        Journal(tmp_path / "no" / "x.voiceloop", {})


# --- a disk that is slow or full ---


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full, as Linux has one")
def test_a_full_disk_ends_the_recording_and_not_the_session() -> None:
    recorder = Recorder()
    journal = Journal("/dev/full", {})
    talk(parts(noisy(*INTERRUPTED), journal), recorder)
    last = journal.close()
    notices = [event.text for event in recorder.of(ev.Notice)]
    said = (
        "full ends early, because it cannot be written (No space left on device). The conversation goes on unrecorded."
    )
    assert [*notices, *filter(None, [last])] == [said]
    assert [e.ending for e in recorder.of(ev.ReplyEnded)] == ["interrupted", "completed"]


def test_a_slow_disk_ends_the_recording_and_not_the_session(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "slow.voiceloop", {})
    disk = threading.Event()
    add = journal._archive.add

    def slowly(found) -> None:
        disk.wait()
        add(found)

    journal._archive.add = slowly
    recorder = Recorder()
    talk(parts(noisy(-30.0, 1.0, -8.0), journal), recorder)
    assert [event.text for event in recorder.of(ev.Notice)] == [
        "slow.voiceloop ends early, because the disk is too slow. The conversation goes on unrecorded."
    ]
    assert len(journal._part.rows) + len(journal._part.mic) < 150  # nothing is kept for a disk that does not come
    disk.set()
    assert journal.close() is None
    found = read(tmp_path / "slow.voiceloop")
    assert not found.whole
    assert 14 < found.seconds < 18
    assert replay(found).identical


def test_a_session_that_can_wait_waits_for_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "slow.voiceloop", {}, wait_s=60)
    add = journal._archive.add
    turn = threading.Semaphore(0)

    def slowly(found) -> None:
        turn.acquire(timeout=0.01)
        add(found)

    journal._archive.add = slowly
    talk(parts(noisy(-30.0), journal, stepped=True))
    assert journal.close() is None
    assert read(tmp_path / "slow.voiceloop").whole


def test_a_pen_ends_with_what_waits() -> None:
    written: list[int] = []
    pen = Pen[int](written.append, lambda: written.append(-1), most=5, name="test")
    assert [pen.put(n, wait_s=10) for n in range(1, 20)] == [True] * 19
    pen.close(10)
    pen.close(10)
    assert not pen.put(20)
    assert written == [*range(1, 20), -1]
    assert pen.trouble is None


def test_a_pen_that_breaks() -> None:
    pen = Pen[int](lambda n: print(1 // n), lambda: None, most=5, name="test")
    pen.put(0)
    pen.close(10)
    assert pen.trouble == "something is broken in it (ZeroDivisionError)"


# --- the loudspeaker ---


def test_blocks_of_a_device_are_joined_without_a_gap() -> None:
    speaker = Loudspeaker(RATE)
    speech = tone(0.1)
    speaker.write(1, speech[:1000])
    speaker.write(1, speech[1000:])
    for n in (100, 500, 760, 1100, 1600):
        speaker.see(ev.Played(1, n))
        speaker.see(ev.Voice(FRAME, 0.0, -60.0))
    speaker.see(ev.Voice(FRAME, 0.0, -60.0))
    heard = speaker.take()
    assert heard.size == 6 * FRAME
    assert not heard[: FRAME - 100].any()
    assert np.array_equal(heard[FRAME - 100 : FRAME - 100 + 1600], speech[:1600])


def test_what_was_flushed_is_not_heard() -> None:
    speaker = Loudspeaker(RATE)
    speaker.write(1, tone(1.0))
    speaker.see(ev.Played(1, 320))
    speaker.see(ev.Voice(FRAME, 0.0, -60.0))
    speaker.see(ev.Flushed(1, 480, exact=True))
    speaker.see(ev.Played(1, 9000))
    for _ in range(3):
        speaker.see(ev.Voice(FRAME, 0.0, -60.0))
    assert np.array_equal(speaker.take()[:480], tone(1.0)[:480])
    assert not speaker.take().any()


def test_sound_of_replies_that_never_end_is_let_go() -> None:
    speaker = Loudspeaker(RATE)
    for reply in range(50):
        speaker.write(reply, tone(0.1))
    assert len(speaker._replies) == 8


def test_without_a_tap_nothing_is_different(tmp_path: Path) -> None:
    with_one, without = Recorder(), Recorder()
    journal = Journal(tmp_path / "x.voiceloop", {})
    talk(parts(noisy(*INTERRUPTED), journal), with_one)
    journal.close()
    talk(replace(parts(noisy(*INTERRUPTED)), taps=()), without)
    assert [e for e in with_one.events if isinstance(e, ev.News)] == [
        e for e in without.events if isinstance(e, ev.News)
    ]
