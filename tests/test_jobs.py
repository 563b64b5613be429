"""Work beside the loop: a file to text, a text to a file or to the loudspeaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import DATA, misheard, recording
from voiceloop import build, jobs
from voiceloop.config import Config, override
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.transcript import Segment, Word
from voiceloop.errors import DeviceError, MediaError, ProviderError
from voiceloop.ports import Transcript
from voiceloop.testing import FakePort, FakeSynthesizer, FakeTranscriber

pytestmark = pytest.mark.usefixtures("needs_local")


@pytest.fixture
def needs_local() -> None:
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("hibari")


def wav(path: Path, pcm: Pcm, rate: int = RATE) -> Path:
    soundfile.write(path, pcm, rate)
    return path


# --- transcribe ---


async def test_transcribe() -> None:
    done: list[float] = []
    async with build.transcriber(Config()) as engine:
        found = await jobs.transcribe(engine, DATA / "sb_spk1_snt5.flac", progress=done.append)
    assert found.text == "Sunday is the best part of the week."
    assert found.language == "en"
    (segment,) = found.segments
    assert (segment.text, segment.words) == (found.text, ())
    assert 0 <= segment.start_s < segment.end_s <= found.duration_s == pytest.approx(2.6, abs=0.01)
    assert done[-1] == found.duration_s


async def test_a_long_file_goes_in_pieces_that_cut_no_word(tmp_path: Path) -> None:
    names = ["jfk.flac", "sb_spk1_snt5.flac", "libri_533-1066-0007.flac", "sb_spk1_snt1.flac"] * 2
    path = wav(tmp_path / "long.wav", np.concatenate([recording(name) for name in names]))
    done: list[float] = []
    async with build.transcriber(Config()) as engine:
        alone = [(await jobs.transcribe(engine, DATA / name)).text for name in names[:4]] * 2
        found = await jobs.transcribe(engine, path, progress=done.append)
    assert len(done) > 2
    assert done == sorted(done)
    assert done[-1] == pytest.approx(found.duration_s, abs=0.01)
    assert misheard(" ".join(alone), found.text) < 0.1, found.text


async def test_every_sample_is_transcribed_once(tmp_path: Path) -> None:
    path = wav(tmp_path / "long.wav", (np.arange(50 * RATE) % 4000).astype(np.int16))
    engine = FakeTranscriber(["one", "", "two"], delay_s=0, longest=7 * RATE)
    found = await jobs.transcribe(engine, path)
    assert sum(engine.heard) == pytest.approx(50, abs=0.03)
    assert max(engine.heard) <= 7
    assert found.text.startswith("one two words")


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        await jobs.transcribe(FakeTranscriber(), tmp_path / "gone.wav")


async def test_a_failing_engine_is_heard_of() -> None:
    broken = ProviderError("The service is down.", stage="stt")
    with pytest.raises(ProviderError, match="is down"):
        await jobs.transcribe(FakeTranscriber([broken]), DATA / "ps_card001.flac")


class Timing(FakeTranscriber):
    """Tells the times of its words, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(delay_s=0)
        self.asked: list[tuple[str | None, str | None, float]] = []

    async def transcribe_timed(
        self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0
    ) -> Transcript:
        self.asked.append((language, prompt, temperature))
        self.heard.append(pcm.size / RATE)
        n = len(self.asked)
        await asyncio.sleep(0.03 / n)  # later ones are done first
        words = (Word(f"word{n}", 0.5, 1.0),)
        return Transcript(f"word{n}", "de", segments=(Segment(f"word{n}", 0.5, 1.0, -0.1, words),))

    async def translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        return Transcript("in English", "de")


def half_hour(tmp_path: Path) -> Path:
    return wav(tmp_path / "long.wav", (np.arange(1800 * RATE) % 4000).astype(np.int16))


async def test_a_service_times_its_words_and_gets_minutes_at_once(tmp_path: Path) -> None:
    engine = Timing()
    wanted = jobs.Wanted(language="de", prompt="Namen", temperature=0.2, words=True)
    found = await jobs.transcribe(engine, half_hour(tmp_path), wanted=wanted)
    assert sum(engine.heard) == pytest.approx(1800, abs=0.1)
    assert max(engine.heard) <= 300, "a WAV of 25 MB is 13 minutes long"
    assert engine.asked[0] == ("de", "Namen", 0.2)
    assert engine.asked[2] == ("de", "Namen word1 word2", 0.2)
    starts = np.cumsum([0, *engine.heard])
    assert [s.words[0].start_s for s in found.segments] == pytest.approx(starts[:-1] + 0.5)
    assert found.language == "de"


async def test_several_at_a_time_come_in_order(tmp_path: Path) -> None:
    engine = Timing()
    found = await jobs.transcribe(engine, half_hour(tmp_path), wanted=jobs.Wanted(lanes=4, prompt="Namen"))
    assert {prompt for _, prompt, _ in engine.asked} == {"Namen"}
    assert found.text.split() == [f"word{n}" for n in range(1, len(engine.asked) + 1)]
    assert [s.start_s for s in found.segments] == sorted(s.start_s for s in found.segments)


async def test_one_of_several_fails(tmp_path: Path) -> None:
    engine = FakeTranscriber(["one", ProviderError("The service is down.", stage="stt")], longest=7 * RATE)
    with pytest.raises(ProviderError, match="is down"):
        await jobs.transcribe(engine, half_hour(tmp_path), wanted=jobs.Wanted(lanes=4))


async def test_pieces_are_as_short_as_asked(tmp_path: Path) -> None:
    engine = FakeTranscriber(delay_s=0)
    path = wav(tmp_path / "long.wav", (np.arange(60 * RATE) % 4000).astype(np.int16))
    await jobs.transcribe(engine, path, wanted=jobs.Wanted(piece_s=10))
    assert max(engine.heard) <= 10


