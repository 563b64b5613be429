"""Whole conversations on virtual time."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, ticks
from voiceloop.core.policy import Policy
from voiceloop.errors import DeviceError, ProviderError
from voiceloop.ports import ERRAND, Capture, Manner, Transcript, TurnView
from voiceloop.session.latency import Latency
from voiceloop.session.mind import Deadlines
from voiceloop.session.observe import Level, Ready
from voiceloop.session.session import Parts, Session
from voiceloop.session.workers import Workers
from voiceloop.testing import (
    FakeEcho,
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeSynthesizer,
    FakeTranscriber,
    FakeVad,
    Recorder,
    script,
    silence,
    tone,
)

pytestmark = pytest.mark.virtual

TWICE = (-0.5, 1.0, -8.0, 1.0, -8.0)
"""Two questions, with time for an answer after each."""


class Numbers:
    """Speech whose samples count up, so that a lost or doubled one shows. `closed` counts streams that were closed."""

    rate = 24_000

    def __init__(self, *, letter_s: float = 0.06, delay_s: float = 0.1) -> None:
        self.letter_s, self.delay_s = letter_s, delay_s
        self.made: list[Pcm] = []
        self.opened = self.closed = 0

    async def warm_up(self) -> None:
        pass

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        self.opened += 1
        try:
            await asyncio.sleep(self.delay_s)
            left = round(len(text) * self.letter_s * self.rate)
            while left:
                n = min(left, 1111)
                start = sum(map(len, self.made))
                self.made.append((np.arange(start, start + n) % 30_000 + 1).astype(np.int16))
                yield self.made[-1]
                left -= n
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        pass


class Talk:
    """A session with its fakes."""

    def __init__(
        self,
        *mic: float,
        stt: object = None,
        handler: object = None,
        tts: object = None,
        port: object = None,
        strict: bool = True,
        observers: tuple = (),
        **parts: object,
    ) -> None:
        self.port = port or FakePort(script(*mic))
        self.stt = stt or FakeTranscriber(["hello", "again"])
        self.handler = handler or FakeHandler()
        self.tts = tts or FakeSynthesizer()
        self.recorder = Recorder()
        resampler = parts.pop("resampler", FakeResampler)
        made = Parts(self.port, FakeVad(), self.stt, self.handler, self.tts, resampler, **parts)
        self.session = Session(made, [self.recorder, *observers], strict=strict)

    async def run(self) -> Talk:
        await self.session.run()
        self.check()
        return self

    def check(self) -> None:
        """What must be true after every session."""
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was not joined"
        assert self.port.closed == 1
        started = Counter(e.reply for e in self.recorder.of(ev.ReplyStarted))
        ended = Counter(e.reply for e in self.recorder.of(ev.ReplyEnded))
        assert set(ended.values()) <= {1}
        assert started.keys() <= ended.keys()
        opened = [e.turn for e in self.recorder.of(ev.SpeechStarted)]
        assert opened == [e.turn for e in self.recorder.of(ev.SpeechStopped, ev.SpeechRejected)]

    def of(self, *types: type) -> list:
        return list(self.recorder.of(*types))

    @property
    def heard(self) -> list[str]:
        return [e.text for e in self.of(ev.Heard)]

    @property
    def endings(self) -> list[tuple[str, str]]:
        return [(e.ending, e.heard) for e in self.of(ev.ReplyEnded)]

    @property
    def notices(self) -> list[str]:
        return [e.text for e in self.of(ev.Notice)]

    def history(self, call: int) -> list[tuple[str, str]]:
        return [(m.role, m.text) for m in self.handler.asked[call].history]


def sound(port: FakePort) -> Pcm:
    """All that was played, without the silence."""
    out = np.concatenate(port.out)
    return out[out != 0]


# --- question and answer ---


async def test_a_question_gets_an_answer_and_the_next_one_knows_it() -> None:
    talk = await Talk(*TWICE).run()
    assert talk.heard == ["hello", "again"]
    assert talk.endings == [("completed", "You said hello."), ("completed", "You said again.")]
    assert talk.history(0) == []
    assert talk.history(1) == [("user", "hello"), ("assistant", "You said hello.")]
    assert talk.of(Ready) == [Ready(talk.session.id)]
    assert len(talk.of(Level)) > 50


@pytest.mark.parametrize(("tts_s", "ready_ms", "heard_ms"), [(0.05, 580, 620), (0.1, 630, 640)])
async def test_what_ran_ahead_is_heard_right_after_the_decision(tts_s, ready_ms, heard_ms) -> None:
    """Pause 100, words 200, text 230, speech 50 or 100 ms; the decision comes at 600."""
    policy = Policy(wait=ticks(0.6))
    talk = await Talk(*TWICE[:3], policy=policy, tts=FakeSynthesizer(delay_s=tts_s)).run()
    (latency,) = talk.of(Latency)
    assert (latency.words_ms, latency.text_ms, latency.ready_ms) == (300, 510, ready_ms)
    assert latency.released_ms == latency.decided_ms == 600
    assert latency.heard_ms == heard_ms, "in the next frame"
    assert talk.of(ev.Decided)[0].ready is (ready_ms < 600)


async def test_without_running_ahead_the_delays_add_up() -> None:
    talk = await Talk(*TWICE[:3], policy=Policy(run_ahead="none")).run()
    (latency,) = talk.of(Latency)
    assert latency.decided_ms == 600
    assert latency.words_ms == 800
    assert 1110 <= latency.heard_ms <= 1160


async def test_early_work_is_dropped_when_the_person_goes_on() -> None:
    tts = Numbers(delay_s=0.3)
    talk = Talk(-0.5, 1.0, -0.45, 1.0, -0.58, 1.0, -6.0, stt=FakeTranscriber(["one", "one two", "all of it"]), tts=tts)
    await talk.run()
    assert talk.handler.cancelled == 1, "the first was still at it; the second had given all its text"
    assert [t.text for t in talk.handler.asked] == ["one", "one two", "all of it"]
    assert tts.opened == tts.closed == 2, "and was being spoken"
    assert talk.heard == ["all of it"]
    assert talk.endings == [("completed", "You said all of it.")]
    assert len(talk.of(ev.Decided)) == 1


async def test_a_handler_with_side_effects_is_not_asked_early() -> None:
    talk = Talk(-0.5, 1.0, -0.45, 1.0, -6.0, handler=FakeHandler(early=False))
    talk.session.feed(ev.Configure(Policy()))
    await talk.run()
    assert talk.handler.cancelled == 0
    assert [t.rev for t in talk.handler.asked] == [1]


async def test_calls_know_for_whom_they_are_made() -> None:
    errands = []

    class Asking(FakeHandler):
        async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
            errands.append(ERRAND.get())
            yield "Yes."

    talk = await Talk(*TWICE, handler=Asking()).run()
    assert [(e.session, e.turn) for e in errands] == [(talk.session.id, 1), (talk.session.id, 2)]
    assert ERRAND.get() is None


async def test_long_speech_is_transcribed_in_pieces_once() -> None:
    stt = FakeTranscriber(["one", "two", "three", "four"], longest=RATE, delay_s=0.05)
    talk = await Talk(-0.5, 1.6, -0.5, 1.0, -8.0, stt=stt).run()
    assert stt.heard == [0.55, 0.55, 0.9, 0.85, 0.55, 1.0], "the first two pieces are not done again"
    assert talk.heard == ["one two four words words"]


class Lagging(FakeResampler):
    """Holds the last 2000 samples back."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        super().__init__(source_hz, target_hz)
        self.rest = silence(0)

    def process(self, pcm: Pcm) -> Pcm:
        whole = np.concatenate((self.rest, super().process(pcm)))
        cut = max(0, whole.size - 2000)
        self.rest = whole[cut:]
        return whole[:cut]

    def flush(self) -> Pcm:
        rest, self.rest = self.rest, silence(0)
        return rest


