"""Random people, engines, hosts and moments to stop: whatever happens, the session comes to an end and in order."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import cycle

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm, ticks
from voiceloop.core.policy import Policy
from voiceloop.errors import DeviceError, ProviderError
from voiceloop.journal.reader import read
from voiceloop.journal.replay import replay
from voiceloop.journal.why import SENTENCES
from voiceloop.journal.writer import Journal
from voiceloop.ports import Manner, Tap, Transcript, TurnView
from voiceloop.session.mind import Deadlines
from voiceloop.session.observe import Ready
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakePort, FakeResampler, FakeVad, Recorder, VirtualLoop, script, tone

whims = st.lists(
    st.sampled_from(["well", "well", "well", "empty", "slow", "hang", "fail", "break", "cancel", "mid"]), min_size=1
)


class Whimsical:
    """An engine of every kind that does well, or does not, as it is told."""

    rate = 24_000
    longest = None
    early = True

    def __init__(self, whims: list[str]) -> None:
        self._whims = cycle(whims)
        self.open = 0

    async def warm_up(self) -> None:
        await asyncio.sleep(0.1)

    async def aclose(self) -> None:
        pass

    async def whim(self) -> str:
        match whim := next(self._whims):
            case "slow":
                await asyncio.sleep(0.7)
            case "hang":
                await asyncio.Event().wait()
            case "fail":
                raise ProviderError("It is tired.", stage="stt")
            case "break":
                raise ZeroDivisionError
            case "cancel":
                raise asyncio.CancelledError
            case _:
                pass
        return whim

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        return Transcript("" if await self.whim() == "empty" else "what time is it")

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        self.open += 1
        try:
            if await self.whim() == "empty":
                return
            for piece in ("It is ", "ten. ", "", "It is late. ", "Go to bed."):
                await asyncio.sleep(0.01)
                yield piece
                if piece == "ten. ":
                    await self.whim()
        finally:
            self.open -= 1

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        self.open += 1
        try:
            if await self.whim() == "empty":
                return
            for _ in range(len(text)):
                yield tone(0.07, rate=self.rate)
            await self.whim()
        finally:
            self.open -= 1


COMMANDS = {
    "interrupt": ev.Interrupt(),
    "commit": ev.Commit(),
    "mute": ev.Mute(True),
    "unmute": ev.Mute(False),
    "typed": ev.Respond("typed"),
    "aside": ev.Respond("aside", out_of_band=True),
    "flush": ev.Configure(Policy(barge_in="stop", max_turn=ticks(3))),
    "off": ev.Configure(Policy(barge_in="ignore", run_ahead="none")),
}

people = st.lists(st.sampled_from([0.06, 0.3, 1.0, 4.0, -0.2, -0.5, -1.0, -2.0, -6.0]), min_size=1, max_size=12)
hosts = st.lists(
    st.tuples(st.floats(0, 20), st.sampled_from(["say", "close", "cancel", *COMMANDS, *COMMANDS])), max_size=6
)


async def live(
    mic: list[float], engines: list[Whimsical], host, *, stepped: bool, lost: int | None, away, tap: Tap
) -> Recorder:
    recorder = Recorder()
    stt, handler, tts = engines
    port = FakePort(script(*mic), stepped=stepped, lost_after=lost, away=away)
    deadlines = Deadlines(stt_s=2, handler_s=2, tts_s=2)
    policy = Policy(max_turn=ticks(5), slow_after=ticks(1))
    parts = Parts(port, FakeVad(), stt, handler, tts, FakeResampler, policy=policy, deadlines=deadlines, taps=(tap,))
    session = Session(parts, [recorder])
    loop = asyncio.get_running_loop()
    timers = []
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(session))
        for when, what in host:
            do = {"say": lambda: session.say("Attention."), "close": session.close, "cancel": running.cancel}
            call = do[what] if what in do else lambda what=what: session.feed(COMMANDS[what])
            timers.append(loop.call_later(when, call))
    for timer in timers:
        timer.cancel()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert port.closed == 1
    return recorder


async def run(session: Session) -> None:
    with suppress(DeviceError):
        await session.run()


@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mic=people,
    whims=st.tuples(whims, whims, whims),
    host=hosts,
    stepped=st.booleans(),
    lost=st.none() | st.integers(0, 600),
    away=st.dictionaries(st.integers(1, 800), st.sampled_from([0.05, 1.0, 30.0]), max_size=3),
)
def test_every_session_ends_in_order_and_replays_identically(
    tmp_path_factory, mic, whims, host, stepped, lost, away
) -> None:
    engines = [Whimsical(each) for each in whims]
    path = tmp_path_factory.getbasetemp() / "chaos.voiceloop"
    journal = Journal(path, {}, wait_s=60)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        recorder = runner.run(live(mic, engines, host, stepped=stepped, lost=lost, away=away, tap=journal))
    assert journal.close() is None
    gc.collect()  # a coroutine that nobody awaited, or a generator that nobody closed, would say so here
    assert [engine.open for engine in engines] == [0, 0, 0]
    started = {e.reply for e in recorder.of(ev.ReplyStarted)}
    ended = Counter(e.reply for e in recorder.of(ev.ReplyEnded))
    assert started <= ended.keys()
    assert set(ended.values()) <= {1}
    opened = [e.turn for e in recorder.of(ev.SpeechStarted)]
    assert opened == [e.turn for e in recorder.of(ev.SpeechStopped, ev.SpeechRejected)]
    decided = [e.turn for e in recorder.of(ev.Decided)]
    words = Counter(e.turn for e in recorder.of(ev.Heard, ev.TurnDropped))
    assert set(decided) <= words.keys()
    states = recorder.of(ev.StateChanged)
    assert not states or states[-1].state == "listening"
    if recorder.of(Ready):  # else it was over before it listened
        recording = read(path)
        assert recording.whole
        assert replay(recording).identical
        traces = [action for step in recording.steps for action in step.actions if isinstance(action, ev.Trace)]
        assert {(trace.what, trace.because) for trace in traces} <= SENTENCES.keys()
