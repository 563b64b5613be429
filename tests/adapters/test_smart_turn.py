"""Smart Turn: its features against what is known of them, the adapter around a network that the test plays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from voiceloop import makers
from voiceloop.adapters.endofturn import smart_turn
from voiceloop.adapters.endofturn.smart_turn import SPAN, Network, SmartTurn, log_mel, mel_filters
from voiceloop.config import Config, override
from voiceloop.core.audio import RATE, silence, to_float
from voiceloop.errors import ConfigError, ProviderError
from voiceloop.session.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


class Played:
    """Instead of the network: keeps what it is given, and answers."""

    def __init__(self, p: float = 0.75) -> None:
        self.p = p
        self.given: list[dict[str, NDArray[Any]]] = []

    def run(self, outputs: list[str] | None, feed: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        self.given.append(feed)
        return [np.array([[self.p]], np.float32)]


def noise(n: int, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).normal(0, 3000, n).astype(np.int16)


def tone(hz: float, n: int = SPAN) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(n) / RATE).astype(np.float32)


def test_the_bands_are_those_of_slaney() -> None:
    """Linear below 1 kHz, then logarithmic; every triangle has the area 2 / width * width / 2 = 1 in Hz."""
    bank = mel_filters()
    assert bank.shape == (80, 201)
    centres = (bank * np.arange(201) * 40.0).sum(axis=1) / bank.sum(axis=1)
    # 81 steps up to mel 45.245, the mel of 8 kHz: 37.24 Hz each below 1 kHz, then a factor of 1.0393 each.
    assert centres[[9, 19]] == pytest.approx([372.4, 744.8], abs=12)
    assert (centres[79] / centres[59]) ** (1 / 20) == pytest.approx(6.4 ** (45.245 / 81 / 27), abs=0.001)
    assert (bank[60:].sum(axis=1) * 40.0) == pytest.approx(np.ones(20), abs=0.05)


def test_shape_and_range() -> None:
    features = log_mel(to_float(noise(SPAN)))
    assert features.shape == (80, 800)
    assert features.dtype == np.float32
    assert features.max() - features.min() <= 2.0 + 1e-6


@pytest.mark.parametrize(("hz", "band"), [(409.6, 10), (782.1, 20)])
def test_a_tone_is_loudest_in_its_band(hz, band) -> None:
    assert set(log_mel(tone(hz)).argmax(axis=0)[5:-5]) == {band}


def test_loudness_does_not_matter_and_time_does() -> None:
    x = to_float(noise(SPAN))
    assert log_mel(x * np.float32(0.25)) == pytest.approx(log_mel(x), abs=1e-4)
    late = np.concatenate((np.zeros(SPAN // 2, np.float32), x[: SPAN // 2]))
    features = log_mel(late)
    # Not exactly silent: the mean is taken away, so the lowest bands have what is left of it.
    assert np.ptp(features[10:, :398]) == pytest.approx(0.0, abs=1e-5)
    assert features[:, 402:].mean() > features[:, :398].mean() + 1


def test_silence_is_no_trouble() -> None:
    features = log_mel(np.zeros(SPAN, np.float32))
    assert np.all(features == features[0, 0])


def test_the_network_hears_the_last_eight_seconds_at_the_end() -> None:
    played = Played()
    network = Network(Path("none"), played)
    assert network.score(noise(3 * RATE)) == 0.75
    long = np.concatenate((noise(RATE, 2), noise(SPAN)))
    network.score(long)
    network.score(long[-SPAN:])
    short, whole, last = (feed["input_features"] for feed in played.given)
    assert short.shape == (1, 80, 800)
    assert np.ptp(short[0, 10:, :498]) == pytest.approx(0.0, abs=1e-5)
    assert short[0, :, 502:].mean() > 0 > short[0, :, :498].mean()
    assert np.array_equal(whole, last)


def test_an_empty_turn_has_a_score() -> None:
    assert Network(Path("none"), Played(0.25)).score(silence(0)) == 0.25


async def test_the_adapter_loads_once_and_scores(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def load(path: Path) -> Played:
        opened.append(path)
        return Played()

    monkeypatch.setattr(smart_turn, "_open", load)
    engine = SmartTurn(workers, Path("mine.onnx"))
    await engine.warm_up()
    assert await engine.score(noise(RATE)) == 0.75
    assert opened == [Path("mine.onnx")]
    await engine.aclose()
    await engine.score(noise(RATE))
    assert len(opened) == 2


@pytest.mark.parametrize("pcm", [np.zeros(10, np.float32), np.zeros((2, 10), np.int16)])
async def test_only_int16_mono(workers: Workers, pcm) -> None:
    with pytest.raises(ValueError, match="audio is int16"):
        await SmartTurn(workers).score(pcm)


async def test_a_model_file_that_is_not_there(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"turn\.model_path: there is no file .*gone\.onnx"):
        await SmartTurn(workers, tmp_path / "gone.onnx").warm_up()


async def test_a_file_that_is_no_model(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ProviderError, match="Smart Turn failed"):
        await SmartTurn(workers, tmp_path / "bad.onnx").warm_up()


def test_without_the_package_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = tmp_path / "pipecat"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise RuntimeError('it must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"turn\.model_path .*pip install --no-deps pipecat-ai"):
        smart_turn.packaged_model()
    model = hidden / "audio" / "turn" / "smart_turn" / "data" / "smart-turn-v3.2-cpu.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    assert smart_turn.packaged_model() == model


async def test_the_maker_takes_the_path(workers: Workers, tmp_path: Path) -> None:
    config = override(Config(), {"turn.model": "smart_turn", "turn.model_path": str(tmp_path / "gone.onnx")})
    async with AsyncExitStack() as closing:
        engine = makers.smart_turn(makers.Tools(config, workers, closing))
        with pytest.raises(ConfigError, match=r"gone\.onnx"):
            await engine.warm_up()