async def test_what_the_resampler_holds_back_is_spoken_too() -> None:
    talk = Talk(*TWICE, tts=Numbers(), resampler=Lagging)
    await talk.run()
    assert sound(talk.port).tolist() == np.concatenate(talk.tts.made).tolist()


# --- interruptions ---


LONG = "One two three four five six seven eight nine ten."


async def test_barge_in_leaves_exactly_what_was_heard() -> None:
    stt = FakeTranscriber(["hello", *["again"] * 8])
    talk = Talk(-0.5, 1.0, -2.0, 1.0, -8.0, stt=stt, handler=FakeHandler({"hello": LONG}), tts=Numbers())
    await talk.run()
    ended = talk.of(ev.ReplyEnded)[0]
    letters = talk.port.played[ended.reply] / 24_000 / 0.06
    words, at = [], 0
    for word in LONG.split():
        if at + len(word) / 2 <= letters:
            words.append(word)
        at += len(word) + 1
    assert ended.ending == "interrupted"
    assert ended.heard == " ".join(words) == "One two three four five"
    assert talk.history(-1) == [("user", "hello"), ("assistant", ended.heard)]
    told = talk.handler.asked[-1].history[-1]
    assert (told.said, told.cut_at) == (ended.said, talk.port.played[ended.reply] / 24_000)
    assert ended.said.startswith(LONG[:40])
    assert ended.cut_at == talk.port.played[ended.reply]
    assert talk.endings[-1] == ("completed", "You said again.")
    first = talk.port.played[ended.reply]
    assert (sound(talk.port)[:first] == np.concatenate(talk.tts.made)[:first]).all()


