"""A peer at the other end of a connection, on virtual time: what is sent when, and what is taken as heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from voiceloop.adapters.audio.peer import FIRST_S, LEAD_S, REPORT_S, UNSURE_S, PeerPort
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, Pcm, silence
from voiceloop.peers import Sound, Stop
from voiceloop.ports import Capture, Progress

pytestmark = pytest.mark.virtual

HZ = 24_000


def ramp(n: int, start: int = 0) -> Pcm:
    """Samples that say which they are."""
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


@dataclass
class Far:
    """The page at the other end: what it was sent, as it would play it."""

    port: PeerPort
    sent: list[tuple[float, Sound | Stop]] = field(default_factory=list)
    told: list[tuple[float, object]] = field(default_factory=list)
    frames: list[Pcm] = field(default_factory=list)

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self.port.outgoing()) as out:
            async for what in out:
                self.sent.append((loop.time(), what))

    async def hear(self) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self.port.frames()) as frames:
            async for what in frames:
                if isinstance(what, Capture):
                    self.frames.append(what.mic)
                    self.told += [(loop.time(), p) for p in what.played]
                else:
                    self.told.append((loop.time(), what))

    def pcm(self, reply: int) -> Pcm:
        """All of a reply that was sent, each sample once, wherever it came last."""
        sounds = [s for _, s in self.sent if isinstance(s, Sound) and s.reply == reply]
        whole = silence(max((s.start + s.pcm.size for s in sounds), default=0))
        for s in sounds:
            whole[s.start : s.start + s.pcm.size] = s.pcm
        return whole

    def played(self, reply: int) -> list[int]:
        return [p.n for _, p in self.told if isinstance(p, Progress) and p.reply == reply]


@asynccontextmanager
async def connected(**settings) -> AsyncGenerator[Far, None]:
    port = PeerPort(StreamResampler, **settings)
    await port.open()
    far = Far(port)
    async with asyncio.TaskGroup() as group:
        group.create_task(far.read())
        group.create_task(far.hear())
        yield far
        await port.close()


async def test_it_is_sent_ahead_of_the_clock_and_not_further() -> None:
    async with connected() as far:
        writing = asyncio.get_running_loop()
        began = writing.time()
        await far.port.write(1, ramp(3 * HZ))
        await asyncio.sleep(5)
    sounds = [(at - began, s) for at, s in far.sent if isinstance(s, Sound)]
    n = 0
    for at, sound in sounds:
        assert sound.start == n
        n += sound.pcm.size
        assert n <= (max(0.0, at - FIRST_S) + LEAD_S + 0.001) * HZ
    assert n == 3 * HZ
    assert 3.0 - LEAD_S - 0.2 < sounds[-1][0] < 3.0
    assert (far.pcm(1)[200:] == ramp(3 * HZ)[200:]).all()  # the first 5 ms rise
    assert far.played(1) == sorted(far.played(1))
    assert far.played(1)[-1] == 3 * HZ


async def test_a_held_reply_goes_on_where_it_was_surely_heard() -> None:
    async with connected() as far:
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        held = far.port.hold(1)
        assert held == round((1.0 - FIRST_S) * HZ)
        await asyncio.sleep(1.0)
        assert isinstance(far.sent[-1][1], Stop)
        far.port.resume(1)
        await asyncio.sleep(0.01)
        first = far.sent[[isinstance(s, Stop) for _, s in far.sent].index(True) + 1][1]
        assert isinstance(first, Sound)
        assert first.start == held - UNSURE_S * HZ
        await asyncio.sleep(3)
        assert far.played(1)[-1] == 2 * HZ


async def test_it_goes_on_where_the_peer_says_that_it_stopped() -> None:
    async with connected(reports=True) as far:
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        held = far.port.hold(1)
        far.port.report(1, held + 1000)
        far.port.resume(1)
        await asyncio.sleep(0.5)
        sounds = [s for _, s in far.sent if isinstance(s, Sound)]
        again = next(s for before, s in pairwise(sounds) if s.start < before.start + before.pcm.size)
        assert again.start == held + 1000


@pytest.mark.parametrize("late_s", [0.0, 0.15])
async def test_reports_correct_the_clock_both_ways(late_s: float) -> None:
    """A page whose sound began later than thought is not sent too much, and its holds say less."""
    async with connected(reports=True) as far:
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        far.port.report(1, round((0.9 - late_s) * HZ))
        await asyncio.sleep(0.1)
        assert far.port.hold(1) == pytest.approx((1.0 - late_s) * HZ, abs=2)
        assert far.played(1)[-1] == round((0.9 - late_s) * HZ)


async def test_the_exact_count_of_a_stopped_reply_is_the_peers() -> None:
    async with connected(reports=True) as far:
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        estimate = far.port.flush(1)
        await asyncio.sleep(0.1)
        assert Progress(1, estimate, final=True) not in [p for _, p in far.told]
        far.port.report(1, estimate + 777)
        await asyncio.sleep(0.1)
        assert far.told[-1][1] == Progress(1, estimate + 777, final=True)
        await far.port.write(1, ramp(100))
        await asyncio.sleep(1)
    assert isinstance(far.sent[-1][1], Stop)


async def test_a_peer_that_does_not_say_leaves_the_estimate() -> None:
    async with connected(reports=True) as far:
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        estimate, at = far.port.flush(1), asyncio.get_running_loop().time()
        await asyncio.sleep(1.0)
    ((when, last),) = [(t, p) for t, p in far.told if isinstance(p, Progress) and p.final]
    assert last == Progress(1, estimate, final=True)
    assert REPORT_S <= when - at < REPORT_S + 0.25


async def test_no_report_can_say_more_than_there_was() -> None:
    async with connected(reports=True) as far:
        await far.port.write(1, ramp(HZ))
        await asyncio.sleep(0.5)
        far.port.report(1, 10**9)
        far.port.report(7, 10**9)
        far.port.flush(1)
        far.port.report(1, 10**9, underruns=3)
        await asyncio.sleep(0.5)
        assert far.told[-1][1] == Progress(1, HZ, final=True)
        assert far.port.xruns == (0, 3)


async def test_nothing_is_lost_when_the_connection_is() -> None:
    async with connected(reports=True) as far:
        began = asyncio.get_running_loop().time()
        await far.port.push(silence(5 * FRAME))
        await far.port.write(1, ramp(2 * HZ))
        await asyncio.sleep(1.0)
        far.port.away("The connection is gone.")
        await asyncio.sleep(0)
        held = far.port.hold(1)  # what the session does then
        n = len(far.sent)
        await asyncio.sleep(5)
        assert len(far.sent) == n or far.sent[n:] == [(far.sent[n][0], Stop())]
        assert far.port.n_heard == 5 * FRAME
        far.port.report(1, held + 2000)
        far.port.back("page", until=9 * FRAME)
        await far.port.push(silence(3 * FRAME))
        await asyncio.sleep(0.5)
        assert not any(isinstance(what, ev.PortBack) for _, what in far.told)
        await far.port.push(silence(FRAME))
        await asyncio.sleep(0.1)
        assert far.told[-1][1] == ev.PortBack("page")
        assert len(far.frames) == 9
        far.port.resume(1)
        await asyncio.sleep(6)
        assert far.played(1)[-1] == 2 * HZ
        starts = [s.start for at, s in far.sent if isinstance(s, Sound) and at - began > 6]
        assert starts[0] == held + 2000
    kinds = [type(what) for _, what in far.told if isinstance(what, ev.PortLost | ev.PortBack)]
    assert kinds == [ev.PortLost, ev.PortBack]


async def test_what_never_comes_is_not_waited_for() -> None:
    async with connected() as far:
        far.port.away("The connection is gone.")
        far.port.back("page", until=HZ, patience_s=2.0)
        await asyncio.sleep(1.5)
        assert [what for _, what in far.told] == [ev.PortLost("The connection is gone.", late=True)]
        await asyncio.sleep(1.0)
        assert far.told[-1][1] == ev.PortBack("page")


async def test_who_sends_too_fast_is_read_slower() -> None:
    port = PeerPort(StreamResampler)

    async def pour() -> None:
        while True:
            await port.push(silence(FRAME))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pour(), 1)
    assert port.n_heard <= 2.1 * 16_000
    async with aclosing(port.frames()) as frames:
        n = 0
        async with asyncio.timeout(5):
            async for _ in frames:
                n += 1
                if n == 100:
                    break
        await port.push(silence(FRAME))
    await port.close()
    await port.close()


async def test_another_rate_and_odd_sizes() -> None:
    async with connected(mic_hz=48_000) as far:
        for _ in range(100):
            await far.port.push(silence(777))
        await asyncio.sleep(0.1)
        assert all(frame.size == FRAME for frame in far.frames)
        assert abs(len(far.frames) * FRAME - 77_700 / 3) < 2 * FRAME
