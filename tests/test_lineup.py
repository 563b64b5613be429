"""Which engines stand in for which, as the configuration says it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from voiceloop import lineup
from voiceloop.config import Config, override
from voiceloop.errors import ConfigError
from voiceloop.makers import Tools
from voiceloop.registry import Spec
from voiceloop.session.workers import Workers

REMOTE = {
    "service.base_url": "http://localhost:1/v1",
    "services": {
        "backup": {"base_url": "http://localhost:2/v1", "stt_model": "big", "tts_model": "koko", "voice": "af"}
    },
    "stt.engine": "openai",
    "tts.engine": "openai",
}


def configured(**changes: object) -> Config:
    return override(Config(), {**REMOTE, **{key.replace("__", "."): value for key, value in changes.items()}})


@pytest.fixture(autouse=True)
def _all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spec, "available", True)
    monkeypatch.setattr("shutil.which", lambda program: f"bin/{program}")


@pytest.mark.parametrize(
    ("changes", "stt", "tts"),
    [
        ({}, ["openai", "moonshine"], ["openai", "hibari"]),
        ({"stt__fallback": [], "tts__fallback": []}, ["openai"], ["openai"]),
        (
            {"stt__fallback": ["openai@backup", "embedded"], "tts__fallback": ["openai@backup", "openai"]},
            ["openai", "openai@backup", "moonshine"],
            ["openai", "openai@backup"],
        ),
        ({"stt__engine": "moonshine", "tts__engine": "hibari"}, ["moonshine"], ["hibari"]),
        ({"stt__engine": "openai@backup", "stt__language": "de"}, ["openai@backup"], ["openai", "espeak"]),
        ({"stt__language": "en-GB"}, ["openai", "moonshine"], ["openai", "hibari"]),
        (
            {
                "offline": True,
                "stt__engine": "moonshine",
                "tts__engine": "espeak",
                "stt__fallback": ["openai"],
                "tts__fallback": ["openai@backup", "embedded"],
            },
            ["moonshine"],
            ["espeak", "hibari"],
        ),
    ],
)
def test_who_comes_after_whom(changes: dict[str, object], stt: list[str], tts: list[str]) -> None:
    config = configured(**changes)
    assert (lineup.links(config, "stt"), lineup.links(config, "tts")) == (stt, tts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stt__fallback": ["openai@other"]},
            "stt.fallback: there is no service named 'other'. In [services] there is: backup.",
        ),
        ({"stt__engine": "openai@other", "services": {}}, "stt.engine: there is no service named 'other'."),
        ({"stt__fallback": ["nobody"]}, "stt.fallback: there is no engine named 'nobody'. Known: auto, moonshine"),
        ({"stt__fallback": ["moonshine@backup"]}, "stt.fallback: moonshine needs no service"),
    ],
)
def test_what_is_wrong_names_its_key(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lineup.links(configured(**changes), "stt")
    assert str(caught.value).startswith(said)


def test_without_an_installed_engine_there_is_no_embedded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spec, "available", False)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert lineup.links(configured(), "stt") == ["openai"]
    assert lineup.links(configured(), "tts") == ["openai"]


async def test_a_service_that_is_named_needs_a_base_url() -> None:
    async with AsyncExitStack() as closing:
        config = configured(services={"backup": {}}, stt__fallback=["openai@backup"])
        workers = Workers()
        closing.callback(workers.close)
        with pytest.raises(ConfigError, match=r"services\.backup\.base_url: say where"):
            lineup.transcriber(Tools(config, workers, closing))