@pytest.mark.parametrize("noise", [0.06, 0.08, 0.5])
async def test_a_noise_holds_the_reply_and_no_sample_is_lost(noise) -> None:
    talk = Talk(
        -0.5,
        1.0,
        -2.0,
        noise,
        -1.5,
        noise,
        -8.0,
        stt=FakeTranscriber(["hello", *[""] * 8]),
        handler=FakeHandler({"hello": LONG}),
        tts=Numbers(),
    )
    await talk.run()
    assert [e.state for e in talk.of(ev.StateChanged)].count("hearing") == 3
    assert talk.endings == [("completed", LONG)]
    assert sound(talk.port).tolist() == np.concatenate(talk.tts.made).tolist()


async def test_flush_and_off() -> None:
    mic = (-0.5, 1.0, -2.0, 0.5, -8.0)
    stt = ["hello", "", ""]
    flush = await Talk(
        *mic, stt=FakeTranscriber(stt), handler=FakeHandler({"hello": LONG}), policy=Policy(barge_in="stop")
    ).run()
    assert [ending for ending, _ in flush.endings] == ["interrupted"]
    off = await Talk(
        *mic, stt=FakeTranscriber(stt), handler=FakeHandler({"hello": LONG}), policy=Policy(barge_in="ignore")
    ).run()
    assert off.endings == [("completed", LONG)]
    assert len(off.of(ev.SpeechStarted)) == 1


@pytest.mark.parametrize("cancelled", [True, False])
async def test_the_echo_of_a_reply_is_not_a_person(cancelled) -> None:
    talk = Talk(
        port=FakePort(script(*TWICE[:3]), echo=1.0),
        handler=FakeHandler({"hello": LONG}),
        stt=FakeTranscriber(["hello", "", "", ""]),
        echo=FakeEcho() if cancelled else None,
    )
    await talk.run()
    assert (len(talk.of(ev.SpeechStarted)) == 1) is cancelled
    assert talk.endings == [("completed", LONG)]


async def test_say_and_interrupt_and_mute() -> None:
    talk = Talk(-1.5, 1.0, -2.3, 1.0, -6.0, handler=FakeHandler({"hello": LONG}))
    loop, session = asyncio.get_running_loop(), talk.session
    assert session.say("Welcome.") == -1
    loop.call_later(4.5, session.feed, ev.Interrupt())
    loop.call_later(4.6, session.feed, ev.Mute(True))
    loop.call_later(6.0, session.feed, ev.Mute(False))
    loop.call_later(6.5, session.feed, ev.Respond("typed"))
    await talk.run()
    assert talk.endings[0] == ("completed", "Welcome.")
    assert talk.endings[1][0] == "interrupted"
    assert talk.endings[2] == ("completed", "You said typed.")
    assert talk.heard == ["hello", "typed"]
    assert talk.history(-1)[:2] == [("assistant", "Welcome."), ("user", "hello")]


