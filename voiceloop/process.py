"""One command of the command line: run to its end, stopped by a signal, or refused with a sentence."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Container, Coroutine, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NoReturn

_GRACE_S = 0.8
_SHOW_CURSOR = "\x1b[?25h"

at_leave: list[Callable[[], object]] = []
"""What is to be put right before the process ends without a word. Each must be quick and must not raise."""


def complain(sentence: str, as_json: bool) -> None:
    """As a sentence; but names of keys, engines and files stay as they are."""
    if sentence.partition(" ")[0].isalpha():
        sentence = sentence[:1].upper() + sentence[1:]
    if not sentence.endswith((".", "!", "?")):
        sentence += "."
    print(json.dumps({"error": sentence}) if as_json else sentence, file=sys.stderr, flush=True)


def wait_for(
    work: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> int:
    """Runs it on a loop of its own. Ctrl-C and SIGTERM end it within a second, whatever a model or handler does."""
    stopped: list[int] = []
    first = threading.Lock()  # one signal may be told twice

    async def body() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if first.acquire(blocking=False):
                stopped.append(number)
                timer = threading.Timer(_GRACE_S, _leave, (128 + number,))
                timer.daemon = True
                timer.start()
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)

        with _signals(stop):
            await work

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(body())
    except asyncio.CancelledError:
        if not stopped:
            raise
    if stopped:
        _leave(128 + stopped[0])
    return 0


@contextmanager
def _signals(stop: Callable[[int], None]) -> Generator[None, None, None]:
    """Calls stop with the number of each SIGINT and SIGTERM, from any thread.

    Python runs handlers on the main thread only, which may be deep inside a model that a handler calls there; the
    bytes of `set_wakeup_fd` arrive nevertheless (not on Windows, where only sockets may be used and asyncio does).
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                before = signal.signal(number, lambda number, frame: stop(number))
                stack.callback(signal.signal, number, before)
            if os.name == "posix":
                read, write = os.pipe()
                os.set_blocking(write, False)
                stack.callback(os.close, write)
                stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
                threading.Thread(target=_read_signals, args=(read, numbers, stop), daemon=True).start()
        yield


def _read_signals(read: int, numbers: Container[int], stop: Callable[[int], None]) -> None:
    with open(read, "rb", buffering=0) as pipe:
        while byte := pipe.read(1):
            if byte[0] in numbers:
                stop(byte[0])


def _leave(code: int) -> NoReturn:
    """The end of the process, without waiting for threads that models or handlers may still hold."""
    for put_right in reversed(at_leave):
        put_right()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if stream.isatty():
                stream.write(_SHOW_CURSOR)
            stream.flush()
    os._exit(code)
