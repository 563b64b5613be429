"""Any model directory that sherpa-onnx reads offline, for languages and accuracies that the default does not have."""

from __future__ import annotations

import importlib
import mmap
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.local import engine_errors
from voiceloop.core.audio import RATE, Pcm, silence, to_float
from voiceloop.errors import ConfigError
from voiceloop.ports import Runner, Transcript

LONGEST = 20 * RATE
"""Whisper takes 30 s at most, Moonshine loops beyond 20 (shared/ENGINES.md); so 20 for all."""

SHORTEST = RATE // 10
"""Below 0.1 s there is no word."""

PADDED = RATE // 2
"""Shorter segments get silence behind them: the convolutions of some encoders refuse less than a few frames."""

LAYOUTS = """\
  Moonshine     preprocess*.onnx encode*.onnx uncached_decode*.onnx cached_decode*.onnx, or
                encoder_model*.ort decoder_model_merged*.ort (or .onnx)
  transducer    *encoder*.onnx *decoder*.onnx *joiner*.onnx (Zipformer, Conformer, NeMo Parakeet)
  Whisper       *encoder*.onnx *decoder*.onnx
  one file      *.onnx that says it is Paraformer, SenseVoice, NeMo CTC, Zipformer CTC, WeNet or TeleSpeech
  each with     *tokens.txt"""

