"""Chains of engines on virtual time: who answers when one fails, is late, stalls, lies, or comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.chain.breaker import Breaker, Usual
from voiceloop.adapters.chain.hearing import HearingChain
from voiceloop.adapters.chain.links import Link
from voiceloop.adapters.chain.speaking import SpeakingChain, Tempo
from voiceloop.core import pace
from voiceloop.core.audio import Pcm, silence
from voiceloop.core.transcript import Segment, Word
from voiceloop.errors import ConfigError, ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.ports import ERRAND, Chooser, Errand, Manner, Timed, Transcript, Translator
from voiceloop.testing import FakeResampler

pytestmark = pytest.mark.virtual


def broken(text: str = "It broke.", *, retryable: bool = True, status: int | None = None) -> ProviderError:
    return ProviderError(text, stage="tts", retryable=retryable, status=status)


# --- the breaker ---


def test_it_opens_after_failures_within_the_window_and_the_pauses_grow() -> None:
    breaker = Breaker(failures=2, window_s=60, pause_s=5, longest_s=15)
    breaker.failed(0)
    breaker.failed(61)
    assert breaker.state(61) == "closed"
    breaker.failed(62)
    assert [breaker.state(t) for t in (62, 66.9, 67)] == ["open", "open", "half_open"]
    assert not breaker.ready(66.9)
    assert breaker.begin(67)
    assert not breaker.ready(67), "one trial at a time"
    assert not breaker.begin(67)
    breaker.failed(68)
    assert [breaker.state(t) for t in (77.9, 78)] == ["open", "half_open"]
    for now in (78, 93, 108):  # 10 s, then never more than 15
        assert breaker.begin(now)
        breaker.failed(now)
        assert (breaker.ready(now + 14.9), breaker.ready(now + 15)) == (False, True)
    assert breaker.begin(123)
    breaker.dropped()
    assert breaker.ready(123), "a trial that says nothing is none"
    breaker.begin(123)
    breaker.succeeded()
    assert breaker.state(123) == "closed"
    breaker.failed(124)
    assert breaker.state(124) == "closed", "and begins anew"


def test_what_will_not_heal_opens_it_at_once_and_for_longer() -> None:
    breaker = Breaker(pause_s=5, refused_s=60)
    breaker.failed(0, heals=False)
    assert [breaker.state(t) for t in (0, 59, 60)] == ["open", "open", "half_open"]
    late = Breaker(pause_s=5, refused_s=60)
    late.failed(0)
    late.failed(0)
    late.failed(1, heals=False)
    assert [late.state(t) for t in (60, 61)] == ["open", "half_open"]


def test_failures_of_calls_from_before_change_nothing_while_it_is_open() -> None:
    breaker = Breaker(pause_s=5)
    breaker.failed(0)
    breaker.failed(0)
    breaker.failed(4)
    assert breaker.state(5) == "half_open"


def test_the_usual_time_is_the_95th_percentile_of_the_last_ones() -> None:
    usual = Usual(first_s=2, floor_s=0.3, enough=10, n=100)
    for ms in range(9):
        usual.add(ms / 1000)
    assert usual.p95_s == 2
    for ms in range(9, 100):
        usual.add(ms / 100)
    assert usual.p95_s == 0.94
    for _ in range(100):
        usual.add(0.01)
    assert usual.p95_s == 0.3


# --- voices ---


class Voice:
    """Says each letter as 20 ms of its number; does as it is told in `acts`, call by call: None is well,
    an exception is raised after `breaks_at` letters, "hang" stops there for ever. Keeps what it was asked."""

    def __init__(
        self, *acts: object, rate: int = 24_000, breaks_at: int = 0, first_s: float = 0.1, voices: tuple[str, ...] = ()
    ) -> None:
        self.acts, self.rate, self.breaks_at, self.first_s, self.voices = list(acts), rate, breaks_at, first_s, voices
        self.asked: list[str] = []
        self.manners: list[Manner | None] = []
        self.open = self.warm = self.closed = 0
        self.number = 1000

    async def warm_up(self) -> None:
        self.warm += 1

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        self.asked.append(text)
        self.manners.append(manner)
        act = self.acts.pop(0) if self.acts else None
        self.open += 1
        try:
            await asyncio.sleep(self.first_s)
            for n, _ in enumerate(text):
                if act is not None and n == self.breaks_at:
                    if isinstance(act, Exception):
                        raise act
                    await asyncio.Event().wait()
                yield np.full(self.rate // 50, self.number, np.int16)
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        self.closed += 1


def chain(*voices: Voice, local: int = 1, **options: object) -> SpeakingChain:
    """The last `local` voices need no service. Each is known by its number, 1000, 2000, ..."""
    links = []
    for n, voice in enumerate(voices):
        voice.number = 1000 * (n + 1)
        links.append(Link(f"v{n + 1}", voice, local=n >= len(voices) - local))
    return SpeakingChain(links, FakeResampler, **{"late_s": 4.0, **options})


async def said(engine: SpeakingChain, text: str = "Good day to you.", **options: object) -> dict[int, float]:
    """Seconds of speech by each voice."""
    pcm = [silence(0)]
    async with aclosing(engine.speak(text, **options)) as chunks:
        async for chunk in chunks:
            assert chunk.size
            pcm.append(chunk)
    whole = np.concatenate(pcm)
    return {n: round(s, 2) for n in (1, 2, 3) if (s := int((whole == 1000 * n).sum()) / engine.rate) > 0.01}


@pytest.fixture
def told() -> list[str]:
    """What the user is told in reply 1 of a session; `reply` starts others."""
    texts: list[str] = []
    reply(1, texts)
    return texts


def reply(number: int, texts: list[str]) -> None:
    ERRAND.set(Errand("s", 1, number, texts.append))


def in_reply(test: Callable[[list[str]], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Runs a test as the session does: inside reply 1. Its argument is what the user is told."""

    async def wrapped() -> None:
        texts: list[str] = []
        reply(1, texts)
        await test(texts)

    wrapped.__name__ = test.__name__
    return wrapped


