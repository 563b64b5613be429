"""voiceloop inside another program: a voice assistant in its own thread, for callers without asyncio."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, get_args

from voiceloop import build
from voiceloop.config import Config, override
from voiceloop.core import events
from voiceloop.core.policy import BargeIn
from voiceloop.errors import VoiceloopError
from voiceloop.ports import AudioPort
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Level, Ready, Volume
from voiceloop.session.session import Session

_EVENTS: dict[str, type] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in (*get_args(events.News), Level, Latency, Ready, Volume)
}


@dataclass(slots=True)
class _Reached:
    """How far the conversation is. ready: it listens, or never will. done: it is over."""

    ready: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)


class Assistant:
    """A hands-free voice assistant that runs beside the caller.

    config: None for the defaults. handler: a function from text to text (or coroutine, generator, async generator; see
    README), or an object with `reply`; None for the configured one. port: instead of the configured devices.
    All methods are thread-safe. Callbacks of `on` are called in the assistant's thread and must return quickly.

        with Assistant(handler=lambda text: f"You said {text}") as assistant:
            assistant.on("heard", lambda event: print(event.text))
            assistant.wait()
    """

    def __init__(
        self,
        config: Config | None = None,
        handler: object | None = None,
        *,
        port: AudioPort | None = None,
    ) -> None:
        self._config = config or Config()
        self._handler = handler
        self._port = port
        self._callbacks: list[tuple[type, Callable[[Any], object]]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._reached = _Reached()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._failure: BaseException | None = None
        self._stopping = False
        self.notices: tuple[str, ...] = ()
        """Sentences about what is not as one would expect, after `start`."""

    def on(self, event: str, fn: Callable[[Any], object]) -> None:
        """Calls fn with each event of that name from now on: "heard", "reply_said", "state_changed" ...

        The names are those of the news in `voiceloop.core.events` in small letters. Raises ValueError on others.
        """
        if event not in _EVENTS:
            raise ValueError(f"there is no event {event!r}; known: {', '.join(sorted(_EVENTS))}")
        self._callbacks.append((_EVENTS[event], fn))

    def start(self) -> None:
        """Loads the engines, opens the devices, and returns when it listens (or when `stop` is called meanwhile).

        Raises VoiceloopError if it cannot. What is said to the other methods before is ignored, as it is after the end.
        """
        with self._lock:  # nobody may join a thread that is not yet started
            if self._thread is not None:
                raise RuntimeError("an assistant starts once; make a new one")
            thread = self._thread = threading.Thread(target=self._main, name="voiceloop", daemon=True)
            thread.start()
        self._reached.ready.wait()
        if self._failure is not None:
            thread.join()
            raise self._failure

    def stop(self) -> None:
        """Ends the conversation, gives the devices back, and returns when all is done. Idempotent."""
        self._stopping = True
        if self._reached.ready.is_set():
            self._call(lambda session: session.close())
        else:
            self._cancel()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._reached.done.wait()
            thread.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the conversation has ended; False after timeout_s. Raises DeviceError if a device was lost."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        # Not join: after Ctrl-C in the middle of it, Python 3.11 takes a thread that runs for one that has ended;
        # `stop` would not wait, and the process would leave with its devices open.
        done = self._reached.done.wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        return done

    def say(self, text: str, *, barge_in: BargeIn | None = None, expect: str = "") -> None:
        """Speaks a text as soon as the floor is free.

        barge_in: what a voice over it does: `stop`, `pause`, `finish_sentence`, `finish_reply`, or `ignore` for what
        must be heard to its end; None: as configured. expect: what the user will say then: `digits:10`, `yes_no`,
        `spelling`. Raises ValueError if barge_in is none of these.
        """
        _must_be_text(text)
        if barge_in not in (None, *get_args(BargeIn)):
            raise ValueError(f"barge_in is one of {', '.join(get_args(BargeIn))}, not {barge_in!r}")
        self._call(lambda session: session.say(text, barge_in=barge_in, expect=expect))

    def interrupt(self) -> None:
        """Stops speaking, and forgets what was about to be said."""
        self._call(lambda session: session.feed(events.Interrupt()))

    def mute(self, on: bool = True) -> None:
        """Stops (or, with False, starts) to believe the microphone."""
        self._call(lambda session: session.mute(on))

    def push_to_talk(self, down: bool) -> None:
        """A button was pressed (or, with False, released): the user has the floor, and what is said is held or stops;
        when it is released, what he said is answered at once.

        With `turn.mode = "push_to_talk"` nothing else is heard; without it the button is one more way to be heard.
        """
        self._call(lambda session: session.push_to_talk(down))

    @property
    def volume(self) -> float:
        """Of everything that is said, 0..1. It may be changed at any time. Raises ConfigError for what is none."""
        return self._config.audio.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._config = override(self._config, {"audio.volume": volume})
        self._call(lambda session: setattr(session, "volume", volume))

    def respond(self, text: str) -> None:
        """Answers a text as if it had been said, for instance one that was typed."""
        _must_be_text(text)
        self._call(lambda session: session.feed(events.Respond(text)))

    def __enter__(self) -> Assistant:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _call(self, fn: Callable[[Session], object]) -> None:
        task, session = self._task, self._session
        if task is None or session is None:
            return
        with suppress(RuntimeError):  # the loop may have ended meanwhile: then there is nobody left to tell
            task.get_loop().call_soon_threadsafe(fn, session)

    def _cancel(self) -> None:
        """Ends what is not yet a conversation: engines may load for long."""
        if (task := self._task) is not None:
            with suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except VoiceloopError as exc:
            self._failure = exc
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except BaseException as exc:
            self._failure = exc
            raise
        finally:
            self._reached.ready.set()
            self._reached.done.set()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        if self._stopping:
            return
        async with build.assemble(self._config, handler=self._handler, port=self._port) as assembled:
            self.notices = assembled.notices
            self._session = Session(assembled.parts, [self._dispatch])
            await self._session.run()

    def _dispatch(self, event: object) -> None:
        if isinstance(event, Ready):
            self._reached.ready.set()
        with ExitStack() as stack:  # last in, first out; and each is called, even if one raises
            for kind, fn in reversed(self._callbacks):
                if isinstance(event, kind):
                    stack.callback(fn, event)


def _must_be_text(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"a text is wanted, not {type(text).__name__}")
