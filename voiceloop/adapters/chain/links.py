"""What both chains share: the links, in which order they are asked, and what is said about those that fail."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from voiceloop.adapters.chain.breaker import Breaker, Usual
from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout, Stage, VoiceloopError
from voiceloop.ports import ERRAND, Synthesizer, Transcriber

log = logging.getLogger("voiceloop.chain")

E = TypeVar("E", Transcriber, Synthesizer)
T = TypeVar("T")

_REPLIES = 64
"""Replies whose voice is remembered."""

REQUEST_STATUS = frozenset({400, 413, 415, 422})
"""The service found fault with this request; the next one may be fine."""


@dataclass(slots=True, eq=False)
class Link(Generic[E]):
    """One engine of a chain. local: it needs no service. told: the user knows that it fails."""

    name: str
    engine: E
    local: bool = False
    breaker: Breaker = field(default_factory=Breaker)
    usual: Usual = field(default_factory=Usual)
    told: bool = False


@dataclass(slots=True)
class Counts:
    """calls: that began with a link. passed: on to another link. hedges: second links started beside the first one;
    wins: of those, the second was used."""

    calls: int = 0
    passed: int = 0
    hedges: int = 0
    wins: int = 0


class Links(Generic[E]):
    """The links of a chain, the favourite first. late_s: how long the next one waits for an answer of the one before.

    hedge: start a second one when the first takes longer than usual.
    """

    def __init__(self, links: Sequence[Link[E]], *, late_s: float, hedge: bool = False) -> None:
        self.all = tuple(links)
        self.late_s = late_s
        self.hedge = hedge
        self.counts = Counts()
        self._starts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def start(self) -> int:
        """The link at which the reply begins for which this call is made: it keeps its voice, so never one before
        the one that spoke last."""
        return self._starts.get(_key(), 0)

    def keep(self, link: Link[E]) -> None:
        """The rest of this reply is not for a link before this one."""
        key = _key()
        if key == _NOBODY:
            return
        self._starts[key] = max(self.all.index(link), self._starts.pop(key, 0))
        while len(self._starts) > _REPLIES:
            self._starts.popitem(last=False)

    async def warm_up(self) -> None:
        """All at once. Raises VoiceloopError when none can start, and ConfigError when the favourite cannot as it is
        configured, which nobody should have to guess; of others that is told."""
        errors: dict[int, VoiceloopError] = {}

        async def warm(number: int, link: Link[E]) -> None:
            try:
                await link.engine.warm_up()
            except VoiceloopError as exc:
                errors[number] = exc

        async with asyncio.TaskGroup() as group:
            for number, link in enumerate(self.all):
                group.create_task(warm(number, link))
        if len(errors) == len(self.all) or isinstance(errors.get(0), ConfigError):
            raise errors[0]
        for number, exc in errors.items():
            self.failed(self.all[number], exc)

    async def aclose(self) -> None:
        """All."""
        for link in self.all:
            await link.engine.aclose()

    def failed(self, link: Link[E], exc: VoiceloopError) -> None:
        """An answer that was none. Told once, until the link is back."""
        status = exc.status if isinstance(exc, ProviderError) else None
        if status in REQUEST_STATUS:
            link.breaker.dropped()
        else:
            link.breaker.failed(_now(), heals=isinstance(exc, ProviderError) and exc.retryable)
        if not link.told and len(self.all) > 1:
            link.told = True
            others = " or ".join(other.name for other in self.all if other is not link)
            _tell(f"{str(exc).rstrip('.')}. Meanwhile {others} is used.", logging.WARNING)

    def succeeded(self, link: Link[E]) -> None:
        """A good answer, to its end."""
        link.breaker.succeeded()
        if link.told:
            link.told = False
            _tell(f"{link.name} is back.", logging.INFO)

    def patience_s(self, link: Link[E]) -> float | None:
        """How long to wait before a second link is started beside this one; None: that is not done.

        A link on trial always has one beside it, so that nobody waits for what is probably still broken.
        """
        if link.local or not (self.hedge or link.breaker.state(_now()) == "half_open"):
            return None
        return link.usual.p95_s


class Round(Generic[E]):
    """One call, going from link to link until one answers."""

    def __init__(self, links: Links[E], stage: Stage, able: Callable[[Link[E]], bool] = lambda link: True) -> None:
        """able: which links can do it at all."""
        self._links = links
        self._stage: Stage = stage
        self._left = [link for link in links.all if able(link)]
        self._first: VoiceloopError | None = None
        self._lost = set[Link[E]]()
        links.counts.calls += 1

    @property
    def last(self) -> bool:
        """Whether no other link is left: then nobody waits for this one to be late."""
        return not self._left

    def next(self) -> Link[E]:
        """The link to ask now. Raises the first error when none is left."""
        if not self._left:
            raise self._first or ProviderError("No engine can do this.", stage=self._stage)
        now, start = _now(), self._links.start()
        order = [*(a for a in self._left if a in self._links.all[start:]), *reversed(self._left)]
        # Where none is worth asking, they are asked all the same: there is nothing to lose.
        link = next((link for link in order if link.breaker.ready(now)), order[0])
        self._left.remove(link)
        return link

    def beside(self) -> Link[E] | None:
        """The link to start beside another one: one that needs no service, if there is one; not yet taken."""
        now = _now()
        ready = [link for link in self._left if link.breaker.ready(now)]
        return next((link for link in ready if link.local), ready[0] if ready else None)

    def take(self, link: Link[E]) -> None:
        """It is asked."""
        self._left.remove(link)

    def failed(self, link: Link[E], exc: VoiceloopError) -> None:
        """It gave no good answer."""
        self._first = self._first or exc
        self._lost.add(link)
        self._links.counts.passed += bool(self._left)
        self._links.failed(link, exc)

    def succeeded(self, link: Link[E]) -> None:
        """Its answer was good to the end."""
        self._links.succeeded(link)

    async def ask(
        self, call: Callable[[Link[E]], Coroutine[Any, Any, T]], *, more_s: float = 0.0, good: Callable[[T], bool]
    ) -> tuple[Link[E], T]:
        """The first good answer, and whose it is; call `succeeded` or `failed` when it is known whether it holds.

        Raises the first error when no link has one.

        more_s: added to the time until a link is late. good: an answer that is none is taken only when there is no
        other. A second link is started beside the first where the chain does that; the slower one is cancelled.
        """
        while True:
            link = self.next()
            patience_s, second = self._links.patience_s(link), self.beside()
            if patience_s is None or second is None:
                outcomes = {0: await self._outcome(link, call, None if self.last else self._links.late_s + more_s)}
                pair = [link]
            else:
                pair = [link, second]
                outcomes = await self._race(pair, call, patience_s, good, more_s)
            for number, result in outcomes.items():
                if not isinstance(result, VoiceloopError):
                    self._spare(other for n, other in enumerate(pair) if n != number)
                    return pair[number], result

    def _spare(self, links: Iterable[Link[E]]) -> None:
        """Those that did not fail can still be asked when the one that was taken breaks later."""
        known = {*self._left, *(link for link in links if link not in self._lost)}
        self._left = [link for link in self._links.all if link in known]

    async def _race(
        self,
        pair: Sequence[Link[E]],
        call: Callable[[Link[E]], Coroutine[Any, Any, T]],
        patience_s: float,
        good: Callable[[T], bool],
        more_s: float,
    ) -> dict[int, T | VoiceloopError]:
        """What came of the two, the one to use first; of one that was cancelled or not begun nothing."""
        counts, outcomes = self._links.counts, dict[int, T | VoiceloopError]()
        fallback: dict[int, T | VoiceloopError] = {}
        began = _now()
        async with asyncio.TaskGroup() as group:
            late_s = self._links.late_s + more_s
            tasks = {group.create_task(self._outcome(pair[0], call, late_s)): 0}
            await asyncio.wait(tasks, timeout=patience_s)
            if not all(task.done() for task in tasks):
                counts.hedges += 1
                self.take(pair[1])
                tasks[group.create_task(self._outcome(pair[1], call, None))] = 1
            pending = set(tasks)
            while pending and not outcomes:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=tasks.__getitem__):
                    result = task.result()
                    better = not isinstance(result, VoiceloopError) and good(result)
                    (outcomes if better and not outcomes else fallback)[tasks[task]] = result
            for task in pending:
                task.cancel()
                if tasks[task] == 0:
                    self._slow(pair[0], _now() - began)
        chosen = {**outcomes, **fallback}
        counts.wins += next((number for number, r in chosen.items() if not isinstance(r, VoiceloopError)), 0)
        return chosen

    def _slow(self, link: Link[E], waited_s: float) -> None:
        """Another one was quicker: which a trial fails by, but not an answer that is only slower than usual."""
        link.usual.add(waited_s)
        if link.breaker.state(_now()) == "half_open":
            link.breaker.failed(_now())

    async def _outcome(
        self, link: Link[E], call: Callable[[Link[E]], Coroutine[Any, Any, T]], late_s: float | None
    ) -> T | VoiceloopError:
        """An answer or an error, which is seen to; a TaskGroup would cancel the other one for an error."""
        began, breaker = _now(), link.breaker
        trial, said = breaker.begin(began), False
        try:
            async with in_time(late_s, link.name, self._stage):
                result = await call(link)
            said = True
            link.usual.add(_now() - began)
            return result
        except VoiceloopError as exc:
            said = True
            self.failed(link, exc)
            return exc
        finally:
            if trial and not said:
                breaker.dropped()


@asynccontextmanager
async def in_time(late_s: float | None, name: str, stage: Stage) -> AsyncGenerator[None, None]:
    """What takes longer inside raises ProviderTimeout. late_s None: it may."""
    scope = asyncio.timeout(late_s)
    try:
        async with scope:
            yield
    except TimeoutError as late:
        if not scope.expired():
            raise  # an engine's own, which is a bug of its adapter
        what = f"{name} gave nothing within {late_s:.2g} s"
        raise ProviderTimeout(f"{what}: it is overloaded or gone.", stage=stage, retryable=True) from late


_NOBODY = ("", -1)


def _key() -> tuple[str, int]:
    errand = ERRAND.get()
    return (errand.session, errand.reply) if errand and errand.reply is not None else _NOBODY


def _tell(text: str, level: int) -> None:
    """To the user of the session for which this call is made, or to the log."""
    errand = ERRAND.get()
    if errand and errand.tell:
        errand.tell(text)
        level = logging.INFO
    log.log(level, "%s", text)


def _now() -> float:
    return asyncio.get_running_loop().time()
