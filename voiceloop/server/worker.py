"""The worker process: `python -m voiceloop.server.worker`, started by batch.py and of use to nobody else.

Messages come on standard input and go to what was standard output; libraries that print, print to standard error.
It has a low priority of its own, so that conversations in the server's process come first, and ends with the server:
the end of its input ends it at once, whatever a model does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO

import msgspec

from voiceloop.errors import VoiceloopError
from voiceloop.server.bench import Bench
from voiceloop.server.orders import (
    AHEAD,
    LENGTH,
    Alive,
    Begin,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Setup,
    Taken,
    Told,
    ToWorker,
    packed,
)
from voiceloop.server.tools import bench
from voiceloop.wire.speech_errors import Refusal

NICE = 10
ALIVE_S = 1.0
STUCK = 3
"""Exit code when so many threads are stuck in engines that no work is taken in any more: a new process has none."""


_log = logging.getLogger(__name__)


class Desk:
    """The jobs under way, each a task of the group."""

    def __init__(self, work: Bench, say: Callable[[FromWorker], None], group: asyncio.TaskGroup) -> None:
        self._work = work
        self._say = say
        self._group = group
        self._jobs: dict[int, tuple[asyncio.Task[None], asyncio.Semaphore]] = {}

    def take(self, message: ToWorker) -> None:
        """A message from the server."""
        match message:
            case Begin(job=job, order=order):
                ahead = asyncio.Semaphore(AHEAD)
                task = self._group.create_task(self._run(job, order, ahead))
                self._jobs[job] = task, ahead
            case Taken(job=job) if job in self._jobs:
                self._jobs[job][1].release()
            case Cancel(job=job) if job in self._jobs:
                self._jobs[job][0].cancel()
            case _:
                pass

    async def _run(self, job: int, order: Any, ahead: asyncio.Semaphore) -> None:
        try:
            async for news in self._work.run(order):
                await ahead.acquire()
                self._say(Told(job, news))
            self._say(Done(job))
        except Refusal as exc:
            self._say(Failed(job, exc.status, str(exc), exc.param, exc.code))
            if exc.code == "overloaded":
                os._exit(STUCK)
        except Exception:  # noqa: BLE001  it is logged, and the client gets an answer
            _log.exception("a job failed with a bug")
            self._say(Failed(job, 500, "Something went wrong inside the server.", None, "internal_error"))
        finally:
            del self._jobs[job]


async def serve(read: BinaryIO, say: Callable[[FromWorker], None]) -> None:
    """Until the end of the process."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[ToWorker] = asyncio.Queue()

    def take(message: ToWorker) -> None:
        loop.call_soon_threadsafe(inbox.put_nowait, message)

    threading.Thread(target=_read, args=(read, take), daemon=True).start()
    setup = await inbox.get()
    if not isinstance(setup, Setup):
        raise SystemExit("the first message must be a Setup")
    try:
        async with bench(setup.config) as work, asyncio.TaskGroup() as group:
            say(work.facts)
            group.create_task(_pulse(say))
            desk = Desk(work, say, group)
            while True:
                desk.take(await inbox.get())
    except VoiceloopError as exc:
        say(Failed(0, 500, str(exc)))


async def _pulse(say: Callable[[FromWorker], None]) -> None:
    while True:
        await asyncio.sleep(ALIVE_S)
        say(Alive())


def _read(stream: BinaryIO, take: Callable[[ToWorker], object]) -> None:
    decoder = msgspec.msgpack.Decoder(ToWorker)
    while len(head := stream.read(LENGTH)) == LENGTH:
        take(decoder.decode(stream.read(int.from_bytes(head, "big"))))
    os._exit(0)


def _write(stream: BinaryIO, queue: SimpleQueue[bytes | None]) -> None:
    while (data := queue.get()) is not None:
        try:
            stream.write(data)
            stream.flush()
        except OSError:
            os._exit(0)


def main() -> None:
    """Runs it."""
    with suppress(OSError, AttributeError):
        os.nice(NICE)
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    queue: SimpleQueue[bytes | None] = SimpleQueue()
    writer = threading.Thread(target=_write, args=(messages, queue), daemon=True)
    writer.start()
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group of processes; the server says what happens
        asyncio.run(serve(sys.stdin.buffer, lambda message: queue.put(packed(message))))
    queue.put(None)
    writer.join(1.0)
    os._exit(0)


if __name__ == "__main__":
    main()