# What `model_type` in the metadata of a single .onnx says -> constructor, name of its argument for the file.
_SINGLE = {
    "paraformer": ("from_paraformer", "paraformer"),
    "sense_voice_ctc": ("from_sense_voice", "model"),
    "EncDecCTCModelBPE": ("from_nemo_ctc", "model"),
    "EncDecCTCModel": ("from_nemo_ctc", "model"),
    "EncDecHybridRNNTCTCBPEModel": ("from_nemo_ctc", "model"),
    "zipformer2_ctc": ("from_zipformer_ctc", "model"),
    "wenet_ctc": ("from_wenet_ctc", "model"),
    "telespeech_ctc": ("from_telespeech_ctc", "model"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What lies in a model directory: a class method of OfflineRecognizer, and its arguments."""

    constructor: str
    arguments: dict[str, str] = field(default_factory=dict[str, str])


class Sherpa:
    """A `Transcriber` on the model in `model_dir`. Loads nothing until `warm_up` or the first call.

    language: ISO 639-1, for Whisper and SenseVoice; None lets them find out. n_threads: of onnxruntime.
    timeout_s: for loading, and for each segment. Raises ConfigError if the directory holds no known model.
    """

    def __init__(
        self,
        runner: Runner,
        model_dir: str,
        *,
        language: str | None = None,
        n_threads: int = 1,
        timeout_s: float = 60.0,
    ) -> None:
        self._runner = runner
        self._layout = detect(Path(model_dir).expanduser(), language)
        self._language = language
        self._n_threads = n_threads
        self._timeout_s = timeout_s
        self._loading = threading.Lock()
        self._recognizer: Any = None

    @property
    def longest(self) -> int:
        """20 s."""
        return LONGEST

    async def warm_up(self) -> None:
        """Loads the model, decodes a second of silence. Raises ConfigError without sherpa-onnx, else ProviderError."""
        await self._run(np.zeros(RATE, np.float32))

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words of one segment. The language is the constructor's; there is no place for a prompt.

        pcm: int16 (n,), 16 kHz mono, at most `longest`, else ValueError. Empty text for less than 0.1 s.
        Raises ProviderError. May be cancelled, but a running decode cannot be stopped: its thread finishes it.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"audio is int16 (n,), not {pcm.dtype} {pcm.shape}")
        if pcm.size > LONGEST:
            raise ValueError(f"a segment has at most {LONGEST} samples, not {pcm.size}")
        if pcm.size < SHORTEST:
            return Transcript("", self._language)
        if pcm.size < PADDED:
            pcm = np.concatenate((pcm, silence(PADDED - pcm.size)))
        return await self._run(to_float(pcm))

    async def aclose(self) -> None:
        """Lets go of the model."""
        self._recognizer = None

    async def _run(self, audio: NDArray[np.float32]) -> Transcript:
        with engine_errors("sherpa-onnx", "stt"):
            return await self._runner.call(lambda: self._transcribe(audio), timeout_s=self._timeout_s)

    def _transcribe(self, audio: NDArray[np.float32]) -> Transcript:
        recognizer = self._load()
        stream = recognizer.create_stream()
        stream.accept_waveform(RATE, audio)
        recognizer.decode_stream(stream)
        result = stream.result
        # SenseVoice says "<|en|>", most say nothing.
        told = re.sub(r"[<|>]", "", str(result.lang))
        logprobs = cast("list[float]", list(result.ys_log_probs))
        return Transcript(
            str(result.text).strip(),
            told if len(told) == 2 else self._language,
            sum(logprobs) / len(logprobs) if logprobs else None,
        )

    def _load(self) -> Any:
        with self._loading:
            if self._recognizer is None:
                try:
                    library: Any = importlib.import_module("sherpa_onnx")
                except ImportError as exc:
                    raise ConfigError("sherpa-onnx is not installed; run: pip install 'voiceloop[sherpa]'") from exc
                make = cast("Callable[..., Any]", getattr(library.OfflineRecognizer, self._layout.constructor))
                self._recognizer = make(**self._layout.arguments, num_threads=self._n_threads)
            return self._recognizer


def detect(directory: Path, language: str | None = None) -> Layout:
    """Which kind of model lies in the directory, by the names of its files and the metadata of its .onnx files.

    Careful, because sherpa-onnx ends the process (exit code 255) when it is given a model of another kind.
    Raises ConfigError that lists what was looked for.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no directory; name one with a model of sherpa-onnx")
    tokens = _one(directory, "*tokens.txt")
    layout = _layout(directory, language) if tokens else None
    if layout is None:
        raise ConfigError(f"{directory} holds no offline model that is known here. Looked for:\n{LAYOUTS}")
    return Layout(layout.constructor, {**layout.arguments, "tokens": tokens})


def _layout(directory: Path, language: str | None) -> Layout | None:
    preprocess, encode = _one(directory, "preprocess*.onnx"), _one(directory, "encode.*onnx", "encode[-_]*.onnx")
    uncached, cached = _one(directory, "uncached_decode*.onnx"), _one(directory, "cached_decode*.onnx")
    if preprocess and encode and uncached and cached:
        return Layout(
            "from_moonshine",
            {"preprocessor": preprocess, "encoder": encode, "uncached_decoder": uncached, "cached_decoder": cached},
        )
    encoder = _one(directory, "encoder_model*.ort", "encoder_model*.onnx")
    decoder = _one(directory, "decoder_model_merged*.ort", "decoder_model_merged*.onnx")
    if encoder and decoder:
        return Layout("from_moonshine_v2", {"encoder": encoder, "decoder": decoder})
    encoder, decoder = _one(directory, "*encoder*.onnx"), _one(directory, "*decoder*.onnx")
    joiner = _one(directory, "*joiner*.onnx")
    if encoder and decoder and joiner:
        return _transducer(encoder, decoder, joiner)
    if encoder and decoder:
        if metadata(Path(encoder), "n_mels") is None:
            return None
        return Layout("from_whisper", {"encoder": encoder, "decoder": decoder, "language": language or ""})
    return _single(directory, language)


def _transducer(encoder: str, decoder: str, joiner: str) -> Layout | None:
    kind = metadata(Path(encoder), "model_type")
    if kind is None:
        return None
    if metadata(Path(encoder), "decode_chunk_len") is not None:
        raise ConfigError(f"{encoder} is a streaming model; name the directory of an offline one")
    family = "nemo_transducer" if kind.startswith("EncDec") else "transducer"
    return Layout("from_transducer", {"encoder": encoder, "decoder": decoder, "joiner": joiner, "model_type": family})


def _single(directory: Path, language: str | None) -> Layout | None:
    model = _one(directory, "model*.onnx", "*.onnx")
    kind = metadata(Path(model), "model_type") if model else None
    constructor, argument = _SINGLE.get(kind or "", ("", ""))
    if not constructor:
        return None
    arguments = {argument: model}
    if constructor == "from_sense_voice":
        arguments["language"] = language or "auto"
    return Layout(constructor, arguments)


def _one(directory: Path, *patterns: str) -> str:
    """The first file that fits the first pattern that fits at all, a quantized one if there is one; else ''."""
    for pattern in patterns:
        found = sorted(path for path in directory.glob(pattern) if path.is_file() and path.stat().st_size > 0)
        if found:
            return str(next((path for path in found if ".int8." in path.name), found[0]))
    return ""


def metadata(model: Path, key: str) -> str | None:
    """One entry of the metadata of an .onnx file, None if it is not there.

    Read without a protobuf library: an entry is StringStringEntryProto, key = field 1 and value = field 2 (onnx.proto),
    and lies behind the weights, so the file is mapped and searched from its end.
    """
    needle = b"\x0a" + bytes([len(key)]) + key.encode() + b"\x12"
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.rfind(needle)
        if at < 0:
            return None
        start = at + len(needle)
        size = data[start]
        return data[start + 1 : start + 1 + size].decode("utf-8", "replace")
