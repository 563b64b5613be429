"""`GET /metrics`: what an operator of the server wants to know, as numbers for Prometheus.

The numbers come from where something is told anyway: the news of a session (`_Watch`), what goes over its connections
(`traffic.py`), calls to engines (`Tally`), and queues that are looked at when somebody asks. No label tells one
session, key or address from another, so nothing grows with how many there were.

The library writes the format, sums histograms up and reads the process's own figures. Its registry of the whole
process is not used: several servers may live in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from voiceloop import __version__
from voiceloop.build import Assembled
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm
from voiceloop.core.policy import Policy
from voiceloop.errors import VoiceloopError
from voiceloop.ports import AudioPort
from voiceloop.server.traffic import Traffic, counter, histogram
from voiceloop.server.wires import Closing, word
from voiceloop.session.fair import Load
from voiceloop.session.latency import Latency
from voiceloop.tally import Call

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LAG_S = 0.5
"""From one look at the event loop to the next."""

_TURN_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_ADDED_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CALL_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_LOOP_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

_BARGE_INS = ("paused", "resumed", "stopped")

Assemble = Callable[[AudioPort], AbstractAsyncContextManager[Assembled]]


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._queues = _Queues()
        self._registry.register(self._queues)
        ProcessCollector(registry=self._registry)
        self.talk = _Talk(self._registry)
        self.traffic = Traffic(self._registry)
        self._calls = counter(
            self._registry, "engine_calls", "Calls of conversations to a speech engine, by how they ended.", _CALLS
        )
        self._call_s = histogram(
            self._registry, "engine_seconds", "Until the words, or the first sound, of a call.", _ENGINES, _CALL_S
        )
        self._call_sound_s = counter(
            self._registry, "engine_sound_seconds", "Sound that a speech engine heard, or made.", _ENGINES
        )
        self._lag_s = histogram(
            self._registry, "event_loop_lag_seconds", "How late the event loop comes to what is due.", (), _LOOP_S
        )
        info = Gauge("voiceloop_info", "1, with the version.", ("version",), registry=self._registry)
        info.labels(__version__).set(1)

    def count(self, call: Call) -> None:
        """One call to an engine: a `Tally`."""
        self._calls.labels(call.port, call.engine, call.outcome).inc()
        self._call_sound_s.labels(call.port, call.engine).inc(call.sound_s)
        if call.took_s is not None:
            self._call_s.labels(call.port, call.engine).observe(call.took_s)

    def queue(self, name: str, load: Callable[[], Load]) -> None:
        """A queue to look at."""
        self._queues.known[name] = load

    def worker(self, pid: Callable[[], int | None], n_starts: Callable[[], int]) -> None:
        """The worker process."""
        ProcessCollector("voiceloop_worker", lambda: pid() or "none", registry=self._registry)
        starts = Gauge("voiceloop_worker_starts", "How often the worker process was started.", registry=self._registry)
        starts.set_function(n_starts)

    def door(self, name: str, assemble: Assemble) -> Assemble:
        """The same sessions, counted. name: of the door that they come through."""
        for known in (self.talk.open, self.talk.begun, self.talk.underruns):
            known.labels(name)  # 0 until there are some

        @asynccontextmanager
        async def counted(port: AudioPort) -> AsyncGenerator[Assembled, None]:
            async with assemble(port) as assembled:
                watch = _Watch(self.talk, name, port)
                self.talk.begun.labels(name).inc()
                self.talk.open.labels(name).inc()
                reason = "ended"
                try:
                    parts = assembled.parts
                    parts = replace(parts, taps=(*parts.taps, watch), observers=(*parts.observers, watch))
                    yield replace(assembled, parts=parts)
                except BaseException as exc:
                    reason = _reason(exc)
                    raise
                finally:
                    watch.underruns()
                    self.talk.open.labels(name).dec()
                    self.talk.ended.labels(name, reason).inc()

        return counted

    async def text(self) -> bytes:
        """All of it, in Prometheus' text format 0.0.4. In steps: each family of numbers is one."""
        found: list[bytes] = []
        for family in self._registry.collect():
            # When a counter was made is said in the text format as a number of its own, of use to nobody.
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            found.append(generate_latest(_One(family)))
            await asyncio.sleep(0)
        return b"".join(found)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None, None]:
        """Looks at the event loop while the context is open."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                try:
                    yield
                finally:
                    watching.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            self._lag_s.observe(max(0.0, loop.time() - due))


_ENGINES = ("port", "engine")
_CALLS = (*_ENGINES, "outcome")


class _Talk:
    """Of conversations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        door = ("door",)
        self.open = Gauge("voiceloop_sessions_open", "Sessions that go on.", door, registry=registry)
        self.begun = counter(registry, "sessions_begun", "Sessions that began.", door)
        self.ended = counter(registry, "sessions_ended", "Sessions that ended, by why.", (*door, "reason"))
        self.turns = counter(
            registry, "turns", "Turns, by what became of them: decided, reopened, dropped.", (*door, "what")
        )
        self.replies = counter(registry, "replies", "Replies, by how they ended.", (*door, "ending"))
        self.barge_ins = counter(
            registry, "barge_ins", "Replies paused, resumed or stopped, and why.", (*door, "what", "because")
        )
        self.failures = counter(registry, "failures", "Stages of a turn that failed.", (*door, "stage"))
        self.sound_s = counter(registry, "sound_seconds", "Sound heard and spoken.", (*door, "direction"))
        self.underruns = counter(registry, "underruns", "Peers that had nothing to play within a reply.", door)
        self.latency = {
            name: histogram(registry, f"turn_{name}_seconds", said, door, _ADDED_S if name == "added" else _TURN_S)
            for name, said in _LATENCIES.items()
        }


