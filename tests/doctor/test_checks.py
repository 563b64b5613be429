"""Each check on made-up recordings and engines: what it finds, and what it says to do."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.adapters.service import Script, Service, error, html, json_answer, slams
from tests.doctor.test_listening import Facts
from voiceloop import calibration
from voiceloop.build import Assembled
from voiceloop.calibration import Calibration
from voiceloop.config import Config, override
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.doctor import engines, sound
from voiceloop.doctor.finding import Finding, advice
from voiceloop.doctor.listening import Take
from voiceloop.doctor.signals import Echoes
from voiceloop.errors import ConfigError, MediaError, ProviderError
from voiceloop.ports import Manner
from voiceloop.session.session import Parts
from voiceloop.testing import (
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeSynthesizer,
    FakeTranscriber,
    FakeVad,
    script,
)

PAIR = "Cards: ear at 16000 Hz, Cards: mouth at 16000 Hz"


@dataclass
class Row:
    name: str = "ear"
    host_api: str = "Cards"
    inputs: int = 1
    outputs: int = 0
    rates: tuple[int, ...] = (16_000, 48_000)
    is_default_input: bool = False
    is_default_output: bool = False


def noise(level: float, n: int = 6 * RATE) -> Pcm:
    return np.random.default_rng(1).normal(0, level, n).clip(-32768, 32767).astype(np.int16)


def recorded(mic: Pcm, **fields: object) -> Take:
    take = Take(Facts(0.06, 0.06), RATE, mic[:RATE], mic, silence(mic.size), (), mic.size / RATE, 0.05, 0, 0)
    return replace(take, **fields)


def seen(*findings: Finding) -> list[tuple[str, str]]:
    return [(finding.name, finding.verdict) for finding in findings]


# --- devices ---


@pytest.mark.parametrize(
    ("rows", "verdict", "text"),
    [
        ([Row(), Row("mouth", inputs=0, outputs=2)], "ok", "1 to listen with, 1 to speak with"),
        ([Row()], "bad", "no loudspeaker was found"),
        ([Row(inputs=0, outputs=1)], "bad", "no microphone was found"),
        ([], "bad", "no microphone and no loudspeaker was found"),
    ],
)
def test_devices(rows: list[Row], verdict: str, text: str) -> None:
    found = sound.listed(rows)
    assert (found.verdict, found.text) == (verdict, text)


def test_the_pair_is_told_with_the_rates_it_opens_at() -> None:
    found = sound.opened(recorded(noise(10)), [Row(), Row("other", rates=(8_000,))])
    assert found.data["rates_hz"] == [16_000, 48_000]
    assert found.data["pair"] == PAIR
    assert "PortAudio says 60 ms in and 60 ms out" in found.text


@pytest.mark.parametrize(
    ("mic", "verdict", "text"),
    [
        (noise(12), "ok", "noise floor -69 dBFS, nothing clipped"),
        (np.concatenate((silence(2 * RATE), noise(300))), "ok", "noise floor digital silence, nothing clipped"),
        (silence(RATE * 3), "bad", "gives nothing but zeros"),
        (np.full(RATE * 3, 500, np.int16), "bad", "gives a constant (+0.015 of full scale) and no sound"),
        (noise(1000), "warn", "the quiet room has -30 dBFS: words are hard to tell from that"),
        (noise(10) + np.int16(1000), "warn", "the sound is off centre by +3.1% of full scale"),
        (np.concatenate((noise(10), noise(1e6, RATE))), "warn", "% of the sound is clipped"),
    ],
)
def test_the_microphone(mic: Pcm, verdict: str, text: str) -> None:
    (found,) = sound.microphone(recorded(mic))
    assert found.verdict == verdict
    assert text in found.text
    assert bool(found.todo) is (verdict != "ok")
    json.dumps(dict(found.data))


@pytest.mark.parametrize(
    ("fields", "verdict"), [({}, "ok"), ({"late": 1}, "warn"), ({"lost": 320}, "warn"), ({"took_s": 6.5}, "warn")]
)
def test_underruns(fields: dict[str, object], verdict: str) -> None:
    assert sound.underruns(recorded(noise(10), **fields)).verdict == verdict


KNOWN = Calibration(PAIR, 0.15, 0.21, 0.12, 0.09, 0.001, 20.0, 8)


@pytest.mark.parametrize(
    ("echo", "canceller", "verdict", "todo"),
    [
        (Echoes(0.15, 0.001, 20, 5, 5), True, "ok", ""),
        (Echoes(0.15, 0.001, 20, 5, 5), None, "ok", ""),
        (Echoes(0.15, 0.001, 20, 5, 5), False, "warn", "no echo canceller"),
        (Echoes(0.15, 0.001, 50, 5, 5), False, "ok", ""),
        (Echoes(0.15, 0.001, -3, 5, 5), True, "warn", "turn one of them down"),
        (Echoes(0.15, 0.05, 20, 5, 5), True, "warn", "use one device for both"),
        (Echoes(0.6, 0.001, 20, 5, 5), True, "warn", "avoid Bluetooth"),
        (None, True, "warn", "headphones"),
    ],
)
def test_the_echo(echo: Echoes | None, canceller: bool | None, verdict: str, todo: str) -> None:
    found = sound.echo(recorded(noise(10)), (echo, KNOWN) if echo else None, canceller)
    assert found.verdict == verdict
    assert todo in found.todo


@pytest.mark.parametrize(
    ("found", "known", "verdict", "text"),
    [
        (KNOWN, KNOWN, "ok", "known: 210 ms through both devices, where PortAudio says 120 ms"),
        (None, KNOWN, "ok", "known: 210 ms"),
        (KNOWN, None, "warn", "none yet"),
        (replace(KNOWN, extra_s=0.01), None, "ok", "none yet"),
        (replace(KNOWN, extra_s=0.2), KNOWN, "warn", "heard 110 ms later than when it was calibrated"),
    ],
)
def test_what_was_calibrated(found: Calibration | None, known: Calibration | None, verdict: str, text: str) -> None:
    result = sound.compared(found, known)
    assert result.verdict == verdict
    assert text in result.text


# --- what is kept ---


def test_a_calibration_is_kept_for_its_pair(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert calibration.load(folder, PAIR) is None
    calibration.save(folder, replace(KNOWN, extra_s=0.5))
    calibration.save(folder, replace(KNOWN, pair="another", extra_s=0.01))
    path = calibration.save(folder, KNOWN)
    assert calibration.load(folder, PAIR) == KNOWN
    assert calibration.extra_s(folder, PAIR) == 0.09
    assert calibration.extra_s(folder, "another") == 0.0, "less than a block is not known to be anything"
    assert calibration.extra_s(folder, "unknown") == 0.0
    assert [row["pair"] for row in json.loads(path.read_text())] == ["another", PAIR]


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "3", "[1]", '[{"pair": "x"}]', '[{"pair": 1, "more": 2}]', "[" * 99_999]
)
def test_a_spoilt_file_is_no_calibration(tmp_path: Path, text: str) -> None:
    (tmp_path / "devices.json").write_text(text)
    assert calibration.load(tmp_path, PAIR) is None
    calibration.save(tmp_path, KNOWN)
    assert calibration.load(tmp_path, PAIR) == KNOWN


def test_a_row_that_is_spoilt_does_not_take_the_others_along(tmp_path: Path) -> None:
    path = calibration.save(tmp_path, KNOWN)
    path.write_text(json.dumps([7, {"pair": "x"}, *json.loads(path.read_text())]))
    assert calibration.load(tmp_path, PAIR) == KNOWN


@pytest.mark.parametrize("figure", ['"a lot"', "Infinity", "1e999", "-Infinity", "NaN", "3600.0"])
def test_a_figure_that_is_none_is_not_believed(tmp_path: Path, figure: str) -> None:
    path = calibration.save(tmp_path, KNOWN)
    path.write_text(path.read_text().replace("0.09", figure))
    assert calibration.extra_s(tmp_path, PAIR) == 0.0


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match=r"devices\.json cannot be written"):
        calibration.save(tmp_path / "file", KNOWN)


# --- engines ---


class Broken(FakeTranscriber):
    async def warm_up(self) -> None:
        raise ProviderError("The model cannot be loaded: install it.", stage="stt")


class Mute(FakeSynthesizer):
    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        for nothing in ():
            yield nothing


def session(stt: object = None, tts: object = None) -> Assembled:
    parts = Parts(
        FakePort(script()),
        FakeVad(),
        stt or FakeTranscriber(["please count"]),  # type: ignore[arg-type]
        FakeHandler(),
        tts or FakeSynthesizer(),  # type: ignore[arg-type]
        FakeResampler,
    )
    return Assembled(parts, {"stt": "ears", "tts": "voice", "vad": "fake", "handler": "h"}, ())


@pytest.mark.parametrize(
    ("made", "verdicts"),
    [
        (session, {"vad": "ok", "tts": "ok", "stt": "ok", "handler": "ok"}),
        (lambda: session(stt=Broken()), {"vad": "ok", "tts": "ok", "stt": "bad", "handler": "ok"}),
        (lambda: session(tts=Mute()), {"vad": "ok", "tts": "bad", "stt": "ok", "handler": "ok"}),
        (lambda: session(stt=FakeTranscriber([""])), {"vad": "ok", "tts": "ok", "stt": "warn", "handler": "ok"}),
        (
            lambda: session(stt=FakeTranscriber([ProviderError("No.", stage="stt")])),
            {"vad": "ok", "tts": "ok", "stt": "bad", "handler": "ok"},
        ),
    ],
)
async def test_engines(made, verdicts: dict[str, str]) -> None:
    told: list[str] = []
    found = {finding.name: finding async for finding in engines.load(made(), told.append)}
    assert {name: finding.verdict for name, finding in found.items()} == verdicts
    assert "loading ears" in told


def test_what_is_installed_is_listed() -> None:
    found = engines.installed()
    assert "webrtc" in found.data["vad"]  # type: ignore[operator]
    assert found.verdict == "ok"


LOCAL = override(Config(), {"stt.engine": "moonshine", "tts.engine": "espeak"})
CHAT = override(LOCAL, {"handler.name": "chat", "service.base_url": "http://localhost/v1"})


@pytest.mark.parametrize(
    ("config", "answer", "verdict", "text"),
    [
        (LOCAL, ConfigError("no service"), "ok", "none is needed"),
        (CHAT, ConfigError("no service"), "bad", "no service"),
        (CHAT, ProviderError("It is not there: start it.", stage="handler"), "bad", "It is not there"),
        (LOCAL, ProviderError("It is not there: start it.", stage="handler"), "warn", "It is not there"),
        (CHAT, ([0.2, 0.05], 200, ["gpt-4o-mini"]), "ok", "answers in 50 ms (200 ms with a new connection), 1 models"),
        (CHAT, ([0.2, 0.05], 200, ["other"]), "warn", "it knows no model gpt-4o-mini"),
        (CHAT, ([0.2, 0.05], 404, []), "ok", "it lists no models (status 404)"),
        (CHAT, ([0.2, 0.05], 401, []), "bad", "refuses the key"),
        (CHAT, ([0.2, 0.05], 503, []), "bad", "broken (status 503)"),
        (CHAT, ([2.0, 0.9], 200, []), "warn", "answers in 900 ms"),
    ],
)
async def test_the_service(config: Config, answer: object, verdict: str, text: str) -> None:
    async def knock(config: Config, name: str) -> object:
        assert name == ""
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = await engines.service(config, str, knock)  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert text in found.text


async def test_each_service_is_named() -> None:
    far = {"base_url": "http://far/v1", "api_key_env": "FAR_KEY"}
    config = override(CHAT, {"services": {"far": far, "home": {"base_url": "http://near/v1"}}})
    config = override(config, {"stt.engine": "openai@home", "stt.fallback": ["openai@far", "embedded"]})
    asked: list[str] = []

    async def knock(config: Config, name: str) -> tuple[list[float], int, list[str]]:
        asked.append(name)
        return [0.1, 0.1], 401, []

    found = [finding async for finding in engines.services(config, str, knock)]
    assert asked == ["", "far", "home"]
    assert [(f.name, f.verdict) for f in found] == [
        ("service", "bad"),
        ("service far", "warn"),
        ("service home", "bad"),
    ]
    assert found[1].todo == "Put the right key into FAR_KEY."


def test_who_stands_in_for_whom() -> None:
    assert engines.stand_ins(override(LOCAL, {"stt.fallback": [], "tts.fallback": []})) is None
    config = override(LOCAL, {"services": {"far": {}}, "stt.fallback": ["openai@far"], "tts.fallback": []})
    found = engines.stand_ins(config)
    assert found
    assert found.text == "stt openai@far; tts none"


@pytest.mark.parametrize(
    ("script", "verdict", "text"),
    [
        (json_answer({"data": [{"id": "gpt-4o-mini"}, {"id": "another"}]}), "ok", "2 models"),
        (json_answer([1]), "ok", "answers in"),
        (error("Bad key sk-secret", 401), "bad", "refuses the key (status 401)"),
        (html(502), "bad", "broken (status 502)"),
        (slams, "bad", "broke the connection"),
    ],
)
async def test_a_real_service(monkeypatch, script: Script, verdict: str, text: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with Service(script) as there:
        found = await engines.service(override(CHAT, {"service.base_url": there.url}), str)
        assert {request.path for request in there.requests} == {"/v1/models"}
        assert {request.headers["authorization"] for request in there.requests} == {"Bearer sk-secret"}
    assert found.verdict == verdict
    assert text in found.text
    assert "secret" not in f"{found}"


def test_an_error_is_split_into_what_and_what_to_do() -> None:
    assert advice("It broke: mend it.") == ("It broke", "Mend it.")
    assert advice("None is called x; there are: a, b.") == ("None is called x; there are: a, b.", "")
    assert advice("It broke.") == ("It broke.", "")
