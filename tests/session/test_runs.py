"""Tasks and streams: begun, dropped, joined and closed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from voiceloop.core.events import Failed
from voiceloop.errors import DeviceError, ProviderError, ProviderTimeout
from voiceloop.ports import ERRAND, Errand
from voiceloop.session.clock import Clock
from voiceloop.session.mind import deadline, timed
from voiceloop.session.runs import Runs

pytestmark = pytest.mark.virtual


class Desk:
    """Runs in a group, and what they fed."""

    def __init__(self, *, strict: bool = False) -> None:
        self.fed: list[Failed] = []
        self.runs = Runs("session", self.fed.append, strict=strict)
        self.steps: list[str] = []

    async def work(self, name: str = "work", seconds: float = 1.0, error: Exception | None = None) -> None:
        self.steps.append(f"{name} begins")
        await asyncio.sleep(seconds)
        if error:
            raise error
        self.steps.append(f"{name} ends")


async def test_a_run_that_is_dropped_before_its_first_step_leaves_nothing_behind() -> None:
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        desk.runs.start(1, "stt", 1, desk.work())
        assert desk.runs.busy
        desk.runs.drop(1)
    gc.collect()
    assert desk.steps == []
    assert desk.fed == []
    assert not desk.runs.busy


async def test_dropping_a_finished_or_an_unknown_run_is_harmless() -> None:
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        desk.runs.start(1, "stt", 1, desk.work())
        desk.runs.drop(2)
        await asyncio.sleep(2)
        desk.runs.drop(1)
    assert desk.steps == ["work begins", "work ends"]


async def test_after_close_nothing_begins_and_all_is_cancelled() -> None:
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        desk.runs.start(1, "stt", 1, desk.work("first"))
        await asyncio.sleep(0.1)
        desk.runs.close()
        desk.runs.start(2, "stt", 1, desk.work("second"))
        assert desk.runs.spawn(desk.work("third"), "third") is None
    gc.collect()
    assert desk.steps == ["first begins"]
    assert not desk.runs.busy


async def test_before_the_group_nothing_begins() -> None:
    desk = Desk()
    desk.runs.start(1, "stt", 1, desk.work())
    gc.collect()
    assert not desk.runs.busy


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (ProviderError("Tired.", stage="tts", retryable=True), Failed(1, "stt", "Tired.", retryable=True)),
        (DeviceError("Odd."), Failed(1, "stt", "Odd.")),
        (ZeroDivisionError("secret"), Failed(1, "stt", "Something is broken in the stt stage (ZeroDivisionError).")),
    ],
)
async def test_what_goes_wrong_fails_the_run(error, failed, caplog) -> None:
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        desk.runs.start(1, "stt", 1, desk.work(error=error))
    assert desk.fed == [failed]
    assert "secret" not in caplog.text


async def test_when_the_runs_are_settled() -> None:
    desk = Desk()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        await desk.runs.settled()
        assert loop.time() == 0
        desk.runs.start(1, "stt", 1, desk.work(seconds=1))
        desk.runs.start(2, "tts", 1, desk.work(seconds=3))
        await desk.runs.settled()
        assert loop.time() == 3

        async def patient() -> None:
            with desk.runs.waiting():
                await asyncio.sleep(5)

        desk.runs.start(3, "tts", 1, patient())
        await desk.runs.settled()
        assert loop.time() == 3, "a wait for playback does not count"
        assert not desk.runs.busy
    assert loop.time() == 8
    assert not desk.runs.busy


# --- streams ---


class Stream:
    """Gives pieces after delays; takes a second to close."""

    def __init__(self, *pieces: tuple[float, str]) -> None:
        self.pieces = pieces
        self.closed = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            for seconds, piece in self.pieces:
                await asyncio.sleep(seconds)
                yield piece
        finally:
            await asyncio.sleep(1)
            self.closed = True


async def collect(stream: AsyncGenerator[str, None], *, pause: float = 0) -> list[str]:
    found = []
    async with aclosing(stream):
        async for piece in stream:
            found.append(piece)
            await asyncio.sleep(pause)
    return found


async def test_pieces_without_content_are_skipped() -> None:
    stream = Stream((1, "a"), (2, ""), (0.9, "b"), (0, ""), (2.9, "c"))
    assert await collect(timed(stream(), 3, "handler", "It")) == ["a", "b", "c"]
    assert stream.closed


@pytest.mark.parametrize(
    "pieces",
    [[(3.1, "a")], [(0, "a"), (3.1, "b")], [(0, "a"), *[(1.0, "")] * 9], [(0, "a"), *[(0, "")] * 5, (3.1, "b")]],
)
async def test_a_late_piece_is_a_timeout_and_closes_the_stream(pieces) -> None:
    stream = Stream(*pieces)
    with pytest.raises(ProviderTimeout, match="It gave nothing for 3 seconds") as caught:
        await collect(timed(stream(), 3, "handler", "It"))
    assert (caught.value.stage, caught.value.retryable) == ("handler", True)
    assert stream.closed


async def test_empty_pieces_without_a_pause_are_late_too() -> None:
    loop = asyncio.get_running_loop()

    async def busy() -> AsyncGenerator[str, None]:
        while True:
            loop.jump(0.5)  # time passes, and the stream gives no timer a chance
            yield ""

    with pytest.raises(ProviderTimeout):
        await collect(timed(busy(), 3, "handler", "It"))


async def test_the_time_of_the_consumer_does_not_count() -> None:
    stream = Stream((1, "a"), (1, "b"))
    assert await collect(timed(stream(), 3, "handler", "It"), pause=60) == ["a", "b"]


@pytest.mark.parametrize("pause", [0, 60])
async def test_a_cancelled_consumer_closes_the_stream(pause) -> None:
    stream = Stream((1, "a"), (60, "b"))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(collect(timed(stream(), 99, "handler", "It"), pause=pause))
        await asyncio.sleep(30)
        task.cancel()
    assert stream.closed
    assert asyncio.get_running_loop().time() == 31


async def test_a_deadline_leaves_other_timeouts_alone() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with deadline(3, "stt", "It"):
            raise TimeoutError
    assert not isinstance(caught.value, ProviderTimeout)
    async with deadline(3, "stt", "It"):
        await asyncio.sleep(2.9)


# --- the clock ---


async def test_a_paced_clock_follows_the_loop() -> None:
    called = []
    clock = Clock(stepped=False)
    await asyncio.sleep(5)
    clock.start()
    clock.advance(320)
    assert clock.now() == 0
    clock.wake(8000, lambda: called.append("never"))
    clock.wake(16000, lambda: called.append(clock.now()))
    await asyncio.sleep(2)
    assert (called, clock.now()) == ([16000], 32000)
    clock.wake(48000, lambda: called.append("never"))
    clock.stop()
    clock.stop()
    await asyncio.sleep(2)
    assert called == [16000]


async def test_a_stepped_clock_follows_the_frames() -> None:
    clock = Clock(stepped=True)
    clock.start()
    clock.wake(320, lambda: pytest.fail("a stepped clock needs no timer"))
    await asyncio.sleep(5)
    assert clock.now() == 0
    clock.advance(320)
    assert clock.now() == 320


async def test_the_work_of_a_turn_is_a_guess_until_it_is_decided() -> None:
    desk, errands = Desk(), dict[int, Errand]()

    async def note(run: int) -> None:
        errand = ERRAND.get()
        assert errand
        errands[run] = errand

    async with asyncio.TaskGroup() as group:
        desk.runs.attach(group)
        for run, turn in enumerate((1, 2, None)):
            desk.runs.start(run, "stt", turn, note(run))
        await asyncio.sleep(0)
        assert [errands[run].decided() for run in range(3)] == [False, False, True]
        desk.runs.decide(2)
        assert [errands[run].decided() for run in range(3)] == [False, True, True]
        desk.runs.decide(2, False)
        assert not errands[1].decided()
        for turn in range(1, 100):
            desk.runs.decide(turn)
        assert not errands[0].decided()  # too old to be remembered
