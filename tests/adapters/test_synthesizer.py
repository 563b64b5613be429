"""One contract for every Synthesizer that runs here, and the trimming of silence."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.adapters.stt.moonshine import Moonshine
from voiceloop.adapters.tts.espeak import Espeak
from voiceloop.adapters.tts.hibari import Hibari
from voiceloop.adapters.tts.trim import AFTER_S, BEFORE_S, Trimmer
from voiceloop.core.audio import RATE, Pcm, level_db, silence
from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout
from voiceloop.media import tempo
from voiceloop.ports import Manner, Synthesizer
from voiceloop.session.workers import Workers

T = TypeVar("T")

SENTENCES = ["What time does the next train leave?", "Please open the window, it is very warm in here."]
LONG = " ".join(SENTENCES * 40)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture(scope="module", params=["hibari", "espeak"])
def synthesizer(request: pytest.FixtureRequest, workers: Workers) -> Synthesizer:
    return Hibari(workers, stretch=tempo) if request.param == "hibari" else Espeak(stretch=tempo)


async def spoken(synthesizer: Synthesizer, text: str) -> list[Pcm]:
    async with aclosing(synthesizer.speak(text)) as chunks:
        return [chunk async for chunk in chunks]


async def settled(workers: Workers) -> None:
    while workers.n_abandoned:
        await workers.call(lambda: None)


def children(program: str = "espeak-ng") -> list[str]:
    """Command lines of our own child processes of that name, dead and unreaped ones included."""
    while True:
        found = list[str]()
        try:
            for task in Path("/proc/self/task").iterdir():
                for pid in (task / "children").read_text().split():
                    status = Path("/proc", pid)
                    if (status / "comm").read_text().strip() == program:
                        found.append((status / "cmdline").read_text())
        except FileNotFoundError:
            continue  # a thread ended meanwhile, and what it had begun is another's now
        return found


@pytest.mark.parametrize("sentence", SENTENCES)
async def test_it_says_the_words(synthesizer: Synthesizer, sentence: str, workers: Workers) -> None:
    await synthesizer.warm_up()
    resampler = StreamResampler(synthesizer.rate, RATE)
    parts = [resampler.process(chunk) for chunk in await spoken(synthesizer, sentence)]
    heard = await Moonshine(workers).transcribe(np.concatenate([*parts, resampler.flush()]))
    plain = [re.sub(r"[^a-z ]", "", text.lower()) for text in (sentence, heard.text)]
    assert plain[0] == plain[1]


async def test_chunks_are_pcm_and_sound_begins_and_ends_them(synthesizer: Synthesizer) -> None:
    await synthesizer.warm_up()
    chunks = await spoken(synthesizer, SENTENCES[1])
    assert all(c.dtype == np.int16 and c.ndim == 1 and c.size > 0 for c in chunks)
    whole = np.concatenate(chunks)
    assert level_db(whole) > -40
    window = synthesizer.rate // 100
    assert level_db(whole[: 4 * window]) > -60
    levels = [level_db(whole[at : at + window]) for at in range(0, whole.size - window, window)]
    quiet = levels[::-1].index(next(x for x in levels[::-1] if x > max(levels) - 40))
    assert quiet <= AFTER_S * 100 + 2


async def test_the_same_text_is_the_same_sound(synthesizer: Synthesizer) -> None:
    first, second = [np.concatenate(await spoken(synthesizer, "Good morning.")) for _ in range(2)]
    assert np.array_equal(first, second)


@pytest.mark.parametrize("text", ["", " ", "...", "\n\n", "?!", "\N{HORIZONTAL ELLIPSIS}", "-", '"', "(", "\x00"])
async def test_text_without_sound_yields_nothing(synthesizer: Synthesizer, text: str) -> None:
    assert await spoken(synthesizer, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "1",
        "No",
        "A & B",
        "[[hello]]",
        "<speak>hi</speak>",
        "-v de",
        "naïve",
        "\N{GRINNING FACE}!",
        "日本",
        "a" * 300,
    ],
)
async def test_odd_text_is_no_error(synthesizer: Synthesizer, text: str) -> None:
    for chunk in await spoken(synthesizer, text):
        assert chunk.dtype == np.int16


async def test_closed_mid_stream_leaves_no_running_work(synthesizer: Synthesizer, workers: Workers) -> None:
    async with aclosing(synthesizer.speak(LONG)) as chunks:
        assert (await anext(chunks)).size
    await settled(workers)
    assert children() == []
    assert await spoken(synthesizer, "Still here.")


async def test_cancelled_mid_stream_leaves_no_running_work(synthesizer: Synthesizer, workers: Workers) -> None:
    begun = asyncio.Event()

    async def speak() -> None:
        async with aclosing(synthesizer.speak(LONG)) as chunks:
            async for _ in chunks:
                begun.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(speak())
        await begun.wait()
        task.cancel()
    await settled(workers)
    assert children() == []


async def test_cancelled_before_the_first_sound(synthesizer: Synthesizer, workers: Workers) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(spoken(synthesizer, LONG))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    await settled(workers)
    assert children() == []


async def test_two_at_a_time(synthesizer: Synthesizer) -> None:
    alone = [np.concatenate(await spoken(synthesizer, text)) for text in SENTENCES]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(spoken(synthesizer, text)) for text in SENTENCES]
    for task, expected in zip(tasks, alone, strict=True):
        assert np.array_equal(np.concatenate(task.result()), expected)


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.7, 4.0])
async def test_speed(synthesizer: Synthesizer, speed: float) -> None:
    """What the engine cannot reach by itself is stretched; it stays the same voice (the pitch: test_media.py)."""
    pytest.importorskip("av")
    await synthesizer.warm_up()

    async def length(manner: Manner | None) -> int:
        async with aclosing(synthesizer.speak(SENTENCES[1], manner)) as chunks:
            return sum([chunk.size async for chunk in chunks])

    assert await length(Manner(speed=speed)) == pytest.approx(await length(None) / speed, rel=0.12)


@pytest.mark.parametrize("manner", [Manner(voice="nobody"), Manner(voice="-x"), Manner(speed=0.2), Manner(speed=5.0)])
async def test_a_manner_that_there_is_not(synthesizer: Synthesizer, manner: Manner) -> None:
    await synthesizer.warm_up()
    with pytest.raises(ConfigError, match=r"nobody|-x|0\.25 to 4"):
        async with aclosing(synthesizer.speak("Hello.", manner)) as chunks:
            await anext(chunks)


async def test_every_voice_that_is_named_speaks(synthesizer: Synthesizer) -> None:
    await synthesizer.warm_up()
    assert synthesizer.voices
    for voice in synthesizer.voices[:: max(1, len(synthesizer.voices) // 5)]:
        async with aclosing(synthesizer.speak("one two", Manner(voice=voice))) as chunks:
            assert sum([chunk.size async for chunk in chunks]), voice


class TestHibari:
    async def test_it_streams_by_sentences(self, workers: Workers) -> None:
        chunks = await spoken(Hibari(workers), " ".join(SENTENCES))
        assert len(chunks) >= 2

    async def test_warm_up_and_close_may_come_twice(self, workers: Workers) -> None:
        voice = Hibari(workers)
        assert voice.rate == 24_000
        for _ in range(2):
            await voice.warm_up()
        for _ in range(2):
            await voice.aclose()
        assert await spoken(voice, "Hello.")

    async def test_it_says_what_to_install(self, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "hibari", None)
        with pytest.raises(ConfigError, match=r"pip install 'voiceloop\[local\]'"):
            await Hibari(workers).warm_up()
        with pytest.raises(ConfigError):
            await spoken(Hibari(workers), "Hello.")

    @pytest.mark.parametrize(
        ("error", "kind", "retryable"),
        [(TimeoutError(), ProviderTimeout, True), (RuntimeError("a word of the user"), ProviderError, False)],
    )
    async def test_errors_are_those_of_the_port(
        self, error: Exception, kind: type[ProviderError], retryable: bool
    ) -> None:
        with pytest.raises(kind) as caught:
            await spoken(Hibari(Failing(error)), "Hello.")
        assert (caught.value.stage, caught.value.retryable) == ("tts", retryable)
        assert "word" not in str(caught.value)
        with pytest.raises(kind):
            await Hibari(Failing(error)).warm_up()


class Failing:
    """A Runner whose work fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        raise self._error

    async def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        raise self._error
        yield