async def test_too_much_before_the_session_listens() -> None:
    talk = Talk(-0.1)
    for _ in range(64):
        talk.session.feed(ev.Tick())
    with pytest.raises(RuntimeError, match="does not listen yet"):
        talk.session.say("One more.")
    await talk.run()


# --- what goes wrong ---


class Odd(FakeHandler):
    """Does something else the first time."""

    def __init__(self, first: Callable[[], AsyncGenerator[str, None]]) -> None:
        super().__init__()
        self.first = first
        self.calls = 0

    def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        self.calls += 1
        if turn.text == "hello":
            self.asked.append(turn)
            return self.first()
        return super().reply(turn)


async def raises() -> AsyncGenerator[str, None]:
    yield "Well, "
    raise ProviderError("The service is tired.", stage="handler")


async def breaks() -> AsyncGenerator[str, None]:
    yield "Well, "
    raise ZeroDivisionError


async def hangs() -> AsyncGenerator[str, None]:
    yield "Well, "
    await asyncio.Event().wait()


async def hangs_at_once() -> AsyncGenerator[str, None]:
    await asyncio.Event().wait()
    yield ""


async def yields_nothing() -> AsyncGenerator[str, None]:
    return
    yield ""


async def yields_empty_pieces() -> AsyncGenerator[str, None]:
    while True:
        await asyncio.sleep(0.5)
        yield ""


async def is_cancelled_by_others() -> AsyncGenerator[str, None]:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future
    yield ""


SORRY = Policy().sorry_handler


@pytest.mark.parametrize("run_ahead", ["none", "speech"])
@pytest.mark.parametrize(
    ("first", "notice", "ending"),
    [
        (raises, "The service is tired.", ("failed", f"Well, {SORRY}")),
        (
            breaks,
            "Something is broken in the handler stage (ZeroDivisionError).",
            ("failed", f"Well, {SORRY}"),
        ),
        (hangs, "The handler gave nothing for 3 seconds.", ("failed", f"Well, {SORRY}")),
        (hangs_at_once, "The handler gave nothing for 3 seconds.", ("failed", SORRY)),
        (yields_nothing, "The handler gave no answer.", ("empty", "")),
        (yields_empty_pieces, "The handler gave nothing for 3 seconds.", ("failed", SORRY)),
        (is_cancelled_by_others, "The handler stage gave up.", ("failed", SORRY)),
    ],
)
async def test_a_handler_that_fails_does_not_end_the_session(first, notice, ending, run_ahead) -> None:
    talk = Talk(
        -0.5,
        1.0,
        -14.0,
        1.0,
        -8.0,
        handler=Odd(first),
        strict=False,
        deadlines=Deadlines(handler_s=3),
        policy=Policy(run_ahead=run_ahead),
    )
    await talk.run()
    assert talk.notices == [notice]
    assert talk.endings == [ending, ("completed", "You said again.")]
    assert talk.history(-1)[0] == ("user", "hello")


async def test_a_handler_without_end_is_cut() -> None:
    closed = []

    async def endless() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "On and on it goes. "
        finally:
            closed.append(True)

    talk = Talk(
        -0.5,
        1.0,
        -30.0,
        1.0,
        -8.0,
        handler=Odd(endless),
        policy=Policy(max_reply_chars=200),
        tts=FakeSynthesizer(letter_s=0.03),
    )
    await talk.run()
    assert closed == [True]
    assert talk.notices == ["The reply was too long; the rest of it was dropped."]
    assert [ending for ending, _ in talk.endings] == ["completed", "completed"]
    assert len(talk.endings[0][1]) <= 200


async def test_a_handler_that_blocks_its_thread() -> None:
    workers, free = Workers(), threading.Event()

    async def blocks() -> AsyncGenerator[str, None]:
        await workers.call(free.wait)
        yield "too late"

    talk = Talk(-0.5, 1.0, -14.0, 1.0, -8.0, handler=Odd(blocks), deadlines=Deadlines(handler_s=3))
    try:
        await talk.run()
    finally:
        free.set()
        workers.close()
    assert talk.notices == ["The handler gave nothing for 3 seconds."]
    assert [ending for ending, _ in talk.endings] == ["failed", "completed"]