@in_reply
async def test_the_favourite_speaks(texts: list[str]) -> None:
    one, two = Voice(), Voice()
    engine = chain(one, two)
    await engine.warm_up()
    assert await said(engine) == {1: 0.32}
    assert (one.warm, two.warm, two.asked, texts) == (1, 1, [], [])
    await engine.aclose()
    assert (one.closed, two.closed) == (1, 1)


@in_reply
async def test_who_fails_before_a_sound_is_replaced_for_the_rest_of_the_reply(texts: list[str]) -> None:
    one, two = Voice(broken()), Voice()
    engine = chain(one, two)
    assert await said(engine) == {2: 0.32}
    assert await said(engine) == {2: 0.32}, "no switching back within a reply"
    assert texts == ["It broke. Meanwhile v2 is used."]
    reply(2, texts)
    assert await said(engine) == {1: 0.32}
    assert texts[1:] == ["v1 is back."]


@in_reply
async def test_who_breaks_in_the_middle_is_followed_from_a_word_that_was_surely_said(texts: list[str]) -> None:
    text = "I will bring the umbrella because it may rain in the afternoon."
    one, two = Voice(*[None] * 9, broken(), breaks_at=30), Voice()
    engine = chain(one, two)
    for _ in range(9):
        await said(engine, text)  # learns how fast it speaks
    found = await said(engine, text)
    (rest,) = two.asked
    assert found[1] == pytest.approx(0.6, abs=0.02)
    assert text.endswith(rest)
    assert text[30:] in rest, "nothing is lost"
    assert len(rest) < len(text) - 10, "most of what was heard is not said again"
    assert texts == ["It broke. Meanwhile v2 is used."]


@in_reply
async def test_a_broken_speech_ends_without_a_click(texts: list[str]) -> None:
    engine = chain(Voice(broken(), breaks_at=10), Voice())
    async with aclosing(engine.speak("Good day to you.")) as chunks:
        whole = np.concatenate([chunk async for chunk in chunks]).astype(int)
    end = int(np.flatnonzero(whole == 1000)[-1])
    assert np.abs(np.diff(whole[end : end + 2000])).max() < 50


@in_reply
async def test_a_stall_in_the_middle_waits_for_what_was_said_and_no_longer(texts: list[str]) -> None:
    one, two = Voice("hang", breaks_at=50), Voice()
    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await said(chain(one, two, late_s=2.0), "x" * 48 + " and some more words at the end of it")
    assert found[1] == pytest.approx(1.0, abs=0.02)
    assert loop.time() - began == pytest.approx(0.1 + 1.0 + 2.0 + 0.1, abs=0.05)
    assert texts[0].startswith("v1 gave nothing within ")
    assert one.open == 0


