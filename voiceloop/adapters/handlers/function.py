"""A user's own Python as a handler: any callable from text to text, or an object with `reply`.

async def answer(text): ...                     # or def, or a generator, or an async generator
def answer(text, turn): ...                     # turn: ports.TurnView
answer.early = True                             # it has no side effects: may be called before the turn is decided
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from types import AsyncGeneratorType, GeneratorType
from typing import TypeVar, cast

from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout, VoiceloopError
from voiceloop.ports import Handler, Runner, TurnView

T = TypeVar("T")


class FunctionHandler:
    """A Handler around one function.

    A plain function or generator runs on a worker thread and may block; a coroutine function or async generator runs
    on the loop and must not. It gives str, or None for no reply.
    """

    def __init__(self, fn: Callable[..., object], runner: Runner, timeout_s: float = 30.0) -> None:
        """timeout_s: for the reply, or for each piece of a generator. Raises ConfigError if fn cannot be called
        with (text) or (text, turn)."""
        self._fn = fn
        self._runner = runner
        self._timeout_s = timeout_s
        self._name = str(getattr(fn, "__name__", type(fn).__name__))
        self._takes_turn = _takes_turn(fn, self._name)
        self._on_loop = _is(fn, inspect.iscoroutinefunction) or _is(fn, inspect.isasyncgenfunction)

    @property
    def early(self) -> bool:
        """The attribute `early` of the function; False without one, for it may have side effects."""
        return bool(getattr(self._fn, "early", False))

    async def warm_up(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """What the function returns or yields. Raises ProviderError, also for what the function raises.

        When cancelled, a coroutine is cancelled too; a thread is left to finish alone.
        """
        args = (turn.text, turn) if self._takes_turn else (turn.text,)

        def call() -> object:
            with self._raising():
                return self._fn(*args)

        found = call() if self._on_loop else await self._run(call)
        if inspect.isawaitable(found):
            found = await self._awaited(found)
        if isinstance(found, AsyncGeneratorType):
            pieces = self._guarded(cast("AsyncGenerator[object, None]", found))
        elif isinstance(found, GeneratorType):
            pieces = self._streamed(cast("Generator[object, None, None]", found))
        else:
            if text := self._checked(found, "returned"):
                yield text
            return
        async with aclosing(pieces):
            async for piece in pieces:
                if text := self._checked(piece, "yielded"):
                    yield text

    async def _run(self, call: Callable[[], T]) -> T:
        with self._waiting():
            return await self._runner.call(call, timeout_s=self._timeout_s)

    async def _awaited(self, found: Awaitable[object]) -> object:
        async with self._deadline():
            with self._raising():
                return await found

    async def _guarded(self, pieces: AsyncGenerator[object, None]) -> AsyncGenerator[object, None]:
        end = object()
        async with aclosing(pieces):
            while True:
                async with self._deadline():
                    with self._raising():
                        piece = await anext(pieces, end)
                if piece is end:
                    return
                yield piece

    async def _streamed(self, pieces: Generator[object, None, None]) -> AsyncGenerator[object, None]:
        def guarded() -> Generator[object, None, None]:
            with self._raising():
                yield from pieces

        stream = self._runner.stream(guarded, timeout_s=self._timeout_s)
        async with aclosing(stream):
            with self._waiting():
                async for piece in stream:
                    yield piece

    @contextmanager
    def _raising(self) -> Generator[None, None, None]:
        """What the user's code raises becomes a ProviderError that names the class, for the text may hold words."""
        try:
            yield
        except VoiceloopError:
            raise
        except (Exception, SystemExit) as exc:
            raise ProviderError(
                f"The handler {self._name!r} raised {type(exc).__name__}{_place(exc)}.", stage="handler"
            ) from exc

    @contextmanager
    def _waiting(self) -> Generator[None, None, None]:
        """What the runner raises by itself."""
        try:
            yield
        except ProviderError:
            raise
        except TimeoutError as exc:
            raise self._late() from exc
        except VoiceloopError as exc:
            raise ProviderError(
                f"The handler {self._name!r} found no worker thread: {exc}.", stage="handler", retryable=True
            ) from exc

    @asynccontextmanager
    async def _deadline(self) -> AsyncGenerator[None]:
        deadline = asyncio.timeout(self._timeout_s)
        try:
            async with deadline:
                yield
        except TimeoutError as exc:
            raise self._late() from exc

    def _late(self) -> ProviderTimeout:
        return ProviderTimeout(
            f"The handler {self._name!r} gave nothing within {self._timeout_s:g} s: make it faster, "
            "let it yield early, or raise its deadline.",
            stage="handler",
        )

    def _checked(self, found: object, verb: str) -> str | None:
        if found is None or isinstance(found, str):
            return found
        raise ProviderError(
            f"The handler {self._name!r} {verb} {type(found).__name__}: a str is wanted, or None for no reply.",
            stage="handler",
        )


