"""One contract for every Transcriber that runs here."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import math
import re
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile

from voiceloop import lexicons
from voiceloop.adapters.stt import moonshine, sherpa
from voiceloop.adapters.stt.moonshine import Moonshine
from voiceloop.adapters.stt.sherpa import Sherpa
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout
from voiceloop.ports import Runner, Transcriber
from voiceloop.session.workers import Workers

T = TypeVar("T")
DATA = Path(__file__).parents[1] / "data"
WEIGHTS = ("encoder_model.ort", "decoder_model_merged.ort")

SAID = {
    "jfk.flac": "and so my fellow americans ask not what your country can do for you"
    " ask what you can do for your country",
    "ps_goforward.flac": "go forward ten meters",
    "sb_spk1_snt5.flac": "sunday is the best part of the week",
    "sb_spk1_snt1.flac": "the child almost hurt the small dog",
    "sb_spk2_snt2.flac": "what joy there is in living",
    "lj_LJ001-0008.flac": "has never been surpassed",
}


def recording(name: str) -> Pcm:
    pcm, _ = soundfile.read(DATA / name, dtype="int16")
    return pcm


def words(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


def weights() -> Path:
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / "tiny-en"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Moonshine weights as sherpa-onnx wants them: tokens as text, base64 and id."""
    directory = tmp_path_factory.mktemp("moonshine")
    tokens = moonshine.read_tokens((weights() / "tokenizer.bin").read_bytes())
    lines = [f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)]
    (directory / "tokens.txt").write_text("".join(lines))
    for name in WEIGHTS:
        (directory / name).symlink_to(weights() / name)
    return directory


@pytest.fixture(scope="module", params=["moonshine", "sherpa"])
def transcriber(request: pytest.FixtureRequest, workers: Workers, model_dir: Path) -> Transcriber:
    if request.param == "sherpa":
        pytest.importorskip("sherpa_onnx")
        return Sherpa(workers, str(model_dir))
    return Moonshine(workers)


async def settled(workers: Workers) -> None:
    while workers.n_abandoned:
        await workers.call(lambda: None)


@pytest.mark.parametrize("name", SAID)
async def test_speech_becomes_its_words(transcriber: Transcriber, name: str) -> None:
    found = await transcriber.transcribe(recording(name))
    assert words(found.text) == SAID[name]
    assert found.text == found.text.strip()


async def test_warm_up_and_close_may_come_twice(workers: Workers) -> None:
    transcriber = Moonshine(workers)
    for _ in range(2):
        await transcriber.warm_up()
    for _ in range(2):
        await transcriber.aclose()
    assert (await transcriber.transcribe(recording("ps_goforward.flac"))).text