@in_reply
async def test_who_is_late_is_passed_over(texts: list[str]) -> None:
    one, two = Voice("hang"), Voice()
    began = asyncio.get_running_loop().time()
    assert await said(chain(one, two, late_s=2.0)) == {2: 0.32}
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.1)
    assert one.open == 0
    assert texts == ["v1 gave nothing within 2 s: it is overloaded or gone. Meanwhile v2 is used."]


async def test_the_last_one_may_take_its_time() -> None:
    assert await said(chain(Voice(broken()), Voice(first_s=60))) == {2: 0.32}


async def test_the_first_error_is_raised_when_all_fail() -> None:
    engine = chain(Voice(broken("First.")), Voice(broken("Second.")))
    with pytest.raises(ProviderError, match="First"):
        await said(engine)


async def test_the_last_one_breaks_in_the_middle() -> None:
    engine = chain(Voice(broken("First.")), Voice(broken("Second."), breaks_at=3))
    with pytest.raises(ProviderError, match="Second"):
        await said(engine)


async def test_a_broken_service_is_left_alone_and_comes_back() -> None:
    one, two = Voice(*[broken()] * 3), Voice()
    engine = chain(one, two)
    for _ in range(5):
        assert await said(engine) == {2: 0.32}
    assert len(one.asked) == 2, "open after two failures"
    await asyncio.sleep(5)
    assert await said(engine) == {2: 0.32}
    assert len(one.asked) == 3, "the trial"
    await asyncio.sleep(5)
    assert await said(engine) == {2: 0.32}
    assert len(one.asked) == 3, "the pause has doubled"
    await asyncio.sleep(5)
    assert await said(engine) == {1: 0.32}
    assert await said(engine) == {1: 0.32}


async def test_nobody_waits_for_a_trial() -> None:
    one, two = Voice(broken(), broken(), "hang", "hang"), Voice()
    engine, loop = chain(one, two), asyncio.get_running_loop()
    for _ in range(2):
        await said(engine)
    await asyncio.sleep(5)
    began = loop.time()
    assert await said(engine) == {2: 0.32}
    assert loop.time() - began == pytest.approx(2.0 + 0.1), "what is usual, not what is late"
    assert (len(one.asked), one.open) == (3, 0)
    await asyncio.sleep(9)
    await said(engine)
    assert len(one.asked) == 3, "a trial that is too slow has failed"


async def test_a_speech_that_breaks_every_time_opens_the_circuit_too() -> None:
    one = Voice(*[broken()] * 9, breaks_at=4)
    engine = chain(one, Voice())
    for _ in range(4):
        await said(engine)
    assert len(one.asked) == 2


@pytest.mark.parametrize(("error", "asked"), [(broken(retryable=False, status=401), 1), (broken(status=400), 4)])
async def test_what_will_not_heal_and_what_is_the_requests_own_fault(error: ProviderError, asked: int) -> None:
    one = Voice(*[error] * 9)
    engine = chain(one, Voice())
    for _ in range(4):
        assert await said(engine) == {2: 0.32}
    assert len(one.asked) == asked


async def test_where_all_are_broken_they_are_asked_all_the_same() -> None:
    one, two = Voice(*[broken("One.")] * 3), Voice(*[broken("Two.")] * 2)
    engine = chain(one, two)
    for _ in range(2):
        with pytest.raises(ProviderError):
            await said(engine)
    assert await said(engine) == {2: 0.32}
    assert len(one.asked) == 3


async def test_rates_are_made_one() -> None:
    assert await said(chain(Voice(broken()), Voice(rate=12_000))) == {2: 0.32}


async def test_a_voice_that_a_link_does_not_know_is_not_asked_of_it() -> None:
    one, two = Voice(broken()), Voice(voices=("heart",))
    engine = chain(one, two)
    assert engine.voices == ()
    await said(engine, manner=Manner(voice="alloy", speed=1.5, model="tts-1"))
    assert one.manners == [Manner(voice="alloy", speed=1.5, model="tts-1")]
    assert two.manners == [Manner(speed=1.5)]


@pytest.mark.parametrize("first_s", [0.2, 1.9])
async def test_no_hedge_for_what_is_as_usual(first_s: float) -> None:
    one, two = Voice(first_s=first_s), Voice()
    engine = chain(one, two, hedge=True)
    assert await said(engine) == {1: 0.32}
    assert two.asked == []
    assert (engine.counts.calls, engine.counts.hedges, engine.counts.wins) == (1, 0, 0)


