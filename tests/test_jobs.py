"""Work beside the loop: a file to text, a text to a file or to the loudspeaker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import DATA, misheard, recording
from voiceloop import build, jobs
from voiceloop.config import Config, override
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import DeviceError, MediaError, ProviderError
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


# --- say ---


async def test_speech_goes_clause_by_clause() -> None:
    engine = FakeSynthesizer(delay_s=0, letter_s=0.001)
    chunks = [chunk async for chunk in jobs.speech(engine, "This is the first sentence. And **this** is another one!")]
    assert chunks
    assert engine.spoken == ["This is the first sentence.", "And this is another one!"]


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