class AdoptedHandler:
    """A Handler around a user's object that has `reply` but not all the rest."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    @property
    def early(self) -> bool:
        """As the object says; False if it does not."""
        return bool(getattr(self._thing, "early", False))

    async def warm_up(self) -> None:
        """As the object does."""
        await self._optional("warm_up")

    def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """As the object does."""
        return cast("AsyncGenerator[str, None]", getattr(self._thing, "reply")(turn))  # noqa: B009  not a Handler

    async def aclose(self) -> None:
        """As the object does."""
        await self._optional("aclose")

    async def _optional(self, name: str) -> None:
        method = getattr(self._thing, name, None)
        if method is not None:
            await method()


def handler_of(thing: object, runner: Runner, timeout_s: float = 30.0) -> Handler:
    """A Handler from what a user gives: one of their own as it is, a class of such, or any function.

    Raises ConfigError if it can be none of these.
    """
    if isinstance(thing, type) and callable(getattr(cast("object", thing), "reply", None)):
        try:
            thing = cast("Callable[[], object]", thing)()
        except TypeError as exc:
            raise ConfigError(f"The handler class {thing.__name__!r} must be made without arguments.") from exc
    if callable(getattr(thing, "reply", None)):
        whole = all(hasattr(thing, name) for name in ("early", "warm_up", "aclose"))
        return cast("Handler", thing) if whole else AdoptedHandler(thing)
    if callable(thing):
        return FunctionHandler(thing, runner, timeout_s)
    raise ConfigError(f"A handler must be a function or have a method `reply`; this is {type(thing).__name__}.")


def _place(exc: BaseException) -> str:
    """Where in the handler's own code; its message may quote what was said, so that is left out."""
    frames = traceback.extract_tb(exc.__traceback__)
    here = Path(__file__).parents[2]
    own = [frame for frame in frames if here not in Path(frame.filename).parents]
    return f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""


def load(path: str) -> object:
    """What "module:attribute" names, to be given to `handler_of`. Imports it, with the working directory on sys.path
    as `python -m` has it. Raises ConfigError."""
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"The handler {path!r} must be written as module:function, for instance my_bot:answer.")
    if module_name.endswith(".py"):
        raise ConfigError(f"A handler is named without .py: write {module_name.removesuffix('.py')}:{attribute}.")
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise ConfigError(f"The handler module {module_name!r} needs {exc.name!r}: install that.") from exc
        raise ConfigError(f"The handler module {module_name!r} is not found here in {here} nor installed.") from exc
    except Exception as exc:
        raise ConfigError(f"The handler module {module_name!r} fails to import: {type(exc).__name__}: {exc}.") from exc
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"The handler module {module_name!r} has nothing called {attribute!r}.")
        found = getattr(found, name)
    if not callable(found) and not callable(getattr(found, "reply", None)):
        raise ConfigError(f"The handler {path!r} is {type(found).__name__}: it must be callable or have `reply`.")
    return found


def _is(fn: Callable[..., object], test: Callable[[object], bool]) -> bool:
    return test(fn) or test(getattr(fn, "__call__", None))  # noqa: B004  its kind is wanted, not its existence


def _takes_turn(fn: Callable[..., object], name: str) -> bool:
    """Whether fn wants (text, turn) and not (text). A second parameter with a default is wanted if called turn."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [p for p in parameters if p.kind in kinds]
    required = [p for p in given if p.default is p.empty]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if keywords or len(required) > 2 or (not given and not open_ended):
        raise ConfigError(f"The handler {name!r} must take (text) or (text, turn), not {inspect.signature(fn)}.")
    return len(required) == 2 or (len(given) > 1 and given[1].name == "turn")