@pytest.mark.parametrize(("slow_s", "who", "took_s", "wins"), [(9.0, 2, 2.1, 1), (2.05, 1, 2.05, 0)])
async def test_the_first_of_two_speaks(slow_s: float, who: int, took_s: float, wins: int) -> None:
    one, two = Voice(first_s=slow_s), Voice()
    engine = chain(one, two, hedge=True, late_s=20.0)
    began = asyncio.get_running_loop().time()
    assert await said(engine) == {who: 0.32}
    assert asyncio.get_running_loop().time() - began == pytest.approx(took_s)
    assert (engine.counts.hedges, engine.counts.wins) == (1, wins)
    assert (one.open, two.open) == (0, 0)
    assert (len(one.asked), len(two.asked)) == (1, 1)


async def test_the_loser_of_a_race_goes_on_when_the_winner_breaks() -> None:
    one, two = Voice(broken(), first_s=2.05, breaks_at=5), Voice(first_s=3.0)
    engine = chain(one, two, hedge=True, late_s=20.0)
    found = await said(engine)
    assert found[1] == pytest.approx(0.1, abs=0.01)
    assert found[2] > 0.1
    assert two.asked == ["Good day to you."] * 2


async def test_a_hedge_that_fails_leaves_the_first_one_its_time() -> None:
    one, two = Voice(first_s=3.0), Voice(broken())
    assert await said(chain(one, two, hedge=True)) == {1: 0.32}


async def test_both_fail_in_a_race_and_a_third_speaks() -> None:
    one, two, three = Voice("hang"), Voice(), Voice(broken())
    assert await said(chain(one, two, three, hedge=True)) == {2: 0.32}
    assert len(three.asked) == 1


