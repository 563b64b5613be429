"""Engines for the worker process, installed as a plug-in: what they do is written in the text that they are given."""

from __future__ import annotations

from pathlib import Path

from tests.program import ROOT, distribution, environment
from voiceloop.config import Config, override

SOURCE = """
import asyncio, os, time
import numpy as np
from voiceloop.core.audio import RATE
from voiceloop.errors import ConfigError
from voiceloop.ports import Transcript

def note(word):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(word + "\\n")

class Tts:
    rate = 24_000
    voices = ("tone",)
    async def warm_up(self):
        note("warm")
        print("a library that prints")
    async def speak(self, text, manner=None):
        if "crash" in text:
            yield np.zeros(2400, np.int16)
            os._exit(9)
        if "block" in text:
            time.sleep(60)
        if "bug" in text:
            raise ZeroDivisionError
        n = 10**9 if "endless" in text else len(text.split())
        try:
            if "hang" in text:
                await asyncio.Event().wait()
            for _ in range(n):
                note("chunk")
                yield np.ones(24_000, np.int16)
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            note("cancelled")
            raise
    async def aclose(self):
        pass

class Stt:
    longest = None
    async def warm_up(self):
        if os.environ.get("FAKE_STT") == "missing":
            raise ConfigError("the model is not there: install it.")
    async def transcribe(self, pcm, *, language=None, prompt=None):
        note(f"piece {pcm.size / RATE:.0f}")
        return Transcript("words", "en")
    async def aclose(self):
        pass

def stt(tools):
    return Stt()

def tts(tools):
    return Tts()
"""

ENTRY_POINTS = "[voiceloop.stt]\nfake = fakeengines:stt\n[voiceloop.tts]\nfake = fakeengines:tts\n"


class FakeEngines:
    """env: of a process in which they are installed. log: what they did."""

    def __init__(self, folder: Path) -> None:
        site = distribution(folder / "site", "fakeengines", SOURCE, ENTRY_POINTS)
        self.log = folder / "log"
        self.log.touch()
        self.env = environment(folder, PYTHONPATH=f"{ROOT}:{site}", FAKE_LOG=str(self.log))
        self.config = override(Config(), {"stt.engine": "fake", "tts.engine": "fake", "vad.engine": "webrtc"})

    def count(self, word: str) -> int:
        """How often they did something."""
        return self.log.read_text().splitlines().count(word)
