"""What a server sends is played once and in order, and what was played is told, whatever comes again or is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from voiceloop.core.audio import FRAME, silence
from voiceloop.ports import Capture
from voiceloop.satellite.speaker import KEPT, LEAST_S, MOST_S, QUEUE_S, Speaker
from voiceloop.testing import FakePort
from voiceloop.wire.bridge import Played
from voiceloop.wire.line import Speech

pytestmark = pytest.mark.virtual

HZ = 24_000
BLOCK = HZ // 25


class Desk:
    """A speaker on a port that plays. told: its reports."""

    def __init__(self) -> None:
        self.port = FakePort(silence(0), out_rate=HZ)
        self.told: list[Played] = []
        self.speaker = Speaker(self.port, self.told.append)

    def send(self, reply: int, start: int, n: int = BLOCK) -> None:
        """Samples that say where they are."""
        pcm = (np.arange(start, start + n) % 30_000 + 1).astype(np.int16)
        self.speaker.push(Speech(reply, start, pcm))

    @property
    def played(self) -> list[int]:
        """Positions of what was heard so far, in order."""
        out = np.concatenate([*self.port.out, silence(0)])
        return [int(x) - 1 for x in out[out != 0]]

    async def listen(self) -> None:
        """What a satellite does with the frames of its port."""
        async with aclosing(self.port.frames()) as frames:
            async for what in frames:
                assert isinstance(what, Capture)
                for progress in what.played:
                    self.speaker.learn(progress)
                self.speaker.tick(FRAME)


@asynccontextmanager
async def desk() -> AsyncGenerator[Desk, None]:
    made = Desk()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(made.speaker.run()), group.create_task(made.listen())]
        yield made
        for task in tasks:
            task.cancel()


async def until(fact: Callable[[], bool]) -> None:
    for _ in range(1000):
        if fact():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


async def test_all_of_it_in_order_and_the_end_is_told() -> None:
    async with desk() as it:
        for at in range(0, 10 * BLOCK, BLOCK):
            it.send(1, at)
        it.speaker.end(1)
        await asyncio.sleep(1.0)
        assert it.played == list(range(10 * BLOCK))
        assert it.told[-1] == Played(1, 10 * BLOCK, 0)
        assert it.speaker.played == {1: 10 * BLOCK}


async def test_reports_come_every_200_ms_and_not_while_nothing_plays() -> None:
    async with desk() as it:
        it.send(1, 0, 2 * HZ)
        it.speaker.end(1)
        await asyncio.sleep(1.0)
        assert 4 <= len(it.told) <= 6
        await asyncio.sleep(2.0)
        n = len(it.told)
        await asyncio.sleep(2.0)
        assert len(it.told) == n


async def test_what_is_here_already_is_skipped() -> None:
    async with desk() as it:
        it.send(1, 0, 4 * BLOCK)
        await asyncio.sleep(0.05)
        it.send(1, 2 * BLOCK, BLOCK)
        it.send(1, 2 * BLOCK, 4 * BLOCK)
        await asyncio.sleep(1.0)
        assert it.played == list(range(6 * BLOCK))


async def test_a_stop_tells_the_sample_and_goes_on_there() -> None:
    async with desk() as it:
        it.send(1, 0, 10 * BLOCK)
        await asyncio.sleep(0.21)
        it.speaker.flush()
        n = len(it.played)
        assert 0 < n < 10 * BLOCK
        assert it.told[-1] == Played(1, n, 0)
        await asyncio.sleep(1.0)
        assert len(it.played) == n
        it.send(1, n - 100, 2 * BLOCK)
        it.send(1, n - 100 + 2 * BLOCK, 4 * BLOCK)
        await asyncio.sleep(1.0)
        assert it.played == list(range(n - 100 + 6 * BLOCK))
        assert it.told[-1] == Played(1, n - 100 + 6 * BLOCK, 0)


async def test_a_stop_of_several_tells_all_and_parts_of_one_reply_count_once() -> None:
    async with desk() as it:
        it.send(1, 0, 10 * BLOCK)
        it.send(-1, 0, BLOCK)
        it.send(1, 10 * BLOCK, BLOCK)
        await asyncio.sleep(0.21)
        it.told.clear()
        it.speaker.flush()
        n = len(it.played)
        assert it.told == [Played(1, n, 0), Played(-1, 0, 0)]
        it.told.clear()
        it.speaker.flush()
        assert it.told == [Played(-1, 0, 0)], "the last one, where nothing waits"


async def test_a_stop_before_anything_came() -> None:
    async with desk() as it:
        it.speaker.flush()
        assert it.told == []


async def test_what_the_user_stopped_is_not_heard_any_more() -> None:
    async with desk() as it:
        it.send(1, 0, 10 * BLOCK)
        await asyncio.sleep(0.2)
        it.speaker.flush(drop=True)
        n = len(it.played)
        it.send(1, 10 * BLOCK, 10 * BLOCK)
        it.send(2, 0, BLOCK)
        it.speaker.end(2)
        await asyncio.sleep(1.0)
        assert it.played == [*range(n), *range(BLOCK)]


async def test_it_gathers_a_little_first_but_not_for_ever() -> None:
    async with desk() as it:
        it.send(1, 0, BLOCK)
        await asyncio.sleep(0.06)
        assert it.played == []
        it.send(1, BLOCK, BLOCK)
        await asyncio.sleep(0.06)
        assert it.played[:BLOCK] == list(range(BLOCK))
        await asyncio.sleep(0.5)
        it.send(2, 0, BLOCK)
        await asyncio.sleep(0.5)
        assert len(it.played) == 3 * BLOCK, "no more came, and it was long enough"


async def test_the_end_of_a_reply_is_not_waited_for() -> None:
    async with desk() as it:
        it.send(1, 0, BLOCK // 2)
        it.speaker.end(1)
        await asyncio.sleep(0.045)
        assert len(it.played) == BLOCK // 2


async def test_gaps_are_counted_and_more_is_gathered_after_each() -> None:
    async with desk() as it:
        waits = []
        for k in range(12):
            it.send(1, k * 10 * BLOCK)
            silent = len(it.port.out)
            await until(lambda: bool(it.port.out) and bool(it.port.out[-1].any()))
            waits.append(len(it.port.out) - silent)
            it.send(1, k * 10 * BLOCK + BLOCK, 9 * BLOCK)
            await asyncio.sleep(1.0)
        assert it.speaker.underruns == 11
        assert it.told[-1].underruns == 11
        assert waits[0] < waits[2] < waits[-1] <= 50 * 1.5 * MOST_S + 2


async def test_a_long_time_without_a_gap_makes_it_quick_again() -> None:
    async with desk() as it:
        for k in range(8):
            it.send(1, k * BLOCK, BLOCK)
            await asyncio.sleep(1.0)
        for k in range(400):
            it.send(2, k * HZ, HZ)
            await asyncio.sleep(1.0)
        it.speaker.flush()
        it.send(3, 0, round(LEAST_S * HZ))
        await asyncio.sleep(0.05)
        assert it.played[-1] < LEAST_S * HZ
        assert it.speaker.played[3] > 0


async def test_a_server_that_sends_all_at_once_is_taken_to_a_bound() -> None:
    async with desk() as it:
        for k in range(400):
            it.send(1, k * HZ, HZ)
        it.speaker.end(1)
        await asyncio.sleep(400)
        assert QUEUE_S * HZ <= len(it.played) <= (QUEUE_S + 2) * HZ


async def test_another_session_begins_at_the_start_and_is_told_nothing() -> None:
    async with desk() as it:
        it.send(1, 0, 10 * BLOCK)
        await asyncio.sleep(0.2)
        it.told.clear()
        it.speaker.reset()
        assert (it.told, it.speaker.played) == ([], {})
        n = len(it.played)
        it.send(1, 0, 10 * BLOCK)
        await asyncio.sleep(1.0)
        assert it.played[n:] == list(range(10 * BLOCK))


async def test_only_the_last_replies_are_remembered() -> None:
    async with desk() as it:
        for reply in range(1, 100):
            it.send(reply, 0, BLOCK)
            it.speaker.end(reply)
        await asyncio.sleep(10)
        assert len(it.played) == 99 * BLOCK
        assert list(it.speaker.played) == list(range(100 - KEPT, 100))