async def test_stopping_in_the_middle_closes_what_is_open() -> None:
    one, two = Voice(first_s=9.0), Voice(first_s=9.0)
    engine = chain(one, two, hedge=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await said(engine)
    assert (one.open, two.open, len(two.asked)) == (0, 0, 1)
    async with aclosing(chain(Voice(), two).speak("Hello.")) as chunks:
        await anext(chunks)
    assert two.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_text_without_sound() -> None:
    assert await said(chain(Voice(), Voice()), "") == {}


class Cold(Voice):
    async def warm_up(self) -> None:
        raise ConfigError("It is not installed.")


@in_reply
async def test_a_link_that_cannot_start_is_told_of_and_left_out(texts: list[str]) -> None:
    one, two = Voice(broken()), Cold()
    engine = chain(one, two)
    await engine.warm_up()
    assert texts == ["It is not installed. Meanwhile v1 is used."]
    with pytest.raises(ConfigError):
        await chain(Cold(), Cold()).warm_up()


WORDS = st.lists(st.sampled_from(["a", "of", "showing", "him", "yes,", "because", "afternoon.", "42"]), min_size=1)


@given(WORDS, st.floats(0, 2), st.floats(0.7, 1.25))
def test_no_word_is_lost_by_a_voice_that_is_up_to_a_quarter_slower_than_known(
    words: list[str], share: float, slower: float
) -> None:
    text = " ".join(words)
    n = round(share * pace.length(text) * 1000)
    rest = Tempo(1000.0).rest(text, n)
    assert rest
    assert text.endswith(rest)
    said = text[: len(text) - len(rest)].rstrip()
    assert all(word.stop * 1000 * slower <= n + 1 for word in pace.words(text) if word.end <= len(said))


# --- ears ---


class Ear:
    """Answers as it is told, call by call: an exception, a text, or None for its name; after `delay_s`."""

    def __init__(self, name: str, *acts: object, delay_s: float = 0.1, longest: int | None = None) -> None:
        self.name, self.acts, self.delay_s, self.longest = name, list(acts), delay_s, longest
        self.heard: list[int] = []
        self.running = 0

    async def warm_up(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        self.heard.append(pcm.size)
        self.running += 1
        try:
            act = self.acts.pop(0) if self.acts else None
            await asyncio.sleep(1e9 if act == "hang" else self.delay_s)
            if isinstance(act, Exception):
                raise act
            return Transcript(self.name if act is None else str(act), language)
        finally:
            self.running -= 1


class Knowing(Ear):
    """Can all that a transcriber may."""

    async def choose(self, pcm: Pcm, phrases: list[str]) -> tuple[Transcript, tuple[float, ...]]:
        return Transcript(f"chosen by {self.name}"), tuple(0.0 for _ in phrases)

    async def transcribe_timed(
        self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0
    ) -> Transcript:
        self.heard.append(pcm.size)
        return Transcript("w", segments=(Segment("w", 0.5, 1.0, words=(Word("w", 0.5, 1.0),)),))

    async def translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        return Transcript(f"translated by {self.name}")


SECOND = silence(16_000)


def ears(*made: Ear, **options: object) -> HearingChain:
    links = [Link(ear.name, ear, local=n > 0) for n, ear in enumerate(made)]
    return HearingChain(links, **{"late_s": 2.0, **options})


async def test_the_next_one_hears_what_the_first_one_cannot() -> None:
    one, two = Ear("one", broken()), Ear("two")
    engine = ears(one, two)
    assert (await engine.transcribe(SECOND, language="de")) == Transcript("two", "de")
    assert (await engine.transcribe(SECOND)).text == "one"


async def test_late_is_later_for_a_longer_sound() -> None:
    engine, loop = ears(Ear("one", "hang"), Ear("two")), asyncio.get_running_loop()
    began = loop.time()
    assert (await engine.transcribe(silence(160_000))).text == "two"
    assert loop.time() - began == pytest.approx(2.0 + 5.0 + 0.1)


async def test_what_is_too_long_for_the_next_one_is_cut() -> None:
    two = Knowing("two", longest=32_000)
    engine = ears(Ear("one", broken()), two)
    assert engine.longest is None
    assert (await engine.transcribe(silence(80_000))).text.split() == ["two"] * len(two.heard)
    assert len(two.heard) >= 3
    assert max(two.heard) <= 32_000
    two.heard.clear()
    found = await engine.transcribe_timed(silence(80_000))
    assert found.segments[1].start_s == pytest.approx(two.heard[0] / 16_000 + 0.5)
    assert found.segments[1].words[0].end_s == pytest.approx(two.heard[0] / 16_000 + 1.0)


async def test_a_chain_can_what_one_of_its_links_can() -> None:
    plain = ears(Ear("one"), Ear("two"))
    assert not any(isinstance(plain, port) for port in (Chooser, Timed, Translator))
    engine = ears(Ear("one"), Knowing("two"))
    assert isinstance(engine, Chooser)
    assert isinstance(engine, Timed)
    assert isinstance(engine, Translator)
    assert (await engine.choose(SECOND, ["yes"]))[0].text == "chosen by two"
    assert (await engine.translate(SECOND)).text == "translated by two"
    assert (await engine.transcribe(SECOND)).text == "one"


@pytest.mark.parametrize(
    ("one_s", "two", "text", "took_s"),
    [(0.5, None, "one", 0.5), (9.0, None, "two", 2.1), (3.0, "", "one", 3.0), (3.0, broken(), "one", 3.0)],
)
async def test_the_first_good_answer_wins(one_s: float, two: object, text: str, took_s: float) -> None:
    first, second = Ear("one", delay_s=one_s), Ear("two", two)
    engine, loop = ears(first, second, hedge=True, late_s=20.0), asyncio.get_running_loop()
    began = loop.time()
    assert (await engine.transcribe(SECOND)).text == text
    assert loop.time() - began == pytest.approx(took_s)
    assert (first.running, second.running) == (0, 0)


async def test_nothing_understood_by_both_is_an_answer() -> None:
    engine = ears(Ear("one", "", delay_s=3), Ear("two", ""), hedge=True, late_s=20.0)
    assert (await engine.transcribe(SECOND)).text == ""


async def test_what_is_usual_is_learned() -> None:
    one, two = Ear("one", delay_s=0.5), Ear("two")
    engine, loop = ears(one, two, hedge=True, late_s=20.0), asyncio.get_running_loop()
    for _ in range(10):
        await engine.transcribe(SECOND)
    one.delay_s = 9.0
    began = loop.time()
    assert (await engine.transcribe(SECOND)).text == "two"
    assert loop.time() - began == pytest.approx(0.6)
    assert (engine.counts.calls, engine.counts.hedges, engine.counts.wins) == (11, 1, 1)


async def test_errors_of_all_links() -> None:
    refused = ProviderRefused("No.", stage="stt", status=401)
    with pytest.raises(ProviderRefused, match="No"):
        await ears(Ear("one", refused), Ear("two", ProviderTimeout("Late.", stage="stt"))).transcribe(SECOND)
