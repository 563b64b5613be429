"""Engines on virtual time: what they hear is real, how long they take is set, and every call is counted.

Real results are kept on disk under the hash of the sound and of the adapter that made them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from voiceloop.adapters.endofturn import smart_turn
from voiceloop.adapters.stt import moonshine
from voiceloop.adapters.vad import gated, silero, webrtc
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.ports import Manner, Transcript, TurnView, Vad

T = TypeVar("T")

STT_S, LLM_S, SENTENCE_S, TTS_S = 0.2, 0.2, 0.04, 0.1
"""Delays of the services: words, first token, the rest of the first sentence, first sound."""


MODEL_S = 0.15
"""What Smart Turn needs on the machine of shared/ENGINES.md."""


class Inline:
    """A `Runner` that runs work where it is asked for: on virtual time it takes no time."""

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        """fn()."""
        return fn()

    async def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        """Its items."""
        for item in fn():
            yield item


def _source(*modules: Any) -> bytes:
    return b"".join(Path(module.__file__).read_bytes() for module in modules)


class Kept:
    """Results on disk, one small file each; several processes may use the directory at once."""

    def __init__(self, directory: Path, *modules: Any) -> None:
        self._directory = directory
        self._salt = hashlib.sha256(_source(*modules)).digest()
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, pcm: Pcm, make: Callable[[], Any], more: bytes = b"") -> Any:
        """What `make` gave, or gives now, for this sound and what else it depends on; must be JSON."""
        key = hashlib.sha256(self._salt + more + pcm.tobytes()).hexdigest()
        path = self._directory / key[:2] / key[2:32]
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            made = make()
            path.parent.mkdir(exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(made), encoding="utf-8")
            new.replace(path)
            return made


class Recognizer:
    """Moonshine at once, or what it said before."""

    def __init__(self, cache: Path) -> None:
        self._kept = Kept(cache / "words", moonshine)
        self._engine = moonshine.Moonshine(Inline())

    def transcript(self, pcm: Pcm) -> Transcript:
        """What it makes of at most 20 s."""
        return Transcript(**self._kept.get(pcm, lambda: asdict(self._now(pcm))))

    def choice(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """What it makes of a brief sound, and the odds of phrases."""
        key = "\n".join(phrases).encode()
        found = self._kept.get(pcm, lambda: self._chosen(pcm, phrases), key)
        return Transcript(**found["transcript"]), tuple(float(each) for each in found["odds"])

    def text(self, pcm: Pcm) -> str:
        """Only the words."""
        return self.transcript(pcm).text

    def _now(self, pcm: Pcm) -> Transcript:
        return _inline(self._engine.transcribe(pcm))

    def _chosen(self, pcm: Pcm, phrases: Sequence[str]) -> dict[str, Any]:
        transcript, odds = _inline(self._engine.choose(pcm, phrases))
        return {"transcript": asdict(transcript), "odds": [repr(each) for each in odds]}


def _inline(steps: Coroutine[Any, Any, T]) -> T:
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a recognizer that runs inline does not wait")


class Listener:
    """An `EndOfTurn`: Smart Turn, or what it said before, MODEL_S after the call."""

    def __init__(self, cache: Path, model: Path) -> None:
        self._kept = Kept(cache / "scores", smart_turn)
        self._network = smart_turn.Network(model)

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def score(self, pcm: Pcm) -> float:
        """Its probability that the turn is complete."""
        await asyncio.sleep(MODEL_S)
        return float(self._kept.get(pcm, lambda: self._network.score(pcm)))

    async def aclose(self) -> None:
        """Nothing to give back."""


class Transcriber:
    """A `Transcriber` that answers STT_S after the call with the recognizer's words."""

    longest: int | None = moonshine.LONGEST

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self.calls = 0
        self.asked_s = 0.0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words; a call that is cancelled before costs no decoding."""
        self.calls += 1
        self.asked_s += pcm.size / RATE
        await asyncio.sleep(STT_S)
        return self._recognizer.transcript(pcm)

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """As `transcribe`, at the same cost: the odds come out of the same call."""
        self.calls += 1
        self.asked_s += pcm.size / RATE
        await asyncio.sleep(STT_S)
        return self._recognizer.choice(pcm, phrases)

    async def aclose(self) -> None:
        """Nothing to give back."""


class Handler:
    """A `Handler` that says n sentences, each call its own."""

    early = True

    def __init__(self, sentences: int) -> None:
        self._sentences = sentences
        self.calls = 0
        self.asked: list[str] = []

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """First token after LLM_S, first sentence SENTENCE_S later, the others as fast."""
        self.calls += 1
        self.asked.append(turn.text)
        number = self.calls
        await asyncio.sleep(LLM_S)
        for sentence in range(self._sentences):
            tokens = f"This is sentence {sentence} of answer {number}. ".split(" ")
            for token in tokens[:-1]:
                await asyncio.sleep(SENTENCE_S / (len(tokens) - 1))
                yield token + " "

    async def aclose(self) -> None:
        """Nothing to give back."""


SENTENCE_SOUND_S = 2.5


def voice(text: str) -> Pcm:
    """The sound of a sentence: hiss that is like no other sentence's, so that lost or doubled samples are seen."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    return rng.integers(-6000, 6000, round(SENTENCE_SOUND_S * RATE)).astype(np.int16)


class Synthesizer:
    """A `Synthesizer` whose first 100 ms come after TTS_S, and the rest at once."""

    rate = RATE

    def __init__(self) -> None:
        self.calls = 0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """Chunks of 100 ms."""
        self.calls += 1
        await asyncio.sleep(TTS_S)
        pcm = voice(text)
        for at in range(0, pcm.size, RATE // 10):
            yield pcm[at : at + RATE // 10]
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Nothing to give back."""


def silero_engine() -> Vad:
    """The engine `silero`, as build.py makes it."""
    return gated.GatedVad(webrtc.WebrtcVad(0), silero.SileroVad())


class Recall:
    """A `Vad` that remembers what the real one said of the same frames, from the first on.

    The detector keeps state: it goes on where the remembered frames end, and when a frame differs from what was heard
    before at this place, it hears everything up to it again.
    """

    def __init__(self, vad: Vad) -> None:
        self._vad = vad
        vad.reset()
        self._frames: list[Pcm] = []
        self._found: list[float] = []
        self._at = 0

    def reset(self) -> None:
        """A new session hears from the beginning."""
        self._at = 0

    def probability(self, frame: Pcm) -> float:
        """See `ports.Vad`."""
        at, self._at = self._at, self._at + 1
        if at < len(self._frames):
            if np.array_equal(self._frames[at], frame):
                return self._found[at]
            del self._frames[at:], self._found[at:]
            self._vad.reset()
            for before in self._frames:
                self._vad.probability(before)
        self._frames.append(frame)
        self._found.append(self._vad.probability(frame))
        return self._found[at]


assert round(SENTENCE_SOUND_S * RATE) % FRAME == 0