class OddEars(FakeTranscriber):
    """Hangs the first `n` times."""

    def __init__(self, n: int) -> None:
        super().__init__(["again"])
        self.n = n

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        self.n -= 1
        if self.n >= 0:
            await asyncio.Event().wait()
        return await super().transcribe(pcm)


BROKEN = ProviderError("The service is tired.", stage="stt")


@pytest.mark.parametrize(
    ("stt", "notice"),
    [
        (lambda: FakeTranscriber([BROKEN, BROKEN, "again"]), "The service is tired."),
        (
            lambda: FakeTranscriber([ZeroDivisionError(), ZeroDivisionError(), "again"]),
            "Something is broken in the stt stage (ZeroDivisionError).",
        ),
        (lambda: FakeTranscriber([TimeoutError(), TimeoutError(), "again"]), None),
        (lambda: OddEars(1), "Speech recognition gave nothing for 3 seconds."),
    ],
)
async def test_words_that_cannot_be_had_are_asked_for_again_and_then_excused(stt, notice) -> None:
    talk = Talk(-0.5, 1.0, -12.0, 1.0, -8.0, stt=stt(), strict=False, deadlines=Deadlines(stt_s=3))
    await talk.run()
    assert [notice or "Something is broken in the stt stage (TimeoutError)."] == talk.notices
    assert [e.reason for e in talk.of(ev.TurnDropped)] == ["failed"]
    assert talk.endings == [("completed", Policy().sorry_stt), ("completed", "You said again.")]


