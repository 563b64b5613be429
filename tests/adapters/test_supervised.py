"""Devices that are lost and come back, without a sound card: PortAudio fails on cue, on virtual time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import numpy as np
import pytest

from tests.adapters.soundcard import APIS, Card, InlineDesk, SoundCards, Watcher
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.portaudio import DeviceInfo, Wish
from voiceloop.adapters.audio.sounddevice import SoundDevicePort
from voiceloop.adapters.audio.supervised import Care, SupervisedPort
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import DeviceError
from voiceloop.ports import Capture

pytestmark = pytest.mark.virtual

T = TypeVar("T")

PortNews = ev.PortLost | ev.PortBack | ev.Notice


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SoundCards]]:
    """Puts cards into the machine."""
    InlineDesk.hangs = False
    made: list[SoundCards] = []

    def insert(*cards: Card) -> SoundCards:
        library = SoundCards(list(cards))
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        made.append(library)
        return library

    yield insert
    assert [library.streams for library in made] == [[]] * len(made)


class Life:
    """A port that is listened to: its frames, what it tells, and when."""

    def __init__(self, port: SupervisedPort, watcher: Watcher) -> None:
        self.port, self.watcher = port, watcher
        self.news: list[tuple[float, PortNews]] = []
        self.mic: list[Pcm] = []
        self.times: list[float] = []
        self.played: dict[int, int] = {}

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self.port.frames()) as frames:
            async for what in frames:
                if isinstance(what, Capture):
                    self.mic.append(what.mic)
                    self.times.append(loop.time())
                    for progress in what.played:
                        assert progress.n >= self.played.get(progress.reply, 0) or progress.final
                        self.played[progress.reply] = progress.n
                else:
                    self.news.append((round(loop.time(), 2), what))

    def told(self) -> list[str]:
        return [type(what).__name__ for _, what in self.news]

    def gap(self) -> float:
        """The longest time without a frame."""
        return float(np.diff(self.times).max())


def make(ear: Wish, mouth: Wish, playback: Playback | None) -> SoundDevicePort:
    return SoundDevicePort(ear, mouth, StreamResampler, playback=playback, desk=InlineDesk())  # type: ignore[arg-type]


@asynccontextmanager
async def living(ear: str | int | None = None, mouth: str | int | None = None, **care: object) -> AsyncGenerator[Life]:
    watchers: list[Watcher] = []

    def lookout(seen: Callable[[Sequence[DeviceInfo] | None], None]) -> Watcher:
        watchers.append(Watcher(seen))
        return watchers[0]

    port = SupervisedPort(make, ear, mouth, Care(**care), lookout=lookout)  # type: ignore[arg-type]
    life = Life(port, watchers[0])
    await port.open()
    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(life.listen())
            yield life
            listening.cancel()
    finally:
        await port.close()
        await port.close()


def ramp(n: int) -> Pcm:
    return np.arange(1000, 1000 + n).astype(np.int16)


async def talk(life: Life, n: int) -> None:
    await life.port.write(1, ramp(n))


USB = "USB Audio: - (hw:1,0)"


async def test_a_cable_out_and_in_again(cards) -> None:
    desk = cards(Card("Built-in"), Card(USB))
    async with living(USB, USB) as life:
        await asyncio.sleep(1)
        gone = desk.unplug(USB)
        await asyncio.sleep(60)
        assert life.told() == ["PortLost"]
        desk.plug(*gone)
        await asyncio.sleep(3)
        (lost, why), (back, what) = life.news
        assert lost == 1.0
        assert "connect it again" in why.reason
        assert back <= 61 + 3
        assert what == ev.PortBack(USB)
        n = len(life.times)
        await asyncio.sleep(1)
        assert len(life.times) == n + 50
    assert set(desk.opened) == {USB}, "never another device"


@pytest.mark.parametrize("quietly", [False, True], ids=["ends", "falls silent"])
@pytest.mark.parametrize("n", [4000, 20_000], ids=["all handed over", "some to come"])
async def test_of_a_reply_every_sample_is_heard_once(cards, n: int, quietly: bool) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        await talk(life, n)
        await asyncio.sleep(0.2001)
        gone = desk.unplug(quietly=quietly)
        heard = desk.heard()
        assert 0 < np.count_nonzero(heard) < n
        await asyncio.sleep(5)
        if quietly:
            assert life.news[0][0] - 1.2 <= 2.0
        desk.plug(*gone)
        await asyncio.sleep(6)
        assert life.played == {1: n}
        heard = desk.heard()
        heard = heard[heard > 0]
        assert heard.size == n
        faded = np.flatnonzero(heard != ramp(n))
        assert faded.size <= 0.005 * RATE, "they fade in after the gap, the others are as they were"


async def test_what_ends_while_only_the_microphone_is_gone_has_been_heard(cards) -> None:
    """Else the reply would never end: nothing more of it is to come."""
    ear = Card("Ear", outputs=0)
    cards(ear, Card("Mouth", inputs=0))
    async with living() as life:
        await asyncio.sleep(1)
        await talk(life, 8000)
        await asyncio.sleep(0.2)
        ear.silent = True
        await asyncio.sleep(10)
        assert life.told() == ["PortLost"]
        assert life.played[1] < 8000
        ear.silent = False
        await asyncio.sleep(4)
        assert life.told() == ["PortLost", "PortBack"]
        assert life.played == {1: 8000}


async def test_hold_tells_what_was_heard(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await talk(life, 20_000)
        await asyncio.sleep(0.2001)
        desk.unplug()
        await asyncio.sleep(0.01)
        assert life.told() == ["PortLost"]
        assert life.port.hold(1) == np.count_nonzero(desk.heard())


async def test_the_device_comes_back_with_another_rate(cards) -> None:
    desk = cards(Card("Built-in", rates=(16_000,)))
    async with living() as life:
        await talk(life, 20_000)
        await asyncio.sleep(0.5)
        desk.unplug()
        desk.plug(Card("Built-in", rates=(48_000,)))
        await asyncio.sleep(5)
        assert life.port.out_rate == 16_000
        assert life.told() == ["PortLost", "PortBack"]
        assert life.played == {1: 20_000}, "counted in the samples that were written"
        seconds = sum(np.count_nonzero(pcm) / rate for _, rate, pcm in desk.played)
        assert seconds == pytest.approx(20_000 / 16_000, abs=0.01)
        assert {mic.size for mic in life.mic} == {320}


@pytest.mark.parametrize("wanted", [USB, "usb", 1])
async def test_it_comes_back_as_another_number_and_card(cards, wanted) -> None:
    desk = cards(Card("Built-in"), Card(USB))
    async with living(wanted, wanted) as life:
        await asyncio.sleep(1)
        desk.unplug(USB)
        desk.cards.insert(0, Card("USB Audio: - (hw:4,0)"))
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]
        assert life.news[1][1].device == "USB Audio: - (hw:4,0)"


async def test_its_number_alone_does_not_make_it_the_same(cards) -> None:
    desk = cards(Card("Built-in"), Card(USB))
    async with living(1, 1) as life:
        await asyncio.sleep(1)
        desk.unplug(USB)
        desk.plug(Card("HDMI"))
        await asyncio.sleep(30)
        assert life.told() == ["PortLost"]
        assert set(desk.opened) == {USB}


async def test_a_replacement_of_the_wanted_kind_will_do(cards) -> None:
    desk = cards(Card("Built-in"), Card("USB Audio One"))
    async with living("usb", "usb") as life:
        await asyncio.sleep(1)
        desk.unplug("USB Audio One")
        desk.plug(Card("USB Audio Two"))
        await asyncio.sleep(3)
        assert life.news[1][1] == ev.PortBack("USB Audio Two")


async def test_without_a_name_the_same_again_or_else_the_default(cards) -> None:
    desk = cards(Card("Headset"), Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        (headset,) = desk.unplug("Headset")
        await asyncio.sleep(3)
        assert life.news[1][1] == ev.PortBack("Built-in")
        desk.cards.insert(0, headset)
        desk.unplug("Built-in")
        await asyncio.sleep(3)
        assert life.news[3][1] == ev.PortBack("Headset")


async def test_taken_by_another_program(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        (card,) = desk.unplug()
        card.busy = True
        desk.plug(card)
        await asyncio.sleep(20)
        assert life.told() == ["PortLost"]
        card.busy = False
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]


async def test_what_gives_no_frames_is_lost_within_two_seconds_and_not_back(cards) -> None:
    desk = cards(Card("Built-in"))
    (card,) = desk.cards
    async with living() as life:
        await asyncio.sleep(1)
        card.silent = True
        await asyncio.sleep(30)
        assert life.told() == ["PortLost"], "it opens, but nothing comes"
        assert life.news[0][0] <= 3.0
        card.silent = False
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]


@pytest.mark.parametrize(("name", "n"), [("default", 0), (USB, 5)])
async def test_the_list_is_not_read_for_ever(cards, name: str, n: int) -> None:
    """Each time PortAudio loses some memory: it is read when there is something new, or numbers may have changed."""
    desk = cards(Card(name))
    async with living() as life:
        await asyncio.sleep(1)
        (card,) = desk.unplug()
        before = desk.initialised
        await asyncio.sleep(10_000)
        assert desk.initialised - before == n
        desk.plug(card)
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]
        assert desk.initialised - before == n + bool(n)


async def test_nor_for_a_device_that_is_there_and_cannot_be_opened(cards) -> None:
    desk = cards(Card(USB))
    async with living() as life:
        await asyncio.sleep(1)
        (card,) = desk.unplug()
        card.busy = True
        desk.plug(card)
        before = desk.initialised
        await asyncio.sleep(10_000)
        assert desk.initialised - before == 4
        card.busy = False
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]
        assert desk.initialised - before == 4


async def test_where_no_other_process_can_look_it_is_tried_blindly(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        life.watcher.blind = True
        await asyncio.sleep(1)
        gone = desk.unplug()
        await asyncio.sleep(100)
        desk.plug(*gone)
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"]


async def test_a_start_without_a_device_says_so(cards) -> None:
    cards()
    port = SupervisedPort(make, None, None)
    with pytest.raises(DeviceError, match="No microphone or loudspeaker was found"):
        await port.open()


async def test_a_start_without_a_device_may_wait_for_it(cards) -> None:
    desk = cards()
    loop = asyncio.get_running_loop()
    loop.call_later(10, lambda: desk.plug(Card("Built-in")))
    async with living(wait=True) as life:
        assert 10 <= loop.time() <= 13
        await asyncio.sleep(1)
        assert len(life.mic) >= 49
        assert life.news == []


async def test_meanwhile_the_default_device(cards) -> None:
    desk = cards(Card("Built-in"), Card(USB))
    async with living("usb", "usb", fallback=True) as life:
        await asyncio.sleep(1)
        assert not life.watcher.on
        (usb,) = desk.unplug(USB)
        await asyncio.sleep(3)
        assert life.news[1][1] == ev.PortBack("Built-in")
        assert life.watcher.on
        await asyncio.sleep(10)
        assert life.told() == ["PortLost", "PortBack"], "it is still away"
        await talk(life, 20_000)
        desk.plug(usb)
        await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack", "Notice"]
        assert life.news[-1][1].text == f"Sound now goes through {USB}."
        assert not life.watcher.on
        assert life.played == {1: 20_000}
        assert np.count_nonzero(desk.heard()) == 20_000


async def test_a_new_default_is_followed(cards) -> None:
    core_audio = APIS.index("Core Audio")
    desk = cards(Card("Built-in", api=core_audio))
    async with living(follow=True) as life:
        await asyncio.sleep(1)
        desk.cards.insert(0, Card("Headset", api=core_audio))
        await asyncio.sleep(3)
        assert [what.text for _, what in life.news] == ["Sound now goes through Headset."]
        assert life.gap() <= 0.1


@pytest.mark.parametrize("follow", [True, False])
async def test_no_new_default_is_looked_for_in_vain(cards, follow: bool) -> None:
    cards(Card("Built-in", api=0 if follow else 1))
    async with living(follow=follow) as life:
        assert not life.watcher.on, "ALSA's default is whatever the server's is; else only if configured"


async def test_two_ports_in_one_process(cards) -> None:
    """The list cannot be read anew while the other one listens: it lets go for a moment, and nobody is told."""
    desk = cards(Card("Built-in"), Card(USB))
    async with living("Built-in", "Built-in") as one, living("usb", "usb") as two:
        await asyncio.sleep(1)
        (usb,) = desk.unplug(USB)
        await asyncio.sleep(20)
        assert two.told() == ["PortLost"]
        await talk(one, 20_000)
        desk.plug(usb)
        await asyncio.sleep(3)
        assert two.told() == ["PortLost", "PortBack"]
        assert one.told() == []
        assert one.gap() <= 0.5
        assert one.played == {1: 20_000}
        assert np.count_nonzero(np.concatenate([p for name, _, p in desk.played if name == "Built-in"])) == 20_000


async def test_a_hanging_driver_is_asked_no_more_until_it_answers(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        gone = desk.unplug()
        desk.plug(*gone)
        InlineDesk.hangs = True
        await asyncio.sleep(100)
        assert [(when, type(what)) for when, what in life.news] == [(2.0, ev.PortLost)], "it is told all the same"
        InlineDesk.hangs = False
        await asyncio.sleep(13)
        assert life.told() == ["PortLost", "PortBack"]


class LateDesk(InlineDesk):
    """A driver that starts a stream, and says a while later that it could not."""

    late = False

    def start(self) -> None:
        super().start()
        self.calls = 0

    async def call(self, job: Callable[[], T]) -> T:
        result = await super().call(job)
        self.calls += 1
        if type(self).late and self.calls == 2:
            type(self).late = False
            await asyncio.sleep(0.3)
            raise DeviceError("It has not started.")
        return result


async def test_what_was_given_to_a_device_that_did_not_start_is_not_lost(cards, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "InlineDesk", LateDesk)
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        await talk(life, 20_000)
        await asyncio.sleep(0.2)
        monkeypatch.setattr(LateDesk, "late", True)
        desk.plug(*desk.unplug())
        await asyncio.sleep(15)
        assert life.told() == ["PortLost", "PortBack"]
        assert life.played == {1: 20_000}
        assert np.count_nonzero(desk.heard()) == 20_000


async def test_a_start_that_is_given_up_leaves_nobody_looking(cards) -> None:
    cards()
    watchers: list[Watcher] = []

    def lookout(seen: Callable[[Sequence[DeviceInfo] | None], None]) -> Watcher:
        watchers.append(Watcher(seen))
        return watchers[0]

    port = SupervisedPort(make, None, None, Care(wait=True), lookout=lookout)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await port.open()
    assert not watchers[0].on


async def test_closed_while_it_is_away(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        desk.unplug()
        await asyncio.sleep(1)
        await life.port.close()
        await asyncio.sleep(5)
        before = desk.initialised
        await asyncio.sleep(5)
        assert desk.initialised == before


async def test_a_hundred_times(cards) -> None:
    desk = cards(Card("Built-in"))
    async with living() as life:
        await asyncio.sleep(1)
        for _ in range(100):
            gone = desk.unplug()
            await asyncio.sleep(1)
            desk.plug(*gone)
            await asyncio.sleep(3)
        assert life.told() == ["PortLost", "PortBack"] * 100
        assert len(desk.streams) == 2
        assert desk.initialised == 2, "as the library was found, and by the first user"


# --- a microphone that gives nothing ---


def speech_then_zeros(*parts: float) -> Pcm:
    """Seconds of signal (positive) and of zeros."""
    noise = np.random.default_rng(1)
    return np.concatenate(
        [
            noise.integers(-500, 500, round(p * RATE)).astype(np.int16) if p > 0 else silence(round(-p * RATE))
            for p in parts
        ]
    )


def openings(desk: SoundCards) -> int:
    return len(desk.opened) // 2


async def test_zeros_are_told_once_and_opening_is_tried_once(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = speech_then_zeros(2, -300)
    async with living() as life:
        await asyncio.sleep(6.9)
        assert life.news == []
        await asyncio.sleep(200)
        ((when, notice),) = life.news
        assert when == pytest.approx(7.0, abs=0.1)
        assert "silence" in notice.text
        assert openings(desk) == 2
        assert life.gap() <= 0.1


async def test_a_mute_key_is_legal_and_patience_grows(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = speech_then_zeros(2, -20, 2, -20, 2, -60, 2)
    async with living() as life:
        await asyncio.sleep(110)
        told = [(round(when), what.text.split()[2]) for when, what in life.news]
        assert told == [(7, "gives"), (22, "gives"), (96, "gives"), (106, "gives")]
        assert openings(desk) == 3


async def test_one_that_opening_helped_is_helped_again_soon(cards) -> None:
    desk = cards(Card("Built-in"))

    def sound(n: int) -> Pcm:
        """It hangs 2 s after each opening."""
        return np.arange(n).astype(np.int16) if desk.spoken < 2 * RATE else silence(n)

    def hear(n: int, since: list[int] = [0, 0]) -> Pcm:  # noqa: B006  what was opened when
        if since[0] != len(desk.opened):
            since[0], desk.spoken = len(desk.opened), 0
        pcm = sound(n)
        desk.spoken += n
        return pcm

    desk.sound = hear  # type: ignore[method-assign]
    async with living():
        await asyncio.sleep(70)
        assert openings(desk) == pytest.approx(10, abs=1)


async def test_zeros_from_the_start_are_legal(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = silence(100 * RATE)
    async with living() as life:
        await asyncio.sleep(60)
        assert life.news == []
        assert openings(desk) == 1


async def test_a_constant_voltage_is_no_signal(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = np.concatenate([speech_then_zeros(1), np.full(20 * RATE, -77, np.int16)])
    async with living() as life:
        await asyncio.sleep(10)
        assert life.told() == ["Notice"]


async def test_a_reply_is_not_disturbed_for_it(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = speech_then_zeros(1, -60)
    async with living() as life:
        for second in range(12):
            await life.port.write(1, np.full(RATE, 5000 + second, np.int16))
        assert life.told() == ["Notice"]
        assert openings(desk) == 1
        await asyncio.sleep(5)
        assert openings(desk) == 2
        assert life.played == {1: 12 * RATE}


async def test_it_may_be_switched_off(cards) -> None:
    desk = cards(Card("Built-in"))
    desk.mic = speech_then_zeros(1, -60)
    async with living(dead_s=0.0) as life:
        await asyncio.sleep(30)
        assert life.news == []
