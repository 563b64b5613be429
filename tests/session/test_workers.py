"""Workers: what is cancelled or late is abandoned, counted and replaced; nobody waits for a stuck thread."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from voiceloop.errors import Busy, Late
from voiceloop.ports import ERRAND, Errand
from voiceloop.session.workers import AHEAD, Workers

# Plain asyncio.run and not the plug-in's loop: worker threads run in real time, whatever loop the others use here.
Body = Callable[[Workers], Coroutine[Any, Any, None]]


def run(body: Body, **options: Any) -> Workers:
    workers = Workers(**options)

    async def main() -> None:
        async with asyncio.timeout(30):
            await body(workers)

    try:
        asyncio.run(main())
    finally:
        workers.close()
    return workers


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  a thread makes it true, and no asyncio.Event would know
        await asyncio.sleep(0)


async def started(event: threading.Event) -> None:
    await until(event.is_set)


async def settled(workers: Workers) -> None:
    await until(lambda: workers.n_abandoned == 0)


class Stuck:
    """Work that begins and does not end until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(30)
        return "released"


def test_a_call_gives_its_result_from_a_named_daemon_thread() -> None:
    async def body(workers: Workers) -> None:
        thread = await workers.call(threading.current_thread)
        assert thread.name.startswith("voiceloop-worker-")
        assert thread.daemon
        assert workers.n_threads == 1

    run(body)


def test_the_context_goes_along() -> None:
    async def body(workers: Workers) -> None:
        ERRAND.set(Errand("s1", 3))
        assert await workers.call(ERRAND.get) == Errand("s1", 3)
        async with aclosing(workers.stream(lambda: iter([ERRAND.get(), ERRAND.get()]))) as items:
            assert [item async for item in items] == [Errand("s1", 3)] * 2

    run(body)


class Bug(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (Bug, Bug),
        (TimeoutError, TimeoutError),
        (StopIteration, RuntimeError),
        (SystemExit, RuntimeError),
        (asyncio.CancelledError, RuntimeError),
    ],
)
def test_what_the_work_raises_reaches_the_caller(raised: type[BaseException], seen: type[Exception]) -> None:
    def work() -> None:
        raise raised()

    async def body(workers: Workers) -> None:
        with pytest.raises(seen) as caught:
            await workers.call(work, timeout_s=30)
        assert not isinstance(caught.value, Late)
        assert await workers.call(lambda: "still here") == "still here"

    run(body)


def test_a_full_queue_refuses() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(workers.call(stuck))
            await started(stuck.begun)
            waiting = group.create_task(workers.call(lambda: "waited"))
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="already wait"):
                await workers.call(lambda: None)
            stuck.released.set()
        assert (first.result(), waiting.result()) == ("released", "waited")

    run(body, n_threads=1, max_queue=1)


def test_no_queue_at_all_still_uses_every_thread() -> None:
    async def body(workers: Workers) -> None:
        stuck = [Stuck(), Stuck()]
        async with asyncio.TaskGroup() as group:
            for work in stuck:
                group.create_task(workers.call(work))
            for work in stuck:
                await started(work.begun)
            with pytest.raises(Busy):
                await workers.call(lambda: None)
            for work in stuck:
                work.released.set()

    run(body, n_threads=2, max_queue=0)


def test_a_late_call_is_abandoned_counted_and_replaced() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        with pytest.raises(Late, match=r"0\.01 s"):
            await workers.call(stuck, timeout_s=0.01)
        await started(stuck.begun)
        assert workers.n_abandoned == 1
        assert await workers.call(lambda: "replaced") == "replaced"
        assert workers.n_threads == 2
        stuck.released.set()
        await settled(workers)
        # The replacement keeps the place.
        assert workers.n_threads == 1

    run(body, n_threads=1)


def test_a_call_that_still_waits_is_withdrawn_when_late() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        ran: list[int] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(workers.call(stuck))
            await started(stuck.begun)
            with pytest.raises(Late):
                await workers.call(lambda: ran.append(1), timeout_s=0.01)
            assert workers.n_abandoned == 0
            stuck.released.set()
        assert await workers.call(lambda: list(ran)) == []

    run(body, n_threads=1)


def test_a_cancelled_call_is_abandoned_and_its_thread_used_again() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(workers.call(stuck))
            await started(stuck.begun)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert workers.n_abandoned == 1
        stuck.released.set()
        await settled(workers)
        # Nobody asked for its place in the meantime.
        assert workers.n_threads == 1
        assert await workers.call(lambda: "again") == "again"
        assert workers.n_threads == 1

    run(body, n_threads=1)