async def test_translation() -> None:
    found = await jobs.transcribe(Timing(), DATA / "jfk.flac", wanted=jobs.Wanted(translate=True))
    assert found.text == "in English"
    with pytest.raises(build.ConfigError, match="cannot translate"):
        await jobs.transcribe(FakeTranscriber(), DATA / "jfk.flac", wanted=jobs.Wanted(translate=True))


async def test_segments_come_while_the_rest_is_at_work(tmp_path: Path) -> None:
    engine = FakeTranscriber(["one", "two"], delay_s=0, longest=7 * RATE)
    path = wav(tmp_path / "long.wav", (np.arange(60 * RATE) % 4000).astype(np.int16))
    job = jobs.Transcription(engine, path)
    assert job.length_s == pytest.approx(60)
    async with aclosing(job.segments()) as segments:
        first = await anext(segments)
    assert (first.text, first.start_s) == ("one", 0.0)
    assert len(engine.heard) == 1


async def test_long_silence_is_not_transcribed_and_times_stay_true(tmp_path: Path) -> None:
    sunday = recording("sb_spk1_snt5.flac")
    path = wav(tmp_path / "x.wav", np.concatenate([silence(20 * RATE), sunday, silence(20 * RATE), sunday]))
    async with build.transcriber(Config()) as engine:
        found = await jobs.transcribe(engine, path, vad=build.vad(Config())[0], wanted=jobs.Wanted(words=True))
    assert found.text == "Sunday is the best part of the week. Sunday is the best part of the week."
    first, second = found.segments
    assert 20 <= first.start_s < first.end_s <= 22.7
    assert 42.6 <= second.start_s < second.end_s <= found.duration_s
    assert len(first.words) == 8


async def test_words_are_aligned() -> None:
    pytest.importorskip("pocketsphinx")
    async with build.transcriber(Config()) as engine, build.aligner(Config()) as aligner:
        wanted = jobs.Wanted(words=True)
        found = await jobs.transcribe(engine, DATA / "ps_goforward.flac", wanted=wanted, aligner=aligner)
    words = [word for segment in found.segments for word in segment.words]
    assert [word.text for word in words] == found.text.split() == ["Go", "forward", "ten", "meters."]
    # The sound begins at 0.46 s and ends at 2.12 s by its level.
    assert (words[0].start_s, words[-1].end_s) == pytest.approx((0.46, 2.12), abs=0.15)
    assert all(one.end_s <= other.start_s + 1e-9 < other.end_s for one, other in pairwise(words))


# --- say ---


async def test_speech_goes_clause_by_clause() -> None:
    engine = FakeSynthesizer(delay_s=0, letter_s=0.001)
    chunks = [chunk async for chunk in jobs.speech(engine, "This is the first sentence. And **this** is another one!")]
    assert chunks
    assert engine.spoken == ["This is the first sentence.", "And this is another one!"]


async def test_clauses_are_joined_with_a_pause_and_no_click() -> None:
    engine = FakeSynthesizer(delay_s=0, letter_s=0.02)
    told: list[tuple[int, int]] = []
    spoken = jobs.speech(engine, "One sentence. Another one!", progress=lambda n, all: told.append((n, all)))
    pcm = np.concatenate([chunk async for chunk in spoken])
    quiet = np.flatnonzero(np.abs(pcm) == 0)
    pause = np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1)
    assert max(map(len, pause)) == pytest.approx(0.25 * engine.rate, abs=engine.rate * 0.005)
    # A tone of 440 Hz at half scale moves so much from sample to sample, and nothing more at its ends.
    tone = np.concatenate([chunk async for chunk in engine.speak("x" * 50)]).astype(int)
    assert np.abs(np.diff(pcm.astype(int))).max() <= np.abs(np.diff(tone)).max() + 1
    assert abs(int(pcm[0])) < 200
    assert abs(int(pcm[-1])) < 200
    assert told == [(1, 2), (2, 2)]


async def test_a_service_gets_the_whole_text() -> None:
    engine = FakeSynthesizer(delay_s=0, letter_s=0.001)
    chunks = [chunk async for chunk in jobs.speech(engine, "One sentence. Another one!", whole=True)]
    assert engine.spoken == ["One sentence. Another one!"]
    assert chunks


TEXT = "The quick brown fox jumps over the lazy dog. Then it sleeps in the warm sun."


async def test_save_and_transcribe_again(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    spoken = await jobs.save(Config(), TEXT, path)
    assert soundfile.info(path).duration == pytest.approx(spoken)
    async with build.transcriber(Config()) as engine:
        assert misheard(TEXT, (await jobs.transcribe(engine, path)).text) <= 0.1


async def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        await jobs.save(Config(), "Hello.", tmp_path / "no" / "out.wav")


async def test_saving_with_an_unknown_voice() -> None:
    with pytest.raises(build.ConfigError, match="no engine named"):
        await jobs.save(override(Config(), {"tts.engine": "nonsense"}), "Hello.", "never.wav")


@pytest.mark.virtual
async def test_a_device_that_is_lost_ends_what_is_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits at a prompt for a cable."""

    @asynccontextmanager
    async def synthesizer(config: Config) -> AsyncGenerator[FakeSynthesizer]:
        yield FakeSynthesizer()

    port = FakePort(silence(0), away={20: 60.0})
    monkeypatch.setattr(build, "synthesizer", synthesizer)
    monkeypatch.setattr(build, "audio_port", lambda config: port)
    with pytest.raises(DeviceError, match="lost"):
        await jobs.say(Config(), "Once upon a time there was a king.")
    assert port.closed == 1