_LATENCIES = {
    "words": "From the last sound of speech to its words.",
    "decided": "From the last sound of speech to the decision that the turn is over.",
    "first_sound": "From the last sound of speech to the first sound of the reply.",
    "added": "From when the turn was decided and speech was there to its release: what the loop itself adds.",
}


class _Watch:
    """Of one session: a `Tap` and an `Observer`."""

    def __init__(self, talk: _Talk, door: str, port: AudioPort) -> None:
        self._talk = talk
        self._door = door
        self._port = port
        self._heard = talk.sound_s.labels(door, "in")
        self._spoken = talk.sound_s.labels(door, "out")
        self._out_rate = RATE
        self._underruns = 0

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        """It listens."""
        self._out_rate = out_rate

    def mic(self, pcm: Pcm) -> None:
        """Sound heard."""
        self._heard.inc(pcm.size / RATE)

    def out(self, reply: int, pcm: Pcm) -> None:
        """Sound spoken."""
        self._spoken.inc(pcm.size / self._out_rate)

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        """A stage that failed is told here only."""
        if isinstance(event, ev.Failed):
            self._talk.failures.labels(self._door, event.stage).inc()

    def underruns(self) -> None:
        """Counts those since the last time."""
        n = self._port.xruns[1]
        self._talk.underruns.labels(self._door).inc(n - self._underruns)
        self._underruns = n

    def __call__(self, event: object, /) -> None:
        """News."""
        talk, door = self._talk, self._door
        match event:
            case ev.Trace(what=what, because=because) if what in _BARGE_INS:
                talk.barge_ins.labels(door, what, because).inc()
            case ev.Decided():
                talk.turns.labels(door, "decided").inc()
            case ev.Reopened():
                talk.turns.labels(door, "reopened").inc()
            case ev.TurnDropped():
                talk.turns.labels(door, "dropped").inc()
            case ev.ReplyEnded(ending=ending):
                talk.replies.labels(door, ending).inc()
                self.underruns()
            case Latency():
                added_ms = event.released_ms - max(event.decided_ms, event.ready_ms)
                steps = (event.words_ms, event.decided_ms, event.heard_ms, max(0, added_ms))
                for histogram, ms in zip(talk.latency.values(), steps, strict=True):
                    histogram.labels(door).observe(ms / 1000)
            case _:
                pass


@dataclass(eq=False)
class _Queues:
    """Collects the queues when they are asked for."""

    known: dict[str, Callable[[], Load]] = field(default_factory=dict[str, Callable[[], Load]])

    def collect(self) -> Iterable[Metric]:
        """Of all."""
        waiting = GaugeMetricFamily("voiceloop_queue_waiting", "Calls that wait.", labels=["queue"])
        oldest = GaugeMetricFamily("voiceloop_queue_oldest_seconds", "How long the first has waited.", labels=["queue"])
        served = CounterMetricFamily("voiceloop_queue_served", "Calls whose turn came.", labels=["queue"])
        waited = CounterMetricFamily("voiceloop_queue_waited_seconds", "What they waited in all.", labels=["queue"])
        expired = CounterMetricFamily("voiceloop_queue_expired", "Calls that waited too long.", labels=["queue"])
        for name, look in self.known.items():
            load = look()
            waiting.add_metric([name], load.waiting)
            oldest.add_metric([name], load.oldest_s)
            served.add_metric([name], load.served)
            waited.add_metric([name], load.waited_s)
            expired.add_metric([name], load.expired)
        return waiting, oldest, served, waited, expired


@dataclass(frozen=True, slots=True)
class _One:
    """One family alone, as a registry."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        """It."""
        return (self.family,)


def _reason(exc: BaseException) -> str:
    """Why a session ended."""
    match exc:
        case Closing():
            return exc.word
        case BaseExceptionGroup():
            return _reason(exc.exceptions[0])
        case TimeoutError():
            return word(4003)
        case ConnectionError():
            return "client"
        case VoiceloopError():
            return "failed"
        case asyncio.CancelledError():
            return word(1001)
        case _:
            return "bug"