class TestEspeak:
    async def test_no_word_is_in_the_list_of_processes(self) -> None:
        async with aclosing(Espeak().speak(LONG)) as chunks:
            await anext(chunks)
            (command,) = children()
        assert "espeak-ng" in command
        assert "window" not in command

    async def test_it_speaks_other_languages(self) -> None:
        german, english = [
            np.concatenate(await spoken(Espeak(voice), "Guten Morgen, wie geht es Ihnen?")) for voice in ("de", "en")
        ]
        assert not np.array_equal(german, english)

    async def test_a_missing_program_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ConfigError, match="install espeak-ng"):
            await Espeak().warm_up()
        with pytest.raises(ConfigError, match="install espeak-ng"):
            await spoken(Espeak(), "Hello.")

    async def test_a_missing_voice(self) -> None:
        with pytest.raises(ConfigError, match="no voice 'nosuch'"):
            await Espeak("nosuch").warm_up()
        with pytest.raises(ProviderError, match="code 1") as caught:
            await spoken(Espeak("nosuch"), "Hello.")
        assert caught.value.stage == "tts"

    @pytest.mark.parametrize("voice", ["", "-f", "--stdout"])
    def test_a_voice_is_no_option(self, voice: str) -> None:
        with pytest.raises(ConfigError, match="no voice"):
            Espeak(voice)

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("cat >/dev/null; printf 'no wav at all, but long enough'", "no WAV"),
            ("cat >/dev/null; printf 'RIFFxxxxWAVE'", "no WAV"),
            (
                r"cat >/dev/null; printf 'RIFF\0\0\0\0WAVEfmt \020\0\0\0\01\0\02\0\042\126\0\0\0\0\0\0\04\0\020\0'",
                "16-bit mono",
            ),
            (r"cat >/dev/null; HEAD; kill -9 $$", "code -9"),
            (r"exit 3", "code 3"),
        ],
    )
    async def test_a_program_that_misbehaves(
        self, script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instead(tmp_path, monkeypatch, script)
        with pytest.raises(ProviderError, match=message):
            await spoken(Espeak(), "Hello.")
        assert children() == []

    async def test_half_samples_and_other_chunks_before_the_sound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first read ends in the middle of a sample, and so does the file."""
        tone = (np.sin(np.arange(22050) / 10) * 9000).astype("<i2")
        (tmp_path / "tone").write_bytes(tone.tobytes()[1:] + b"\x01")
        first = f"\\{tone.tobytes()[0]:03o}"
        instead(tmp_path, monkeypatch, rf"cat >/dev/null; HEAD; printf '{first}'; sleep 0.05; cat {tmp_path}/tone")
        chunks = await spoken(Espeak(), "Hello.")
        assert np.array_equal(np.concatenate(chunks), tone)

    async def test_a_program_that_says_nothing_is_late(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        instead(tmp_path, monkeypatch, "exec sleep 600")
        with pytest.raises(ProviderTimeout) as caught:
            await spoken(Espeak(timeout_s=0.05), "Hello.")
        assert caught.value.retryable
        assert children("sleep") == []


HEAD = (
    r"printf 'RIFF\377\377\377\177WAVELIST\03\0\0\0abc\0fmt \020\0\0\0\01\0\01\0\042\126\0\0\104\254\0\0\02\0\020\0"
    r"data\377\377\377\177'"
)


def instead(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a shell script in the place of espeak-ng."""
    program = directory / "espeak-ng"
    program.write_text("#!/bin/sh\n" + script.replace("HEAD", HEAD) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


class TestTrimmer:
    rate = 24_000

    def tone(self, seconds: float, amplitude: float = 8000.0) -> Pcm:
        return (amplitude * np.sin(np.arange(round(seconds * self.rate)) / 9)).astype(np.int16)

    def still(self, seconds: float, amplitude: float = 0.0) -> Pcm:
        noise = np.random.default_rng(0).standard_normal(round(seconds * self.rate)) * amplitude
        return noise.astype(np.int16)

    def run(self, pcm: Pcm, sizes: list[int]) -> Pcm:
        trimmer, out, at, i = Trimmer(self.rate), list[Pcm](), 0, 0
        while at < pcm.size:
            out.append(trimmer.feed(pcm[at : at + sizes[i % len(sizes)]]))
            at += sizes[i % len(sizes)]
            i += 1
        return np.concatenate([*out, trimmer.flush()])

    @given(
        before=st.floats(0, 0.5),
        after=st.floats(0, 0.6),
        pause=st.floats(0, 0.4),
        noise=st.sampled_from([0, 2, 5]),
        sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=5).filter(any),
    )
    def test_it_takes_both_ends_and_nothing_inside(
        self, before: float, after: float, pause: float, noise: int, sizes: list[int]
    ) -> None:
        inner = np.concatenate((self.tone(0.3), self.still(pause), self.tone(0.2, 400)))
        pcm = np.concatenate((self.still(before, noise), inner, self.still(after, noise)))
        out = self.run(pcm, sizes)
        at = round(before * self.rate)
        starts = [s for s in range(max(0, at - self.rate // 30), at + 1) if np.array_equal(pcm[s : s + out.size], out)]
        assert starts
        window = self.rate // 200 + 1
        assert min(at, BEFORE_S * self.rate) - 1 <= at - min(starts)  # the first sample of a tone is zero
        assert at - max(starts) <= BEFORE_S * self.rate + window
        left = out.size - (at - max(starts)) - inner.size
        assert min(round(after * self.rate), AFTER_S * self.rate - window) <= left + (at - min(starts))
        assert left <= AFTER_S * self.rate + window

    @given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=5).filter(any), n=st.integers(0, 30000))
    def test_silence_alone_is_nothing(self, sizes: list[int], n: int) -> None:
        assert self.run(silence(n), sizes).size == 0

    def test_a_quiet_voice_is_a_voice(self) -> None:
        pcm = np.concatenate((silence(9000), self.tone(0.2, 60), silence(9000)))
        assert self.run(pcm, [480]).size >= 0.2 * self.rate

    def test_silence_is_held_back_until_sound_follows(self) -> None:
        trimmer = Trimmer(self.rate)
        assert trimmer.feed(silence(self.rate)).size == 0
        assert trimmer.feed(self.tone(0.1)).size >= 0.1 * self.rate
        assert trimmer.feed(silence(self.rate)).size == 0
        assert trimmer.feed(self.tone(0.1)).size >= 1.0 * self.rate

    def test_flush_begins_anew(self) -> None:
        trimmer, pcm = Trimmer(self.rate), np.concatenate((silence(9000), self.tone(0.1), silence(9000)))
        first = np.concatenate((trimmer.feed(pcm), trimmer.flush()))
        assert np.array_equal(np.concatenate((trimmer.feed(pcm), trimmer.flush())), first)
        assert trimmer.flush().size == 0

    @pytest.mark.parametrize("bad", [silence(4).reshape(2, 2), np.zeros(4, np.float32)])
    def test_wrong_shapes_raise(self, bad: Pcm) -> None:
        with pytest.raises(ValueError, match="int16"):
            Trimmer(self.rate).feed(bad)