@pytest.mark.parametrize("n", [0, 1, 159, RATE // 10 - 1])
async def test_nothing_is_too_little_to_be_a_word(n: int, model_dir: Path) -> None:
    for transcriber in (Moonshine(Refusing()), Sherpa(Refusing(), str(model_dir))):
        assert (await transcriber.transcribe(np.full(n, 1000, np.int16))).text == ""


@pytest.mark.parametrize("n", [RATE // 10, RATE // 10 + 1, 3001, 7919])
async def test_odd_lengths(transcriber: Transcriber, n: int) -> None:
    assert isinstance((await transcriber.transcribe(recording("jfk.flac")[4000 : 4000 + n])).text, str)


@pytest.mark.parametrize("pcm", [silence(32000).reshape(2, -1), np.zeros(32000, np.float32), np.zeros((), np.int16)])
async def test_wrong_shapes_raise(transcriber: Transcriber, pcm: Pcm) -> None:
    with pytest.raises(ValueError, match="int16"):
        await transcriber.transcribe(pcm)


async def test_the_longest_is_taken_and_one_sample_more_is_not(transcriber: Transcriber) -> None:
    longest = transcriber.longest
    assert longest == 20 * RATE
    speech = np.concatenate([recording("jfk.flac")] * 2)
    assert "ask not what your country" in words((await transcriber.transcribe(speech[:longest])).text)
    with pytest.raises(ValueError, match="at most"):
        await transcriber.transcribe(speech[: longest + 1])


async def test_the_buffer_may_be_used_again_at_once(transcriber: Transcriber) -> None:
    pcm = recording("sb_spk1_snt5.flac")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(transcriber.transcribe(pcm))
        await asyncio.sleep(0)
        pcm[:] = 0
    assert words(task.result().text) == SAID["sb_spk1_snt5.flac"]


async def test_two_at_a_time(transcriber: Transcriber) -> None:
    names = ["ps_goforward.flac", "sb_spk1_snt5.flac", "sb_spk1_snt1.flac"]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(transcriber.transcribe(recording(name))) for name in names]
    assert [words(task.result().text) for task in tasks] == [SAID[name] for name in names]


async def test_cancelled_leaves_no_running_work(transcriber: Transcriber, workers: Workers) -> None:
    await transcriber.warm_up()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(transcriber.transcribe(recording("jfk.flac")))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    await settled(workers)
    assert words((await transcriber.transcribe(recording("ps_goforward.flac"))).text) == SAID["ps_goforward.flac"]


class Refusing:
    """A Runner that fails in a chosen way."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        assert self._error is not None, "this audio should not have been transcribed"
        raise self._error

    async def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        raise NotImplementedError
        yield


@pytest.mark.parametrize("make", [Moonshine, lambda runner, path: Sherpa(runner, str(path))])
async def test_errors_are_those_of_the_port(make: Callable[..., Transcriber], model_dir: Path) -> None:
    def failing(error: Exception) -> Transcriber:
        return make(Refusing(error)) if make is Moonshine else make(Refusing(error), model_dir)

    with pytest.raises(ProviderTimeout) as late:
        await failing(TimeoutError()).transcribe(silence(RATE))
    assert (late.value.stage, late.value.retryable) == ("stt", True)
    with pytest.raises(ProviderError) as broken:
        await failing(RuntimeError("a word of the user")).transcribe(silence(RATE))
    assert (broken.value.stage, broken.value.retryable) == ("stt", False)
    assert "word" not in str(broken.value)
    workers = Workers()
    workers.close()
    runner: Runner = workers
    with pytest.raises(ProviderError, match="closed") as busy:
        await (make(runner) if make is Moonshine else make(runner, model_dir)).transcribe(silence(RATE))
    assert busy.value.retryable


class TestMoonshine:
    async def test_phrases_are_held_against_the_words(self, workers: Workers) -> None:
        transcriber = Moonshine(workers)
        pcm = recording("sb_spk1_snt5.flac")[: int(1.1 * RATE)]
        found, _ = await transcriber.choose(pcm, ["Stop."])
        again, odds = await transcriber.choose(pcm, ["Stop.", found.text, "Zażółć. 🙂"])
        assert again == found
        assert odds[1] == pytest.approx(0.0, abs=0.01)  # what it wrote is as likely as what it wrote
        assert max(odds[0], odds[2]) < -5

    async def test_signs_and_calls_are_told_apart(self, workers: Workers) -> None:
        transcriber, choices = Moonshine(workers), lexicons.choices("en")
        voice = pytest.importorskip("hibari").Hibari()
        for text, is_sign in (("Yeah.", True), ("Okay.", True), ("Stop.", False), ("Wait.", False)):
            said = np.concatenate(list(voice.stream(text)))[::3].repeat(2)  # 24 kHz to 16, well enough
            found, odds = await transcriber.choose(
                np.rint(said * 20000).astype(np.int16)[: int(1.2 * RATE)], choices.phrases
            )
            sign, call = max(odds[: len(choices.signs)]), max(odds[len(choices.signs) :])
            assert (sign > call + 2) == is_sign, (text, found)
            assert (call > sign + 2) != is_sign, (text, found)

    async def test_too_little_is_no_phrase(self) -> None:
        found, odds = await Moonshine(Refusing()).choose(silence(100), ["Stop.", "Wait."])
        assert (found.text, odds) == ("", (-math.inf, -math.inf))

    async def test_the_decoder_says_how_sure_it_is(self, workers: Workers) -> None:
        transcriber = Moonshine(workers)
        pcm = recording("jfk.flac")
        whole = await transcriber.transcribe(pcm)
        # "... my fellow Americans, ask not what your | country"
        cut = await transcriber.transcribe(pcm[: int(5.0 * RATE)])
        for found in (whole, cut):
            assert found.language == "en"
            assert found.logprob is not None
            assert found.p_stop is not None
            assert found.p_comma is not None
            assert found.logprob < 0
            assert 0 <= found.p_stop <= 1
            assert 0 <= found.p_stop + found.p_comma <= 1.0001
        assert (whole.p_stop or 0) > 0.8
        assert (cut.p_stop or 0) < (whole.p_stop or 0)

    async def test_a_name_the_engine_writes_without_a_stop_still_has_its_probability(self, workers: Workers) -> None:
        found = await Moonshine(workers).transcribe(recording("ps_goforward.flac"))
        assert found.text.endswith(".")
        assert (found.p_stop or 0) > 0.5

    async def test_noise_never_ends_in_an_endless_loop(self, workers: Workers) -> None:
        transcriber = Moonshine(workers)
        for seed, seconds in enumerate((1, 10, 20)):
            noise = np.random.default_rng(seed).standard_normal(seconds * RATE) * 100
            found = await transcriber.transcribe(noise.astype(np.int16))
            assert len(found.text.split()) <= moonshine.WORDS_SPARE + moonshine.WORDS_PER_S * seconds
            assert moonshine.loop_end(found.text.split()) is None

    async def test_an_abandoned_decode_stops_at_the_next_token(self, workers: Workers) -> None:
        """The worker is held between two tokens, so that the caller has gone before the second."""
        runner = Pausing(workers)
        transcriber = Moonshine(runner)
        await transcriber.warm_up()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(transcriber.transcribe(recording("jfk.flac")))
            await workers.call(lambda: runner.begun.wait(30))
            task.cancel()
            await asyncio.wait({task})
            runner.go.set()
        await settled(workers)
        assert runner.results == [""]

    @pytest.mark.parametrize("missing", ["onnxruntime", "moonshine_voice"])
    async def test_it_says_what_to_install(
        self, missing: str, workers: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ConfigError, match=r"pip install 'voiceloop\[local\]'"):
            await Moonshine(workers).warm_up()

    def test_the_package_with_the_weights_is_not_imported(self) -> None:
        assert "moonshine_voice" not in sys.modules

    @pytest.mark.parametrize(
        ("text", "end"),
        [
            ("", None),
            ("no no no no", None),
            ("zero zero zero zero one nine", None),
            ("I said go away, go away, go away.", None),
            ("yes " + "no, " * 8, 2),
            ("uh " * 60, 1),
            ("and then " + "you can go, " * 4, 5),
            ("and then " + "you can go " * 3, None),
            ("a b " * 5 + "and so on", 2),
            ("one two three four five six seven eight nine ten " * 4, 10),
        ],
    )
    def test_where_a_loop_ends(self, text: str, end: int | None) -> None:
        assert moonshine.loop_end(text.split()) == end

    def test_tokens_have_lengths_of_one_byte_or_two(self) -> None:
        long = bytes(range(200))
        data = b"\x00" + b"\x01a" + bytes([128 + 200 % 128, 200 // 128]) + long + b"\x02bc"
        assert moonshine.read_tokens(data) == [b"", b"a", long, b"bc"]


class Pausing:
    """Runs work like the workers it wraps, but the second call waits before it begins."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._n = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.results: list[str] = []

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        self._n += 1
        if self._n == 1:
            return await self._workers.call(fn, timeout_s=timeout_s)

        def held() -> T:
            self.begun.set()
            assert self.go.wait(30)
            result = fn()
            transcript = result[0] if isinstance(result, tuple) else result
            self.results.append(getattr(transcript, "text", "?"))
            return result

        return await self._workers.call(held, timeout_s=timeout_s)

    def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        return self._workers.stream(fn, timeout_s=timeout_s)


def entry(key: str, value: str) -> bytes:
    """A metadata entry as it stands in an .onnx file."""
    both = bytes([0x0A, len(key)]) + key.encode() + bytes([0x12, len(value)]) + value.encode()
    return bytes([0x72, len(both)]) + both


def kind(value: str) -> bytes:
    return b"weights" * 100 + entry("model_type", value)


LAYOUTS: list[tuple[str, dict[str, bytes], str]] = [
    ("Moonshine v1", dict.fromkeys(
        ["preprocess.onnx", "encode.int8.onnx", "uncached_decode.int8.onnx", "cached_decode.int8.onnx", "tokens.txt"],
        b"x"), "from_moonshine"),
    ("Moonshine v2", dict.fromkeys([*WEIGHTS, "tokens.txt"], b"x"), "from_moonshine_v2"),
    ("Whisper", {"tiny.en-encoder.onnx": entry("n_mels", "80"), "tiny.en-decoder.onnx": b"x",
        "tiny.en-tokens.txt": b"x"}, "from_whisper"),
    ("Zipformer", {"encoder-epoch-99-avg-1.onnx": kind("zipformer2"), "decoder-epoch-99-avg-1.onnx": b"x",
        "joiner-epoch-99-avg-1.onnx": b"x", "tokens.txt": b"x"}, "from_transducer"),
    ("Parakeet", {"encoder.int8.onnx": kind("EncDecRNNTBPEModel"), "decoder.int8.onnx": b"x",
        "joiner.int8.onnx": b"x", "tokens.txt": b"x"}, "from_transducer"),
    ("Paraformer", {"model.int8.onnx": kind("paraformer"), "tokens.txt": b"x"}, "from_paraformer"),
    ("SenseVoice", {"model.onnx": kind("sense_voice_ctc"), "tokens.txt": b"x"}, "from_sense_voice"),
    ("NeMo CTC", {"model.onnx": kind("EncDecCTCModelBPE"), "tokens.txt": b"x"}, "from_nemo_ctc"),
    ("Zipformer CTC", {"ctc-epoch-1.onnx": kind("zipformer2_ctc"), "tokens.txt": b"x"}, "from_zipformer_ctc"),
]  # fmt: skip


class TestSherpa:
    @pytest.mark.parametrize(("files", "constructor"), [x[1:] for x in LAYOUTS], ids=[x[0] for x in LAYOUTS])
    def test_the_kind_of_model_is_told_by_its_files(
        self, files: dict[str, bytes], constructor: str, tmp_path: Path
    ) -> None:
        library = pytest.importorskip("sherpa_onnx")
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        found = sherpa.detect(tmp_path)
        assert found.constructor == constructor
        assert hasattr(library.OfflineRecognizer, constructor)
        assert {Path(v).name for v in found.arguments.values() if v.startswith(str(tmp_path))} == set(files)
        # Without its tokens it is no model.
        next(tmp_path.glob("*tokens.txt")).unlink()
        with pytest.raises(ConfigError, match="Looked for"):
            sherpa.detect(tmp_path)

    def test_nemo_transducers_are_told_apart(self, tmp_path: Path) -> None:
        for name, files, _ in LAYOUTS[3:5]:
            directory = tmp_path / name
            directory.mkdir()
            for file, data in files.items():
                (directory / file).write_bytes(data)
        assert sherpa.detect(tmp_path / "Zipformer").arguments["model_type"] == "transducer"
        assert sherpa.detect(tmp_path / "Parakeet").arguments["model_type"] == "nemo_transducer"

    def test_quantized_files_come_first(self, tmp_path: Path) -> None:
        for name in ("model.onnx", "model.int8.onnx"):
            (tmp_path / name).write_bytes(kind("paraformer"))
        (tmp_path / "tokens.txt").write_bytes(b"x")
        assert sherpa.detect(tmp_path).arguments["paraformer"].endswith("model.int8.onnx")

    def test_the_language_reaches_whisper(self, tmp_path: Path) -> None:
        for name, data in LAYOUTS[2][1].items():
            (tmp_path / name).write_bytes(data)
        assert sherpa.detect(tmp_path, "de").arguments["language"] == "de"
        assert sherpa.detect(tmp_path).arguments["language"] == ""

    def test_streaming_models_are_refused(self, tmp_path: Path) -> None:
        for name, data in LAYOUTS[3][1].items():
            (tmp_path / name).write_bytes(data + entry("decode_chunk_len", "32"))
        with pytest.raises(ConfigError, match="streaming"):
            sherpa.detect(tmp_path)

    @pytest.mark.parametrize(
        "files",
        [
            {},
            {"tokens.txt": b"x"},
            {"model.onnx": kind("a cat"), "tokens.txt": b"x"},
            {"model.onnx": b"", "tokens.txt": b"x"},
            {"x-encoder.onnx": b"x", "x-decoder.onnx": b"x", "tokens.txt": b"x"},
            {"encoder.onnx": b"x", "joiner.onnx": b"x", "decoder.onnx": b"x"},
        ],
    )
    def test_anything_else_lists_what_was_looked_for(self, files: dict[str, bytes], tmp_path: Path) -> None:
        """sherpa-onnx itself would end the process."""
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=r"(?s)Looked for:.*Moonshine.*Whisper.*tokens\.txt"):
            Sherpa(Refusing(), str(tmp_path))

    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no directory"):
            Sherpa(Refusing(), str(tmp_path / "none"))

    async def test_it_says_what_to_install(
        self, workers: Workers, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
        with pytest.raises(ConfigError, match=r"pip install 'voiceloop\[sherpa\]'"):
            await Sherpa(workers, str(model_dir)).warm_up()
