"""What the sound port does without a sound card: callbacks, frames, the reference's clock, names, errors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.adapters.soundcard import SoundCards
from voiceloop.adapters.audio import portaudio
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.portaudio import DeviceInfo, choose, device_error
from voiceloop.adapters.audio.taps import KEPT, Follower, Framer, Tap
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core.audio import FRAME, RATE, Pcm, silence
from voiceloop.errors import DeviceError
from voiceloop.ports import Capture, Progress
from voiceloop.testing import tone


@dataclass
class Times:
    """PortAudio's: what is played now is heard `ahead_s` later."""

    ahead_s: float = 0.0
    currentTime: float = 100.0

    @property
    def outputBufferDacTime(self) -> float:
        return self.currentTime + self.ahead_s


@dataclass
class Status:
    input_overflow: bool = False
    output_underflow: bool = False

    def __bool__(self) -> bool:
        return self.input_overflow or self.output_underflow


class Device:
    """Calls a tap as PortAudio does, n frames at a time."""

    def __init__(self, tap: Tap, *, rate: int = RATE, ahead_s: float = 0.0, delay_s: float = 0.0) -> None:
        self.tap = tap
        self.playback = Playback(rate)
        self.times = Times(ahead_s)
        self.woken = 0
        tap.connect(self.playback, delay_s, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def duplex(self, mic: Pcm, status: Status | None = None) -> Pcm:
        out = silence(mic.size)
        self.tap.duplex(mic.tobytes(), out, mic.size, self.times, status or Status())  # type: ignore[arg-type]
        return out

    def frames(self, framer: Framer) -> list[Capture]:
        self.tap.waking = False
        return [c for block in self.tap.blocks() for c in framer.feed(block, self.playback.news(block.heard))]


def counting(n: int, start: int = 0) -> Pcm:
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


def test_each_frame_comes_with_what_was_played_meanwhile() -> None:
    device = Device(Tap())
    framer = Framer(RATE, RATE, StreamResampler, one_clock=True)
    device.playback.offer(1, counting(10 * FRAME, 1))
    played = [device.duplex(counting(FRAME, i * FRAME)) for i in range(4)]
    captures = device.frames(framer)
    assert np.concatenate([c.mic for c in captures]).tolist() == list(range(4 * FRAME))
    assert np.concatenate([c.ref for c in captures if c.ref is not None]).tolist() == np.concatenate(played).tolist()
    assert device.woken == 1, "woken once until it has looked"
    device.duplex(counting(FRAME))
    assert device.woken == 2


@pytest.mark.parametrize(("block", "rate"), [(160, RATE), (500, RATE), (882, 44_100), (480, 24_000), (960, 48_000)])
def test_any_block_and_rate_becomes_frames(block: int, rate: int) -> None:
    device = Device(Tap(), rate=rate)
    framer = Framer(rate, rate, StreamResampler, one_clock=True)
    device.playback.offer(1, tone(1.0, rate=rate))
    captures: list[Capture] = []
    for at in range(0, rate, block):
        device.duplex(tone(1.0, rate=rate)[at : at + block])
        captures += device.frames(framer)
    assert len(captures) in (49, 50)
    assert all(c.mic.shape == c.ref.shape == (FRAME,) and c.lost == 0 for c in captures if c.ref is not None)
    assert all(np.array_equal(c.mic, c.ref) for c in captures if c.ref is not None)
    assert [p.n for c in captures for p in c.played] == sorted({p.n for c in captures for p in c.played})


def test_heard_is_what_was_handed_less_the_way_to_the_ear() -> None:
    device = Device(Tap(), ahead_s=0.05)
    framer = Framer(RATE, RATE, StreamResampler, one_clock=True)
    device.playback.offer(1, counting(10 * FRAME))
    told: list[int] = []
    for _ in range(20):
        device.duplex(silence(FRAME))
        told += [p.n for c in device.frames(framer) for p in c.played]
    way = round(0.05 * RATE)
    assert told[0] == 3 * FRAME - way
    assert told[-1] == 10 * FRAME
    assert told == sorted(told)


@pytest.mark.parametrize("ahead_s", [0.0, -3.0, 1e6])
def test_without_times_the_latency_of_the_stream_counts(ahead_s: float) -> None:
    device = Device(Tap(), ahead_s=ahead_s, delay_s=0.03)
    framer = Framer(RATE, RATE, StreamResampler, one_clock=True)
    device.playback.offer(1, counting(10 * FRAME))
    for _ in range(3):
        device.duplex(silence(FRAME))
    assert device.frames(framer)[-1].played == (Progress(1, 2 * FRAME - round(0.03 * RATE)),)


def test_a_full_ring_drops_the_oldest_and_says_how_much() -> None:
    device = Device(Tap())
    framer = Framer(RATE, RATE, StreamResampler, one_clock=True)
    device.duplex(counting(FRAME))
    assert device.frames(framer)[0].lost == 0
    for i in range(KEPT + 3):
        device.duplex(np.full(FRAME, i, np.int16))
    captures = device.frames(framer)
    assert len(captures) == KEPT
    assert captures[0].lost == 3 * FRAME
    assert captures[0].mic[0] == 3
    assert not any(c.lost for c in captures[1:])


def test_what_came_before_anyone_listened_is_not_lost() -> None:
    device = Device(Tap())
    for _ in range(KEPT + 50):
        device.duplex(silence(FRAME))
    device.tap.forget()
    device.duplex(counting(FRAME))
    captures = device.frames(Framer(RATE, RATE, StreamResampler, one_clock=True))
    assert [c.lost for c in captures] == [0]


def test_overruns_and_underruns_are_counted() -> None:
    device = Device(Tap())
    device.duplex(silence(FRAME), Status(input_overflow=True))
    device.duplex(silence(FRAME), Status(output_underflow=True))
    device.duplex(silence(FRAME), Status(output_underflow=True))
    assert (device.tap.lost, device.tap.late) == (1, 2)


@pytest.mark.parametrize(("ahead_s", "delay_s"), [(0.06, 0.0), (0.0, 0.06)])
@pytest.mark.parametrize(("extra_s", "late"), [(0.0, 3), (0.04, 5), (-0.04, 1), (-1.0, 0)])
def test_what_was_measured_is_added_to_what_portaudio_says(ahead_s, delay_s, extra_s: float, late: int) -> None:
    device = Device(Tap(), ahead_s=ahead_s, delay_s=delay_s)
    device.tap.connect(device.playback, delay_s, device.wake, extra_s=extra_s)
    assert device.playback.offer(1, counting(20 * FRAME)) == 20 * FRAME
    told: list[Progress] = []
    framer = Framer(RATE, RATE, StreamResampler, one_clock=True)
    for _ in range(10):
        device.duplex(silence(FRAME))
        told += [each for capture in device.frames(framer) for each in capture.played]
    assert told[-1] == Progress(1, (9 - late) * FRAME)


def test_an_ended_stream_wakes_the_loop_unless_it_was_closed() -> None:
    device = Device(Tap())
    device.tap.closing = True
    assert device.tap.finished() is None
    assert (device.tap.ended, device.woken) == (False, 0)
    device.tap.closing = False
    device.tap.finished()
    assert (device.tap.ended, device.woken) == (True, 1)


def test_a_closed_loop_does_no_harm_to_the_device_thread() -> None:
    tap = Tap()

    def wake() -> None:
        raise RuntimeError("Event loop is closed")

    tap.connect(Playback(RATE), 0.0, wake)
    tap.record(bytes(640), FRAME, Times(), Status())
    assert tap.waiting


@pytest.mark.parametrize("ppm", [-300, 0, 300])
def test_the_reference_follows_the_clock_of_the_microphone(ppm: int) -> None:
    """Two minutes: the reference may slide, a sample per frame at most, but never jumps or runs dry."""
    follower = Follower(drifts=True)
    rng = np.random.default_rng(5)
    played, taken, delays = 0.0, 0, list[float]()
    sent = 0
    for frame in range(6_000):
        played += FRAME * (1 + ppm / 1e6)
        # Blocks of 20 ms that come up to 10 ms too early or too late.
        due = int((played + rng.uniform(-160, 160)) // FRAME)
        while sent < due:
            follower.feed(np.full(FRAME, sent + 1, np.int16))
            sent += 1
        ref = follower.take(FRAME)
        taken += FRAME
        if frame >= 150:
            assert ref.min() > 0, "ran dry"
            delays.append(played - (float(ref[0]) - 1) * FRAME)
    assert max(delays) - min(delays) <= 4 * FRAME
    assert 0 < np.mean(delays) < 5 * FRAME


def test_the_reference_is_silent_while_the_loudspeaker_stands_still_and_comes_back() -> None:
    follower = Follower(drifts=True)
    for _ in range(10):
        assert not follower.take(FRAME).any()
    for _ in range(200):
        follower.feed(np.full(FRAME, 9, np.int16))
        last = follower.take(FRAME)
    assert (last == 9).all()
    for _ in range(60):
        follower.feed(np.full(FRAME, 9, np.int16))  # the microphone stalls: all that comes at once
    assert (follower.take(FRAME) == 9).all()
    assert sum(bool(follower.take(FRAME).any()) for _ in range(60)) <= 4, "the backlog was dropped"


def test_a_reserve_that_a_stall_has_moved_is_set_right_as_soon_as_nothing_is_played() -> None:
    follower = Follower(drifts=True)

    def delay(frames: int, start: int) -> int:
        """Of frames whose samples are their positions."""
        for n in range(frames):
            at = start + n * FRAME
            follower.feed(np.arange(at, at + FRAME, dtype=np.int16))
            given = follower.take(FRAME)
        return at - int(given[0])

    usual = delay(60, 1)
    follower.feed(np.arange(60 * FRAME + 1, 60 * FRAME + 301, dtype=np.int16))  # as if the microphone lost 19 ms
    moved = delay(20, 60 * FRAME + 301)
    assert moved - usual == pytest.approx(300, abs=5), "while it plays it keeps its place"
    for _ in range(200):
        follower.feed(silence(FRAME))
        follower.take(FRAME)
    assert delay(10, 1) <= Follower.CEILING + Follower.SLIPPED


MIC, BOX = DeviceInfo(0, "Mic", "ALSA", 2, 0, 48_000), DeviceInfo(1, "Boxes", "ALSA", 0, 2, 48_000)
USB, USB_2 = DeviceInfo(2, "USB Audio", "ALSA", 1, 2, 48_000), DeviceInfo(3, "USB Audio 2", "ALSA", 1, 2, 48_000)
DEFAULT = DeviceInfo(4, "default", "ALSA", 32, 32, 44_100, (), True, True)
TABLE = [MIC, BOX, USB, USB_2, DEFAULT]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(None, 4), (3, 3), ("USB Audio", 2), ("usb audio", 2), ("usb audio 2", 3), ("Mi", 0), ("mic, alsa", 0)],
)
def test_a_microphone_is_found_by_number_or_name(wanted: str | int | None, number: int) -> None:
    assert choose(TABLE, wanted, "input").number == number


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("usb", r'may be any of these.*: 2 "USB Audio" \(ALSA\); 3 "USB Audio 2" \(ALSA\)\.'),
        ("Boxes", r'No microphone is called "Boxes"; there are: 0 "Mic"'),
        (9, 'No microphone is called "9"; there are: 0 "Mic"'),
        (1, 'No microphone is called "1"'),
    ],
)
def test_other_names_get_the_candidates(wanted: str | int, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        choose(TABLE, wanted, "input")


def test_without_a_default_the_first_that_can() -> None:
    assert choose([BOX, USB], None, "input") is USB


def test_the_same_name_under_several_host_apis_means_the_usual_one() -> None:
    twins = [DeviceInfo(i, "Mic", api, 1, 0, 48_000) for i, api in enumerate(["MME", "DirectSound", "WASAPI"])]
    usual = DeviceInfo(3, "Other", "WASAPI", 1, 1, 48_000, (), True, True)
    assert choose([*twins, usual], "mic", "input").number == 2
    assert choose([*twins, usual], "mic, directsound", "input").number == 1


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ([], "input", "No microphone or loudspeaker was found"),
        ([BOX], "input", "No microphone was found"),
        ([MIC], "output", "No loudspeaker was found"),
    ],
)
def test_nothing_to_choose_from(table: list[DeviceInfo], kind: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        choose(table, None, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-9985, "is in use by another program"),
        (-9997, "at none of the usual sample rates"),
        (-9993, "cannot be opened (Illegal combination of I/O devices)"),
    ],
)
def test_errors_say_what_to_do(code: int, message: str) -> None:
    error = Exception("Error opening RawStream: Illegal combination of I/O devices", code)
    assert message in str(device_error(error, "microphone 1"))
    assert "\n" not in str(device_error(error, "microphone 1"))


class HangingCards(SoundCards):
    """A PortAudio that does not come back from reading its list until it is let."""

    def hang(self) -> None:
        self.reading, self.let = threading.Event(), threading.Event()

    def _initialize(self) -> None:
        super()._initialize()
        if self.initialised > 1:
            self.reading.set()
            self.let.wait(60)


@pytest.mark.parametrize(
    "ask",
    [
        portaudio.keep_list,
        portaudio.renew,
        lambda: portaudio.is_listed([]),
        lambda: portaudio.on_renewal(bool, None),
    ],
    ids=["keep_list", "renew", "is_listed", "on_renewal"],
)
def test_a_driver_that_hangs_while_its_list_is_read_holds_up_no_loop(monkeypatch, ask: Callable[[], object]) -> None:
    cards = HangingCards([])
    cards.hang()
    monkeypatch.setitem(sys.modules, "sounddevice", cards)
    monkeypatch.setattr(portaudio, "_users", portaudio._Users())
    opening = threading.Thread(target=portaudio.acquire, daemon=True)
    opening.start()
    assert cards.reading.wait(60)
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(5)
    held_up = asking.is_alive()
    cards.let.set()
    opening.join(60)
    asking.join(60)
    portaudio.release()
    assert not held_up