class OddVoice(FakeSynthesizer):
    """Gives `n` chunks of the first answer, and then something else."""

    def __init__(self, n: int, then: Callable[[], object], **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n, self.then = n, then

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        if "again" in text:
            async for chunk in super().speak(text):
                yield chunk
            return
        for _ in range(self.n):
            yield tone(0.1, rate=self.rate)
        found = self.then()
        if isinstance(found, Exception):
            raise found
        await found


def hang() -> object:
    return asyncio.Event().wait()


@pytest.mark.parametrize(
    ("n", "then", "notice", "ending"),
    [
        (0, lambda: ProviderError("No voice.", stage="tts"), "No voice.", ("failed", "")),
        (3, lambda: ProviderError("No voice.", stage="tts"), "No voice.", ("failed", "You said hello.")),
        (3, hang, "Speech synthesis gave nothing for 3 seconds.", ("failed", "You said hello.")),
        (0, hang, "Speech synthesis gave nothing for 3 seconds.", ("failed", "")),
        (0, lambda: asyncio.sleep(0), "Speech synthesis made no sound of the reply.", ("empty", "")),
        (9999, lambda: asyncio.sleep(0), "Speech synthesis does not come to an end.", ("failed", "You said hello.")),
    ],
)
@pytest.mark.parametrize("run_ahead", ["none", "speech"])
async def test_a_voice_that_fails_does_not_end_the_session(n, then, notice, ending, run_ahead) -> None:
    talk = Talk(
        -0.5,
        1.0,
        -20.0 if n < 99 else -140.0,
        1.0,
        -8.0,
        tts=OddVoice(n, then),
        deadlines=Deadlines(tts_s=3),
        policy=Policy(run_ahead=run_ahead),
    )
    await talk.run()
    assert talk.notices == [notice]
    assert talk.endings == [ending, ("completed", "You said again.")]
    said = [("assistant", ending[1])] if ending[1] else []
    assert talk.history(-1) == [("user", "hello"), *said]


async def test_a_bug_ends_a_strict_session() -> None:
    talk = Talk(*TWICE, handler=Odd(breaks))
    with pytest.raises(ZeroDivisionError):
        await talk.session.run()
    talk.check()


@pytest.mark.parametrize("run_ahead", ["none", "speech"])
async def test_what_is_asked_for_while_a_session_breaks_is_not_begun(run_ahead) -> None:
    def strict(event: object) -> None:
        if isinstance(event, ev.Heard):
            talk.session.say("More.")
            raise ZeroDivisionError

    talk = Talk(*TWICE, observers=(strict,), policy=Policy(run_ahead=run_ahead))
    with pytest.raises(ZeroDivisionError):
        await talk.session.run()
    gc.collect()
    talk.check()
    assert "More." not in talk.tts.spoken


async def test_a_session_leaves_nothing_behind() -> None:
    """Not even the timer of its sign of life."""
    talk = Talk(port=FakePort(silence(0), ends=False), handler=FakeHandler(delay_s=9))
    talk.session.feed(ev.Respond("typed"))
    asyncio.get_running_loop().call_later(1, talk.session.close)
    await talk.run()
    session = weakref.ref(talk.session)
    del talk
    gc.collect()
    assert session() is None


async def test_a_voice_that_waits_for_playback_is_closed_when_it_is_dropped() -> None:
    class Slow(Numbers):
        async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
            async with aclosing(super().speak(text)) as chunks:
                try:
                    async for chunk in chunks:
                        yield chunk
                finally:
                    await asyncio.sleep(1)

    talk = Talk(*TWICE[:3], tts=Slow(letter_s=4))
    asyncio.get_running_loop().call_later(4, talk.session.close)
    await talk.run()
    assert talk.tts.opened == talk.tts.closed == 1


async def test_a_bug_in_what_follows_from_a_timer_ends_the_session() -> None:
    def strict(event: object) -> None:
        if isinstance(event, ev.ReplyStarted):
            raise ZeroDivisionError

    talk = Talk(observers=(strict,), port=FakePort(silence(0), ends=False), handler=FakeHandler(delay_s=9))
    talk.session.feed(ev.Respond("typed"))
    with pytest.raises(ZeroDivisionError):
        await talk.session.run()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_silence_only() -> None:
    talk = await Talk(-60.0).run()
    assert talk.of(ev.SpeechStarted, ev.ReplyStarted, ev.Notice, ev.StateChanged) == []


async def test_speech_longer_than_the_longest_turn() -> None:
    stt = FakeTranscriber(["one", "two", "three"])
    talk = await Talk(-0.5, 25.0, -9.0, stt=stt, policy=Policy(max_turn=ticks(10))).run()
    assert talk.heard == ["one", "two", "three"]
    assert [e.cause for e in talk.of(ev.SpeechStopped)] == ["cap", "cap", "silence"]
    starts = talk.of(ev.SpeechStarted)
    stops = talk.of(ev.SpeechStopped)
    assert [e.continues for e in starts] == [False, True, True]
    assert [e.start for e in starts[1:]] == [e.end for e in stops[:2]], "no sample is lost"
    assert talk.endings[-1] == ("completed", "You said three.")
    assert sum(stt.heard) >= 25.0


async def test_twenty_minutes_of_noise_keep_memory_bounded() -> None:
    marks: dict[int, int] = {}
    talk: Talk

    def measure(event: object) -> None:
        if isinstance(event, ev.SpeechStarted) and event.turn in (5, 20):
            gc.collect()
            marks[event.turn] = sum(map(sys.getsizeof, gc.get_objects()))
            assert len(asyncio.all_tasks()) < 8
        if isinstance(event, Level | ev.Trace):
            talk.port.out.clear()
            talk.recorder.events.remove(event)

    noise = np.random.default_rng(1).integers(-9000, 9000, 1200 * RATE, dtype=np.int16)
    mic = np.concatenate([noise, silence(8 * RATE), tone(1.0), silence(8 * RATE)])
    stt = FakeTranscriber(listen=lambda pcm: "hello" if np.abs(np.diff(pcm.astype(int))).mean() < 2000 else "")
    talk = Talk(port=FakePort(mic), stt=stt, observers=(measure,))
    await talk.run()
    assert marks[20] < marks[5] + 20_000
    assert talk.heard == ["hello"]
    assert talk.endings == [("completed", "You said hello.")]


# --- the end ---


async def test_a_lost_port_ends_the_session() -> None:
    talk = Talk(port=FakePort(script(*TWICE), lost_after=110))
    with pytest.raises(DeviceError, match="lost"):
        await talk.session.run()
    talk.check()


class BadPort(FakePort):
    """Fails at one call."""

    bad = ""

    def _fail(self, name: str) -> None:
        if name == self.bad:
            raise DeviceError("The device is gone.") from OSError("cable")

    async def open(self) -> None:
        self._fail("open")
        await super().open()

    async def write(self, reply: int, pcm: Pcm) -> None:
        self._fail("write")
        await super().write(reply, pcm)

    def hold(self, reply: int) -> int:
        self._fail("hold")
        return super().hold(reply)


@pytest.mark.parametrize("bad", ["open", "write", "hold"])
async def test_a_port_that_fails_ends_the_session_with_its_own_error(bad) -> None:
    port = BadPort(script(-0.5, 1.0, -2.0, 1.0, -8.0))
    port.bad = bad
    talk = Talk(port=port, handler=FakeHandler({"hello": LONG}))
    with pytest.raises(DeviceError, match="gone") as caught:
        await talk.session.run()
    assert isinstance(caught.value.__cause__, OSError), "what it was about is kept"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert port.closed == 1


async def test_an_engine_that_cannot_start() -> None:
    class Cold(FakeTranscriber):
        async def warm_up(self) -> None:
            await asyncio.sleep(1)
            raise ProviderError("No model.", stage="stt")

    talk = Talk(-1.0, stt=Cold())
    with pytest.raises(ProviderError, match="No model"):
        await talk.session.run()
    talk.check()
    assert talk.port.opened == 0


STATES = ["hearing", "thinking", "speaking", "paused", "listening"]


async def check_nothing_follows(talk: Talk) -> None:
    n = len(talk.recorder.events)
    talk.session.close()
    talk.session.close()
    talk.session.feed(ev.Tick())
    talk.session.say("Anybody there?")
    await asyncio.sleep(60)
    assert len(talk.recorder.events) == n
    assert talk.port.closed == 1
    with pytest.raises(RuntimeError, match="once"):
        await talk.session.run()


@pytest.mark.parametrize("how", ["close", "cancel", "late close"])
@pytest.mark.parametrize("state", STATES)
async def test_it_can_be_ended_in_every_state(state, how) -> None:
    reached = asyncio.Event()

    def watch(event: object) -> None:
        if event == ev.StateChanged(state):
            if how == "close":
                talk.session.close()
                talk.session.close()
            reached.set()

    talk = Talk(
        -0.5,
        1.0,
        -2.0,
        0.5,
        -9.0,
        stt=FakeTranscriber(["hello", ""]),
        handler=FakeHandler({"hello": LONG}),
        tts=Numbers(),
        policy=Policy(run_ahead="none"),
        observers=(watch,),
    )

    async def end() -> None:
        await reached.wait()
        if how == "cancel":
            running.cancel()
        elif how == "late close":
            await asyncio.sleep(0.123)
            talk.session.close()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(talk.session.run())
        group.create_task(end())
    assert running.cancelled() is (how == "cancel")
    talk.check()
    assert talk.tts.opened == talk.tts.closed
    n_played = sum(talk.port.played.values())
    await check_nothing_follows(talk)
    assert sum(talk.port.played.values()) == n_played


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_it_can_be_ended_while_engines_warm_up(how) -> None:
    class Slow(FakeHandler):
        async def warm_up(self) -> None:
            await asyncio.sleep(3600)

    talk = Talk(-1.0, handler=Slow())
    talk.session.say("Not yet.")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(talk.session.run())
        group.get_loop = asyncio.get_running_loop().call_later(
            1.0, talk.session.close if how == "close" else running.cancel
        )
    assert asyncio.get_running_loop().time() < 10
    talk.check()
    assert talk.recorder.events == []
    await check_nothing_follows(talk)


async def test_closed_before_it_runs() -> None:
    talk = Talk(port=FakePort(silence(0), ends=False))
    talk.session.close()
    await talk.run()
    assert talk.port.opened == 0
    await check_nothing_follows(talk)


async def test_close_tells_how_everything_ended() -> None:
    talk = Talk(-0.5, 1.0, -2.0, 1.0, -9.0, handler=FakeHandler({"hello": LONG}))
    asyncio.get_running_loop().call_later(4.0, talk.session.close)
    talk.session.feed(ev.Tick())
    await talk.run()
    assert talk.of(ev.SpeechRejected) == [ev.SpeechRejected(2, "closed")]
    assert [ending for ending, _ in talk.endings] == ["interrupted"]
    assert talk.of(ev.StateChanged)[-1].state == "listening"


# --- observers ---


async def test_an_observer_that_raises_is_not_heard_of() -> None:
    seen = []

    def clumsy(event: object) -> None:
        seen.append(event)
        raise ZeroDivisionError

    talk = await Talk(*TWICE[:3], observers=(clumsy,), strict=False).run()
    assert talk.endings == [("completed", "You said hello.")]
    assert seen == talk.recorder.events


async def test_an_observer_may_speak_and_add_another() -> None:
    late = Recorder()

    def chatty(event: object) -> None:
        if isinstance(event, ev.Heard):
            assert talk.session.say("Let me see.") == -1
            talk.session.news.add(late)

    talk = Talk(*TWICE[:3], observers=(chatty,))
    await talk.run()
    assert talk.endings == [("completed", "You said hello."), ("completed", "Let me see.")]
    assert any(isinstance(e, ev.ReplyEnded) for e in late.events)
    heard = talk.recorder.events.index(talk.of(ev.Heard)[0])
    started = talk.recorder.events.index(talk.of(ev.ReplyStarted)[0])
    assert heard < started, "each step is told before the next"


async def test_a_step_that_raises_does_not_block_the_next() -> None:
    def strict(event: object) -> None:
        if isinstance(event, ev.ReplyEnded) and event.reply == -1:
            talk.session.say("Second.")
            raise ZeroDivisionError

    talk = Talk(-3.0, observers=(strict,))

    def say() -> None:
        with pytest.raises(ZeroDivisionError):
            talk.session.say(" . ")
        talk.session.say("Third.")

    asyncio.get_running_loop().call_later(0.5, say)
    await talk.run()
    assert talk.endings == [("empty", ""), ("completed", "Second."), ("completed", "Third.")]


# --- clocks ---


async def test_stepped_and_paced_give_the_same() -> None:
    def once(stepped: bool) -> Talk:
        mic = script(-0.5, 1.0, -2.0, 0.08, -3.0, 1.0, -0.3, 0.5, -2.0, 1.0, -8.0)
        return Talk(
            port=FakePort(mic, stepped=stepped),
            stt=FakeTranscriber(["hello", "and", "and this", "stop"], delay_s=0),
            handler=FakeHandler({"hello": LONG, "and this": LONG}, delay_s=0, word_s=0),
            tts=FakeSynthesizer(delay_s=0),
        )

    paced, stepped = await once(False).run(), await once(True).run()

    def plain(talk: Talk) -> list[object]:
        return [replace(e, session="") if isinstance(e, Ready) else e for e in talk.recorder.events]

    assert plain(stepped) == plain(paced)
    assert np.concatenate(stepped.port.out).tolist() == np.concatenate(paced.port.out).tolist()
    assert [e for e, _ in paced.endings] == ["completed", "interrupted", "completed"]


async def test_a_stepped_session_waits_for_its_engines() -> None:
    talk = await Talk(port=FakePort(script(*TWICE), stepped=True), handler=FakeHandler(delay_s=20)).run()
    assert talk.endings == [("completed", "You said hello."), ("completed", "You said again.")]
    assert [latency.heard_ms for latency in talk.of(Latency)] == [620, 620]


async def test_a_stepped_session_plays_more_than_its_buffers_hold() -> None:
    text = "word " * 100 + "end."
    talk = Talk(
        port=FakePort(script(*TWICE[:2], -1.0), stepped=True), handler=FakeHandler({"hello": text}), tts=Numbers()
    )
    await talk.run()
    assert sound(talk.port).tolist() == np.concatenate(talk.tts.made).tolist()
    assert talk.endings[0] == ("completed", text)


async def test_configure_lets_turns_get_longer() -> None:
    stt = FakeTranscriber(["short", "long"])
    talk = Talk(-0.2, 40.0, -8.0, stt=stt, policy=Policy(max_turn=ticks(5)))
    talk.session.feed(ev.Configure(Policy(max_turn=ticks(60))))
    await talk.run()
    assert max(stt.heard) >= 40.0


async def test_lost_samples_are_counted() -> None:
    class Lossy(FakePort):
        async def frames(self) -> AsyncGenerator[Capture, None]:
            async for capture in super().frames():
                yield replace(capture, lost=320)

    talk = await Talk(port=Lossy(silence(3200))).run()
    assert talk.session.lost == 3200
