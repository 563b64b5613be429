"""Conversations on virtual time over services that die, stall, refuse, are slow and come back, with engines that stand
in for them: what is said is said whole, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from voiceloop.adapters.chain.hearing import HearingChain
from voiceloop.adapters.chain.links import Link
from voiceloop.adapters.chain.speaking import SpeakingChain
from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm, silence
from voiceloop.errors import ProviderError, ProviderRefused
from voiceloop.ports import Manner
from voiceloop.session.session import Parts, Session
from voiceloop.testing import (
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeTranscriber,
    FakeVad,
    Recorder,
    VirtualLoop,
    script,
)

pytestmark = pytest.mark.virtual

ANSWER = "The umbrella is in the cupboard. Take it with you because it may rain in the afternoon. Enjoy your walk."
LETTER = 1200
"""Samples of one letter: 50 ms."""


class Speller:
    """A voice whose samples are the letters that it says, times 20, plus its number.

    acts: of each call, in their order: "well", "slow" (3 s to the first sound), "stall" (hangs before it), "refuse",
    "lie", "die" and "hang": after `at` letters.
    """

    rate = 24_000
    voices = ()

    def __init__(self, number: int, acts: Sequence[str] = (), at: int = 10) -> None:
        self.number, self.acts, self.at = number, list(acts), at
        self.open = self.calls = 0

    async def warm_up(self) -> None:
        pass

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        self.calls += 1
        self.open += 1
        act = self.acts.pop(0) if self.acts else "well"
        try:
            await asyncio.sleep(3.0 if act == "slow" else 0.2)
            if act == "stall":
                await asyncio.Event().wait()
            if act == "refuse":
                raise ProviderRefused("The key is wrong.", stage="tts", status=401)
            if act == "lie":
                raise ProviderRefused("It answered 200 with text/html.", stage="tts")
            for n, letter in enumerate(text):
                if n == self.at and act == "die":
                    raise ProviderError("It broke off.", stage="tts", retryable=True)
                if n == self.at and act == "hang":
                    await asyncio.Event().wait()
                await asyncio.sleep(0.005)
                yield np.full(LETTER, 20 * ord(letter) + self.number, np.int16)
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        pass


def heard(pcm: Pcm) -> list[tuple[int, str]]:
    """What was played: voice and letters, without spaces, in order. Faded letters do not count."""
    cuts = [0, *(np.flatnonzero(np.diff(pcm)) + 1).tolist(), pcm.size]
    rows = [(int(pcm[start]), round((end - start) / LETTER)) for start, end in pairwise(cuts) if end > start]
    found = [(value % 20, chr(value // 20) * n) for value, n in rows if value > 0 and n]
    pieces = [(voice, "".join(text for _, text in rows)) for voice, rows in groupby(found, key=lambda each: each[0])]
    return [(voice, text.replace(" ", "")) for voice, text in pieces]


def whole(pieces: Sequence[tuple[int, str]]) -> bool:
    """Whether the pieces one after the other are the answer, each beginning anew at most where the last one ended."""
    text, at = ANSWER.replace(" ", ""), 0
    for _, piece in pieces:
        starts = [n for n in range(at + 1) if text[n:].startswith(piece)]
        if not starts:
            return False
        at = starts[-1] + len(piece)
    return at == len(text)


async def talk(
    voices: Sequence[Speller],
    ears: Sequence[object] = (),
    *,
    mic: Sequence[float] = (-0.5, 1.0, -25.0),
    **options: bool,
) -> tuple[Recorder, list[list[tuple[int, str]]]]:
    """A conversation; what was heard of each reply."""
    port, recorder = FakePort(script(*mic)), Recorder()
    speaking = SpeakingChain(
        [Link(f"voice {v.number}", v, local=n > 0) for n, v in enumerate(voices)], FakeResampler, late_s=4.0, **options
    )
    links = [Link(f"ears {n}", ear, local=n > 0) for n, ear in enumerate(ears or [FakeTranscriber()])]
    hearing = HearingChain(links, late_s=4.0, **options)
    handler = FakeHandler({"words": ANSWER, "other": ANSWER})
    session = Session(Parts(port, FakeVad(), hearing, handler, speaking, FakeResampler), [recorder], strict=True)
    async with asyncio.timeout(600):
        await session.run()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [voice.open for voice in voices] == [0] * len(voices)
    replies, sound = list[list[tuple[int, str]]](), np.concatenate([silence(0), *port.out])
    loud = np.flatnonzero(sound)
    cuts = [0, *(int(loud[n + 1]) for n in np.flatnonzero(np.diff(loud) > 12 * 24_000)), sound.size]
    for start, end in pairwise(cuts):
        replies.append(heard(sound[start:end]))
    return recorder, replies


@pytest.mark.parametrize("act", ["die", "hang", "stall", "refuse", "lie"])
@pytest.mark.parametrize("clause", [0, 1, 2])
async def test_a_reply_is_said_whole_when_its_voice_fails(act: str, clause: int) -> None:
    one, two = Speller(1, ["well"] * clause + [act]), Speller(2)
    recorder, (reply,) = await talk([one, two])
    assert whole(reply)
    assert [voice for voice, _ in reply] == ([1, 2] if clause or act in ("die", "hang") else [2])
    assert one.calls == clause + 1, "the rest is for the other voice"
    assert [e.ending for e in recorder.of(ev.ReplyEnded)] == ["completed"]
    (notice,) = recorder.of(ev.Notice)
    assert (notice.stage, notice.text.endswith("Meanwhile voice 2 is used.")) == ("tts", True)


async def test_the_next_reply_is_for_the_first_voice_again() -> None:
    one = Speller(1, ["die"])
    recorder, replies = await talk([one, Speller(2)], mic=(-0.5, 1.0, -25.0, 1.0, -25.0))
    assert [[voice for voice, _ in reply] for reply in replies] == [[1, 2], [1]]
    assert all(whole(reply) for reply in replies)
    assert [notice.text for notice in recorder.of(ev.Notice)] == [
        "It broke off. Meanwhile voice 2 is used.",
        "voice 1 is back.",
    ]


async def test_a_slow_voice_is_raced() -> None:
    recorder, (reply,) = await talk([Speller(1, ["slow", "slow"]), Speller(2)], hedge=True)
    assert whole(reply)
    assert {voice for voice, _ in reply} == {2}
    assert recorder.of(ev.Notice) == []


async def test_all_voices_fail_and_that_is_said_once() -> None:
    recorder, _ = await talk([Speller(1, ["die"] * 9), Speller(2, ["die"] * 9)])
    assert [e.ending for e in recorder.of(ev.ReplyEnded)] == ["failed"]
    assert len(recorder.of(ev.Notice)) <= 3


@pytest.mark.parametrize(
    "first", [FakeTranscriber([ProviderError("Gone.", stage="stt", retryable=True)] * 9), FakeTranscriber(delay_s=1e9)]
)
async def test_a_question_is_understood_by_the_other_ears(first: FakeTranscriber) -> None:
    recorder, (reply,) = await talk([Speller(1)], [first, FakeTranscriber()])
    assert [e.text for e in recorder.of(ev.Heard)] == ["words"]
    assert whole(reply)
    assert len(recorder.of(ev.Notice)) == 1


ACTS = st.lists(st.sampled_from(["well", "well", "slow", "stall", "refuse", "lie", "die", "hang"]), max_size=8)


@settings(
    max_examples=20,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(acts=ACTS, more=ACTS, at=st.integers(1, 60), hedge=st.booleans())
def test_whatever_two_services_do_a_third_voice_says_it_whole(
    acts: list[str], more: list[str], at: int, hedge: bool
) -> None:
    voices = [Speller(1, acts, at), Speller(2, more, at), Speller(3)]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(summary(talk(voices, hedge=hedge, mic=(-0.5, 1.0, -40.0))))
    assert result == (["completed"], [True])


async def summary(talking: Awaitable[tuple[Recorder, list[list[tuple[int, str]]]]]) -> tuple[list[str], list[bool]]:
    """How the replies ended, and which were whole; little, because the runner spells its result out."""
    recorder, replies = await talking
    return [e.ending for e in recorder.of(ev.ReplyEnded)], [whole(reply) for reply in replies]