def test_four_stuck_calls_are_the_end_until_one_finishes() -> None:
    async def body(workers: Workers) -> None:
        stuck = [Stuck() for _ in range(4)]
        for work in stuck:
            with pytest.raises(Late):
                await workers.call(work, timeout_s=0.01)
        for work in stuck:
            await started(work.begun)
        assert workers.n_abandoned == 4
        with pytest.raises(Busy, match="4 earlier calls are stuck"):
            await workers.call(lambda: None)
        with pytest.raises(Busy):
            async with aclosing(workers.stream(lambda: iter([1]))) as items:
                await anext(items)
        stuck[0].released.set()
        await until(lambda: workers.n_abandoned < 4)
        assert await workers.call(lambda: "again") == "again"
        for work in stuck:
            work.released.set()
        await settled(workers)

    run(body, n_threads=2)


def test_there_are_never_more_threads_than_the_limits_allow() -> None:
    async def body(workers: Workers) -> None:
        stuck = [Stuck() for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(workers.call(work)) for work in stuck[:2]]
            for work in stuck[:2]:
                await started(work.begun)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert workers.n_abandoned == 2
            assert workers.n_threads == 2
        for work in stuck:
            work.released.set()
        await settled(workers)

    run(body, n_threads=2, max_abandoned=1)


def test_a_stream_gives_all_items_in_order() -> None:
    async def body(workers: Workers) -> None:
        async with aclosing(workers.stream(lambda: iter(range(100)), timeout_s=30)) as items:
            assert [item async for item in items] == list(range(100))
        async with aclosing(workers.stream(lambda: iter(()))) as items:
            assert [item async for item in items] == []

    run(body)


def test_a_stream_is_only_a_few_items_ahead_and_a_pause_holds_no_thread() -> None:
    made: list[int] = []

    def work() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    async def body(workers: Workers) -> None:
        async with aclosing(workers.stream(work)) as items:
            assert await anext(items) == 0
            # One thread only: each of these calls runs behind what the stream has asked for.
            for _ in range(20):
                assert await workers.call(lambda: "free") == "free"
            assert len(made) == 1 + AHEAD
            assert await anext(items) == 1
            for _ in range(20):
                await workers.call(lambda: None)
            assert len(made) == 2 + AHEAD

    run(body, n_threads=1)


def test_a_stream_raises_what_its_iterator_raises_after_its_items() -> None:
    def work() -> Iterator[int]:
        yield 1
        yield 2
        raise Bug

    async def body(workers: Workers) -> None:
        async with aclosing(workers.stream(work)) as items:
            assert await anext(items) == 1
            assert await anext(items) == 2
            with pytest.raises(Bug):
                await anext(items)

        def broken() -> Iterator[int]:
            raise Bug

        with pytest.raises(Bug):
            async with aclosing(workers.stream(broken)) as items:
                await anext(items)

    run(body)


def test_a_stream_that_nobody_reads_any_more_is_closed_on_a_worker() -> None:
    closed: list[str] = []
    done = threading.Event()

    def work() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)
            done.set()

    async def body(workers: Workers) -> None:
        async with aclosing(workers.stream(work)) as items:
            await anext(items)
        await started(done)
        assert closed[0].startswith("voiceloop-worker-")
        await settled(workers)

    run(body)


def test_a_stream_stopped_in_the_middle_of_an_item_is_closed_after_it() -> None:
    stuck = Stuck()
    closed = threading.Event()

    def work() -> Iterator[str]:
        try:
            yield "first"
            yield stuck()
            yield "never"
        finally:
            closed.set()

    async def body(workers: Workers) -> None:
        async with aclosing(workers.stream(work, timeout_s=0.5)) as items:
            assert await anext(items) == "first"
            await started(stuck.begun)
            with pytest.raises(Late):
                await anext(items)
        assert workers.n_abandoned == 1
        assert not closed.is_set()
        stuck.released.set()
        await settled(workers)
        assert closed.is_set()

    run(body, n_threads=1)


def test_an_iterator_that_fails_to_close_harms_nobody() -> None:
    stuck = Stuck()

    def work() -> Iterator[str]:
        try:
            yield stuck()
        finally:
            raise Bug

    async def body(workers: Workers) -> None:
        with pytest.raises(Late):
            async with aclosing(workers.stream(work, timeout_s=0.01)) as items:
                await anext(items)
        stuck.released.set()
        await settled(workers)
        assert await workers.call(lambda: "fine") == "fine"

    run(body, n_threads=1)


