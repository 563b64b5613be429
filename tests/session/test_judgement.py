"""What the core is told of a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from voiceloop import lexicons
from voiceloop.core.audio import RATE, Pcm
from voiceloop.core.choosing import BRIEF
from voiceloop.core.events import Score, Scored, Transcribe, Transcribed
from voiceloop.errors import ProviderError
from voiceloop.ports import Transcriber, Transcript
from voiceloop.session.judgement import Language, confirmed, doubted, joined, judged
from voiceloop.session.mind import Deadlines, Mind
from voiceloop.testing import FakeHandler, FakeTranscriber

ENGLISH = Language(lexicons.lexicon("en"), lexicons.weights("en"), lexicons.choices("en"))


def order(expect: str = "", *, over: bool = False) -> Transcribe:
    return Transcribe(run=7, turn=1, rev=1, context=0, start=0, end=RATE, expect=expect, over=over)


def voice(seconds: float) -> Pcm:
    t = np.arange(round(seconds * RATE)) / RATE
    swing = np.sin(2 * np.pi * np.cumsum(np.linspace(170, 110, t.size)) / RATE)
    sound = np.rint(9000 * swing * np.linspace(1, 0.3, t.size)).astype(np.int16)
    return np.concatenate((sound, np.zeros(RATE // 5, np.int16)))


def told(said: Transcript, *, expect: str = "", text: str | None = None, seconds: float = 1.5) -> Transcribed:
    return judged(ENGLISH, order(expect), said.text if text is None else text, said, voice(seconds))


def test_all_numbers_are_handed_on() -> None:
    found = told(Transcript("Turn on the lights.", "en", -0.1, 0.8, 0.05))
    assert (found.run, found.text, found.sense) == (7, "Turn on the lights.", "words")
    assert (found.p_stop, found.p_comma, found.logprob) == (0.8, 0.05, -0.1)
    assert found.tail_db is not None
    assert found.tail_db < -3
    assert found.wording is not None
    assert found.finished is not None
    assert found.finished > 0.4
    cut = told(Transcript("Turn on the.", "en", -0.4, 0.2, 0.05))
    assert cut.finished is not None
    assert cut.finished < 0.2


def test_a_service_without_probabilities_is_judged_by_words_and_sound() -> None:
    done, cut = told(Transcript("Turn on the lights.")), told(Transcript("Turn on the"))
    assert (done.p_stop, done.logprob) == (None, None)
    assert done.finished is not None
    assert cut.finished is not None
    assert cut.finished + 0.2 < done.finished


@pytest.mark.parametrize(
    ("expect", "text", "low", "high"),
    [("digits:4", "one two", 0.0, 0.1), ("digits:4", "one two three four", 0.9, 1.0), ("yes_no", "Yes.", 0.9, 1.0)],
)
def test_what_is_expected_comes_first(expect, text, low, high) -> None:
    found = told(Transcript(text, "en", -0.2, 0.4, 0.4), expect=expect).finished
    assert found is not None
    assert low <= found <= high


def test_the_words_are_those_of_all_pieces() -> None:
    found = told(Transcript("the lights."), text="Turn on the lights.")
    assert (found.text, found.wording) == ("Turn on the lights.", told(Transcript("the lights.")).wording)


@pytest.mark.parametrize(
    ("said", "seconds", "sense"),
    [
        (Transcript("You", "en", -0.2, 0.02, 0.01), 0.3, "invented"),
        (Transcript("Thank you."), 0.2, "invented"),
        (Transcript("Thank you."), 1.0, "words"),
        (Transcript("Thank you."), 9.0, "words"),
        (Transcript("Mm-hmm."), 0.4, "backchannel"),
        (Transcript("Stop!"), 0.4, "stop"),
        (Transcript("", "en", -1.2), 0.4, "none"),
    ],
)
def test_its_kind(said, seconds, sense) -> None:
    assert told(said, seconds=seconds).sense == sense


def test_no_words_say_nothing_about_the_end() -> None:
    found = told(Transcript("", "en", -1.2))
    assert (found.finished, found.wording, found.tail_db) == (None, None, None)


def test_without_lists_all_is_words() -> None:
    assert judged(Language(), order(), "Stop!", Transcript("Stop!"), voice(1)) == Transcribed(7, "Stop!")


def test_only_brief_sounds_over_a_reply_are_doubted() -> None:
    brief = np.zeros(BRIEF, np.int16)
    assert doubted(ENGLISH, order(over=True), brief) == ENGLISH.choices.phrases
    assert doubted(ENGLISH, order(), brief) == ()
    assert doubted(ENGLISH, order(over=True), np.zeros(BRIEF + 1, np.int16)) == ()
    assert doubted(Language(lexicons.lexicon("de")), order(over=True), brief) == ()


class Choosy(FakeTranscriber):
    """Writes "Well." and thinks of one phrase."""

    def __init__(self, phrase: str) -> None:
        super().__init__(["Well."], delay_s=0)
        self._phrase = phrase

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        found = await self.transcribe(pcm)
        return found, tuple(-1.0 if phrase == self._phrase else -9.0 for phrase in phrases)


async def kind(engine: Transcriber, *, over: bool, seconds: float = 0.4) -> str:
    fed: list[object] = []
    mind = Mind(engine, FakeHandler(), fed.append, session="", deadlines=Deadlines(), language=ENGLISH)
    await mind.transcribe(order(over=over), voice(seconds))
    (found,) = fed
    assert isinstance(found, Transcribed)
    assert found.text == "Well."
    return found.sense


async def test_a_recognizer_that_can_choose_is_asked_what_a_brief_voice_is() -> None:
    assert await kind(Choosy("Mm-hmm."), over=True) == "backchannel"
    assert await kind(Choosy("Stop."), over=True) == "words"
    assert await kind(Choosy("Mm-hmm."), over=False) == "words"
    assert await kind(Choosy("Mm-hmm."), over=True, seconds=1.5) == "words"
    assert await kind(FakeTranscriber(["Well."], delay_s=0), over=True) == "words"


LIGHTS = Transcript("Turn on the lights.", "en", -0.1, 0.8, 0.05)


def test_two_transcripts_that_agree_say_more_than_two_that_do_not() -> None:
    first = told(LIGHTS)
    agreed = confirmed(ENGLISH, first, LIGHTS)
    for other in (replace(LIGHTS, text="Turn on the."), replace(LIGHTS, p_stop=0.1), replace(LIGHTS, logprob=-0.9)):
        assert confirmed(ENGLISH, first, other) < agreed


def test_without_doubts_there_is_nothing_to_confirm() -> None:
    first = told(LIGHTS)
    assert confirmed(ENGLISH, first, Transcript("Turn on the lights.")) == first.finished
    assert confirmed(Language(), first, LIGHTS) == first.finished
    assert confirmed(ENGLISH, Transcribed(0, ""), LIGHTS) == 0.5


def test_a_model_alone_or_with_the_words() -> None:
    assert joined(None, 0.3) == 0.3
    assert joined(0.6, 0.1) < joined(0.6, 0.9)


class Scripted(FakeTranscriber):
    """Gives whole transcripts in order."""

    def __init__(self, *said: Transcript) -> None:
        super().__init__()
        self.said = list(said)

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        return self.said.pop(0)


class Model:
    """An `EndOfTurn` that always says the same, or fails."""

    def __init__(self, p: float | None) -> None:
        self.p = p

    async def warm_up(self) -> None: ...

    async def score(self, pcm: Pcm) -> float:
        if self.p is None:
            raise ProviderError("The model is lost.", stage="stt", retryable=False)
        return self.p

    async def aclose(self) -> None: ...


async def scored(*said: Transcript, model: Model | None) -> Scored:
    """What is made of a turn that is listened to once more. said: the transcripts, the first one of the turn itself."""
    told_so: list[object] = []
    mind = Mind(Scripted(*said), FakeHandler(), told_so.append, session="s", deadlines=Deadlines(), language=ENGLISH)
    await mind.transcribe(order(), voice(1.5))
    await mind.score(Score(run=9, turn=1, rev=1, start=0, end=RATE), voice(1.5), model)
    assert isinstance(told_so[-1], Scored)
    return told_so[-1]


@pytest.mark.asyncio
async def test_a_model_is_weighed_beside_both_transcripts() -> None:
    p = confirmed(ENGLISH, told(LIGHTS), LIGHTS)
    assert await scored(LIGHTS, LIGHTS, model=Model(0.1)) == Scored(9, round(joined(p, 0.1), 3))
    assert (await scored(LIGHTS, LIGHTS, model=Model(0.9))).p > (await scored(LIGHTS, LIGHTS, model=Model(0.1))).p


@pytest.mark.asyncio
async def test_without_doubts_only_the_model_is_asked() -> None:
    silent = Transcript("Turn on the lights.")
    assert await scored(silent, model=Model(0.9)) == Scored(9, round(joined(told(silent).finished, 0.9), 3))


@pytest.mark.asyncio
async def test_a_model_that_fails_fails_as_itself() -> None:
    with pytest.raises(ProviderError, match="lost"):
        await scored(LIGHTS, LIGHTS, model=Model(None))


@pytest.mark.asyncio
async def test_a_turn_is_confirmed_by_its_own_words() -> None:
    """The words of another turn came in between."""
    told_so: list[object] = []
    engine = Scripted(LIGHTS, replace(LIGHTS, text="And the"), LIGHTS)
    mind = Mind(engine, FakeHandler(), told_so.append, session="s", deadlines=Deadlines(), language=ENGLISH)
    await mind.transcribe(order(), voice(1.5))
    await mind.transcribe(replace(order(), turn=2), voice(1.5))
    await mind.score(Score(run=9, turn=1, rev=1, start=0, end=RATE), voice(1.5), None)
    assert told_so[-1] == Scored(9, round(confirmed(ENGLISH, told(LIGHTS), LIGHTS), 3))
