"""hibari: an English voice of 14 MB on onnxruntime, the default synthesizer."""

from __future__ import annotations

import importlib
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import engine_errors
from voiceloop.adapters.tts.manners import Stretch, no_stretch, shares, stretched
from voiceloop.adapters.tts.trim import Trimmer
from voiceloop.core.audio import Pcm, to_pcm
from voiceloop.errors import ConfigError
from voiceloop.ports import Manner, Runner

RATE = 24_000

VOICES = ("heart",)
"""The one that the package carries; it would fetch others from the network."""

_OWN = (0.5, 1.5)
"""Speeds that its network keeps: at 2 it is 1.8 times as fast."""


class _Voice(Protocol):
    @property
    def g2p(self) -> object: ...
    def phonemize(self, text: str) -> list[str]: ...
    def from_phonemes(self, phonemes: str, *, speed: float, seed: int) -> NDArray[np.float32]: ...


class Hibari:
    """A `Synthesizer` for English at 24 kHz.

    One chunk for each sentence, its silence trimmed (tts/trim.py): so the first sound comes after one sentence, 25
    to 75 ms, and who wants it sooner gives shorter clauses. The same text gives the same samples.
    voice, speed: where a `Manner` does not say. stretch: for speeds below 0.5 and above 1.5. timeout_s: for loading,
    and for each sentence. Raises ConfigError on a voice or speed that there is not.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        voice: str = "",
        speed: float = 1.0,
        stretch: Stretch = no_stretch,
        timeout_s: float = 30.0,
    ) -> None:
        self._runner = runner
        self._speed = speed
        self._stretch = stretch
        _known(voice)
        shares(speed, *_OWN)
        self._timeout_s = timeout_s
        self._loading = threading.Lock()
        self._voice: _Voice | None = None

    @property
    def rate(self) -> int:
        """24000 Hz."""
        return RATE

    @property
    def voices(self) -> tuple[str, ...]:
        """The one that the package carries."""
        return VOICES

    async def warm_up(self) -> None:
        """Loads the voice and its dictionary, 0.5 to 4.5 s, and speaks two words to nobody; nothing if they are there.

        Raises ConfigError if the package is missing, else ProviderError.
        """
        if self._voice is not None:
            return
        with engine_errors("hibari", "tts"):
            await self._runner.call(lambda: list(self._speak("Warm up.", 1.0)), timeout_s=self._timeout_s)

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """int16 chunks at 24 kHz. Text without anything to pronounce ("...") yields nothing.

        Raises ConfigError on a manner that there is not, ProviderError. May be cancelled: a sentence under way is
        finished by its thread and dropped.
        """
        manner = manner or Manner()
        _known(manner.voice)
        own, rest = shares(self._speed if manner.speed is None else manner.speed, *_OWN)
        async with aclosing(stretched(self._trimmed(text, own), RATE, rest, self._stretch)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Lets go of the voice."""
        self._voice = None

    async def _trimmed(self, text: str, speed: float) -> AsyncGenerator[Pcm, None]:
        trimmer = Trimmer(RATE)
        with engine_errors("hibari", "tts"):
            work = self._runner.stream(lambda: self._speak(text, speed), timeout_s=self._timeout_s)
            async with aclosing(work) as sentences:
                async for sentence in sentences:
                    if (pcm := trimmer.feed(sentence)).size:
                        yield pcm
            if (pcm := trimmer.flush()).size:
                yield pcm

    def _speak(self, text: str, speed: float) -> Iterator[Pcm]:
        """On a worker: the sentences as hibari makes them."""
        voice = self._load()
        for phonemes in voice.phonemize(text):
            # Punctuation alone is spoken as a click of -30 dBFS.
            if any(c.isalpha() for c in phonemes):
                yield to_pcm(voice.from_phonemes(phonemes, speed=speed, seed=0))

    def _load(self) -> _Voice:
        with self._loading:
            if self._voice is None:
                try:
                    library = importlib.import_module("hibari")
                except ImportError as exc:
                    raise ConfigError("hibari is not installed; run: pip install 'voiceloop[local]'") from exc
                voice = cast("_Voice", library.Hibari())
                # The dictionary is loaded when it is first asked for, which is not safe in two threads.
                _ = voice.g2p
                self._voice = voice
            return self._voice


def _known(voice: str) -> None:
    if voice and voice not in VOICES:
        raise ConfigError(f"hibari has no voice {voice!r}: it has {', '.join(VOICES)}.")