def test_a_thread_that_finishes_after_its_loop_was_closed_is_no_error() -> None:
    workers = Workers(n_threads=1)
    stuck = Stuck()
    finished = threading.Event()

    call: Any = workers.call(lambda: (stuck(), finished.set()))

    async def main() -> None:
        # Begun by hand and left there, as if the process forgot it.
        call.send(None)
        await started(stuck.begun)

    asyncio.run(main())
    stuck.released.set()
    assert finished.wait(30)
    call.close()
    workers.close()


def test_close_refuses_what_waits_and_what_comes_and_may_be_called_twice() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(workers.call(stuck))
            await started(stuck.begun)
            waiting = group.create_task(refused(workers))
            await asyncio.sleep(0)
            workers.close()
            workers.close()
            await waiting
            await refused(workers)
            stuck.released.set()
        assert running.result() == "released"

    async def refused(workers: Workers) -> None:
        with pytest.raises(Busy, match="closed"):
            await workers.call(lambda: None)

    workers = run(body, n_threads=1)
    assert workers.n_threads <= 1


@pytest.mark.parametrize("options", [{"n_threads": 0}, {"max_queue": -1}, {"max_abandoned": -1}])
def test_impossible_numbers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Workers(**options)


STUCK_PROCESS = """
import asyncio, time
from voiceloop.session.workers import Workers

def forever():
    print("begun", flush=True)
    time.sleep(600)

async def main():
    await Workers().call(forever, timeout_s=TIMEOUT)

asyncio.run(main())
"""


def test_the_process_ends_with_a_stuck_thread() -> None:
    code = STUCK_PROCESS.replace("TIMEOUT", "0.1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Late: no result within 0.1 s")


def test_ctrl_c_ends_the_process_with_a_stuck_thread() -> None:
    code = STUCK_PROCESS.replace("TIMEOUT", "None")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_call_is_queued_for_its_session_and_decided_ones_come_first() -> None:
    async def body(workers: Workers) -> None:
        stuck, done, decided = Stuck(), list[str](), set[str]()

        async def ask(name: str) -> None:
            ERRAND.set(Errand(name[0], 1, decided=lambda: name in decided))
            await workers.call(lambda: done.append(name))

        async with asyncio.TaskGroup() as group:
            group.create_task(workers.call(stuck))
            await started(stuck.begun)
            for name in ("a1", "a2", "b1", "b2"):
                group.create_task(ask(name))
            await asyncio.sleep(0)
            assert workers.load.waiting == 4
            decided |= {"b1", "b2"}
            stuck.released.set()
        assert done == ["b1", "b2", "a1", "a2"]
        assert (workers.load.waiting, workers.load.served) == (0, 5)

    run(body, n_threads=1)


def test_each_session_has_room_of_its_own() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()

        async def ask(session: str) -> None:
            ERRAND.set(Errand(session, 1))
            await workers.call(lambda: None)

        async with asyncio.TaskGroup() as group:
            group.create_task(workers.call(stuck))
            await started(stuck.begun)
            for session in "aab":
                group.create_task(ask(session))
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="2 calls already wait"):
                await ask("a")
            stuck.released.set()

    run(body, n_threads=1, max_queue=2)


def test_who_waits_too_long_is_told_to_come_back() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()

        def endless() -> Iterator[int]:
            yield 1

        async with asyncio.TaskGroup() as group:
            first = group.create_task(workers.call(stuck))
            await started(stuck.begun)
            with pytest.raises(Busy, match=r"within 0\.02 s: .* try again later"):
                await workers.call(lambda: "never")
            with pytest.raises(Busy, match="try again later"):
                async with aclosing(workers.stream(endless)) as items:
                    await anext(items)
            assert (workers.load.waiting, workers.load.expired) == (0, 2)
            stuck.released.set()
        assert first.result() == "released"  # who is at work has all the time there is
        assert await workers.call(lambda: "again") == "again"

    run(body, n_threads=1, max_wait_s=0.02)


def test_a_cancelled_call_leaves_the_queue_at_once() -> None:
    async def body(workers: Workers) -> None:
        stuck = Stuck()
        async with asyncio.TaskGroup() as group:
            group.create_task(workers.call(stuck))
            await started(stuck.begun)
            waiting = group.create_task(workers.call(lambda: None))
            await asyncio.sleep(0)
            assert workers.load.waiting == 1
            waiting.cancel()
            await asyncio.wait([waiting])
            assert workers.load.waiting == 0
            stuck.released.set()

    run(body, n_threads=1, max_wait_s=5.0)
