"""The worker process, as the server sees it: started, watched, started again when it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from voiceloop.config import Config
from voiceloop.errors import ConfigError
from voiceloop.server.orders import (
    LENGTH,
    Alive,
    Begin,
    Cancel,
    Done,
    Facts,
    Failed,
    FromWorker,
    News,
    Order,
    Setup,
    Taken,
    Told,
    ToWorker,
    packed,
)
from voiceloop.wire.speech_errors import Refusal

COMMAND = (sys.executable, "-P", "-m", "voiceloop.server.worker")

_BELOW_NORMAL = 0x4000
"""Windows' name for what `os.nice` is elsewhere (worker.py)."""

_log = logging.getLogger(__name__)
_decoder = msgspec.msgpack.Decoder(FromWorker)


@dataclass(frozen=True, slots=True)
class Patience:
    """Deadlines, in seconds. start: until the engines are warm. silent: a worker that says nothing is stuck.

    absent: how long a job waits for a worker that is being started again.
    backoff: before that, doubled with each start that lives shorter than `settled`, at most `longest`.
    """

    start: float = 180.0
    silent: float = 30.0
    absent: float = 15.0
    backoff: float = 0.2
    longest: float = 30.0
    settled: float = 60.0


_Answer = News | Refusal | None
"""None: the job has come to its end."""


class Batch:
    """A `Work` whose jobs run in the worker process. Made by `batch`."""

    def __init__(
        self, config: Config, patience: Patience, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        self._setup = Setup(msgspec.to_builtins(config))
        self._patience = patience
        self._command = command
        self._env = env
        self._process: Process | None = None
        self._facts: Facts | None = None
        self._ready = asyncio.Event()
        self._refused: ConfigError | None = None
        self._jobs: dict[int, asyncio.Queue[_Answer]] = {}
        self._numbers = count(1)
        self.n_starts = 0

    @property
    def facts(self) -> Facts | None:
        """None while there is no worker that could work."""
        return self._facts if self._ready.is_set() else None

    @property
    def pid(self) -> int | None:
        """Of the worker process, if there is one."""
        return self._process.pid if self._process else None

    async def run(self, order: Order) -> AsyncGenerator[News, None]:
        """What comes of an order. Raises Refusal: also when the worker ends meanwhile."""
        try:
            async with asyncio.timeout(self._patience.absent):
                await self._ready.wait()
        except TimeoutError:
            raise _absent("There is no worker process at the moment.") from None
        job = next(self._numbers)
        answers = self._jobs[job] = asyncio.Queue[_Answer]()
        self._send(Begin(job, order))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Refusal):
                    raise answer
                yield answer
                self._send(Taken(job))
        finally:
            del self._jobs[job]
            self._send(Cancel(job))  # of a job that has ended it means nothing

    async def keep(self) -> None:
        """Keeps a worker there until it is cancelled. Raises ConfigError if the first one cannot start."""
        loop = asyncio.get_running_loop()
        wait = self._patience.backoff
        while True:
            began = loop.time()
            self.n_starts += 1
            await self._live()
            if self._facts is None and self.n_starts == 1:
                raise self._refused or ConfigError("The worker process cannot start: it ended before it was ready.")
            lived = loop.time() - began
            wait = self._patience.backoff if lived > self._patience.settled else min(wait * 2, self._patience.longest)
            _log.error("The worker process ended after %.0f s; it is started again in %.1f s.", lived, wait)
            await asyncio.sleep(wait)

    async def ready(self) -> None:
        """Returns when the first worker's engines are warm."""
        await self._ready.wait()

    def _send(self, message: ToWorker) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(packed(message))

    async def _live(self) -> None:
        """One process, from its start to its end."""
        options: dict[str, Any] = {}
        if os.name == "posix":
            # Ctrl-C in a terminal reaches a group of processes. The session stays the same: where the system
            # schedules by session, a priority counts only inside of one.
            options["process_group"] = 0
        else:
            options["creationflags"] = _BELOW_NORMAL
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, env=self._env, **options
        )
        self._process = process
        try:
            self._send(self._setup)
            await self._listen(process)
        finally:
            self._ready.clear()
            self._process = None
            for answers in self._jobs.values():
                answers.put_nowait(_absent("The worker process ended; it is being started again."))
            with suppress(ProcessLookupError):
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    async def _listen(self, process: Process) -> None:
        stream = process.stdout
        assert stream is not None
        limit = self._patience.start
        try:
            while True:
                async with asyncio.timeout(limit):
                    size = int.from_bytes(await stream.readexactly(LENGTH), "big")
                    message = _decoder.decode(await stream.readexactly(size))
                self._take(message)
                limit = self._patience.silent
        except asyncio.IncompleteReadError:
            return
        except TimeoutError:
            _log.error("The worker process said nothing for %.0f s.", limit)

    def _take(self, message: FromWorker) -> None:
        match message:
            case Facts():
                self._facts = message
                self._ready.set()
            case Told(job=job, news=news):
                self._answer(job, news)
            case Done(job=job):
                self._answer(job, None)
            case Failed(job=0):
                self._refused = ConfigError(message.message)
            case Failed(job=job):
                after = {"retry-after": "1"} if message.status == 503 else {}
                self._answer(
                    job,
                    Refusal(message.status, message.message, param=message.param, code=message.code, headers=after),
                )
            case Alive():
                pass

    def _answer(self, job: int, answer: _Answer) -> None:
        if job in self._jobs:  # else nobody waits any more
            self._jobs[job].put_nowait(answer)


@asynccontextmanager
async def batch(
    config: Config,
    patience: Patience = Patience(),
    *,
    command: Sequence[str] = COMMAND,
    env: Mapping[str, str] | None = None,
) -> AsyncGenerator[Batch, None]:
    """A worker process with warm engines. env: ours if None. Raises ConfigError if it cannot start."""
    try:
        async with asyncio.TaskGroup() as group:
            work = Batch(config, patience, command, env)
            keeper = group.create_task(work.keep())
            try:
                await work.ready()
                yield work
            finally:
                keeper.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


def _absent(message: str) -> Refusal:
    return Refusal(503, message, code="worker_unavailable", headers={"retry-after": "2"})
