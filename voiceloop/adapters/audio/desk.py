"""A thread for calls that block, one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn, TypeVar

from voiceloop.errors import DeviceError

T = TypeVar("T")

SILENT = "The sound system does not answer: restart the sound server, or choose another device."


def in_time(job: Callable[[], T], seconds: float) -> T:
    """job() on a thread of its own; blocks. Raises DeviceError if it takes longer, and what job() raises.

    For calls before there is a loop: one that hangs in a driver on the main thread could not even be ended by Ctrl-C.
    """
    results = SimpleQueue[Callable[[], T]]()

    def run() -> None:
        try:
            result = job()
        except Exception as error:  # noqa: BLE001  it is raised where the job was asked for
            results.put(partial(_throw, error))
        else:
            results.put(lambda: result)

    threading.Thread(target=run, name="voiceloop-portaudio", daemon=True).start()
    try:
        answer = results.get(timeout=seconds)
    except Empty:
        raise DeviceError(SILENT) from None
    return answer()


def _throw(error: Exception) -> NoReturn:
    raise error


class Desk:
    """The one thread that talks to PortAudio, between `start` and `finish`. Daemon: a hung driver holds up no exit."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._worker: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = self._worker = threading.Thread(target=self._work, name="voiceloop-portaudio", daemon=True)
        self._thread.start()

    async def call(self, job: Callable[[], T]) -> T:
        """job() on the thread. When cancelled, it still runs to its end there, before any later job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except Exception as error:  # noqa: BLE001  it is raised where the job was asked for
                answer = partial(future.set_exception, error)
            else:
                answer = partial(future.set_result, result)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if future.done() else answer())

        self._jobs.put(run)
        return await future

    async def finish(self, job: Callable[[], None]) -> None:
        """job() as the last one, if the thread runs; waits for it."""
        if self._thread is not None:
            self._thread = None
            waited = self.call(job)
            try:
                await waited
            finally:
                self._jobs.put(None)

    def abandon(self, job: Callable[[], None]) -> None:
        """job() as the last one; does not wait."""
        if self._thread is not None:
            self._thread = None
            self._jobs.put(job)
            self._jobs.put(None)

    @property
    def settled(self) -> bool:
        """True if no job hangs: all that was asked for is done, or the thread never ran."""
        return self._worker is None or not self._worker.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
