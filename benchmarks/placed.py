"""Where each word of a text really lies in the speech that an engine makes of it.

hibari: the durations that its own network gives to each phoneme of this very synthesis (25 ms steps). espeak-ng and
flite: the word events and the segments of their own libraries, for the very samples they give. All are trimmed as the
adapters do, so that sample 0 is the first one played.

A word is what stands between spaces. Words are given as (first sample, sample after the last one).
"""

from __future__ import annotations

import ctypes
import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.tts.hibari import RATE as HIBARI_RATE
from voiceloop.adapters.tts.trim import Trimmer
from voiceloop.core.audio import to_pcm

Pcm = NDArray[np.int16]
Span = tuple[int, int]


@dataclass(frozen=True)
class Speech:
    """A text as an engine speaks it. words: the span of each word in samples of pcm."""

    text: str
    rate: int
    pcm: Pcm
    words: list[Span]


class Unplaced(Exception):
    """The engine's words and those of the text cannot be matched."""


def trimmed(text: str, rate: int, chunks: list[Pcm], spans: list[Span]) -> Speech:
    """As an adapter gives it: the spans are moved by what was cut off at the beginning."""
    raw = np.concatenate(chunks)
    trimmer = Trimmer(rate)
    pcm = np.concatenate([*(trimmer.feed(chunk) for chunk in chunks), trimmer.flush()])
    starts = np.flatnonzero(raw[: raw.size - pcm.size + 1] == pcm[0])
    cut = next(int(s) for s in starts if np.array_equal(raw[s : s + pcm.size], pcm))
    limit = pcm.size
    return Speech(text, rate, pcm, [(min(max(a - cut, 0), limit), min(max(b - cut, 0), limit)) for a, b in spans])


def grouped(text: str, parts: list[tuple[int, float, float]], *, joined: bool = False) -> list[Span]:
    """Spans of the words from (number of the word, start, end) of their parts. Raises Unplaced if one has none.

    joined: a word without a part was spoken as one with the word before ("in the"): they share it by their letters.
    """
    words = text.split()
    found: list[Span] = []
    number = 0
    if parts != sorted(parts):
        raise Unplaced(f"words of {text!r} change places")
    while number < len(words):
        own = [(a, b) for word, a, b in parts if word == number]
        if not own:
            raise Unplaced(f"{words[number]!r} in {text!r}")
        start, end = min(a for a, _ in own), max(b for _, b in own)
        known = {word for word, _, _ in parts}
        last = number + 1
        while joined and last < len(words) and last not in known:
            last += 1
        share = (end - start) / sum(map(len, words[number:last]))
        for word in words[number:last]:
            found.append((round(start), round(start + share * len(word))))
            start += share * len(word)
        number = last
    return found


# --- hibari ---


_DURATIONS = "/Clip_output_0"
"""Tensor in the graph of hibari-tts 0.2.1 between the duration predictor and the length regulator."""


_EARLY_S = 0.045
"""The sound of a phoneme comes this much before its place by the durations: measured over 60 texts, the noise of
s, z, sh, ch and j fits their places best so (correlation .60; .27 without). Marks by eye say the same."""


class HibariWords:
    """The embedded voice, with the durations of its phonemes as one more output."""

    rate = HIBARI_RATE

    def __init__(self) -> None:
        library = importlib.import_module("hibari")
        runtime = importlib.import_module("onnxruntime")
        self._normalize: Callable[[str], str] = importlib.import_module("hibari.g2p.normalize").normalize
        self._voice = library.Hibari()
        # Concatenated protobuf messages are merged: this adds `graph { output { name } }` to the model.
        output = _field(7, _field(12, _field(1, _DURATIONS.encode())))
        model = Path(self._voice.model_path).read_bytes() + output
        self._session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def speak(self, text: str) -> Speech:
        """Raises Unplaced."""
        chunks: list[Pcm] = []
        parts: list[tuple[int, float, float]] = []
        at, first = 0, 0
        for sentence in self._voice.split_sentences(text):
            tokens = self._tokens(sentence)
            phonemes = "".join(phones for _, phones in tokens).strip()
            if [phonemes] != self._voice.phonemize(sentence):
                raise Unplaced(f"phonemes of {sentence!r}")
            pcm = to_pcm(self._voice.from_phonemes(phonemes, seed=0))
            starts = self._starts(phonemes, pcm.size)
            position = 0
            for word, phones in tokens:
                sounds = [i for i, c in enumerate(phones, position) if c.isalpha()]
                if sounds and word is not None:
                    parts.append((first + word, at + starts[sounds[0]], at + starts[sounds[-1] + 1]))
                position += len(phones)
            chunks.append(pcm)
            at += pcm.size
            first += len(sentence.split())
        early = _EARLY_S * self.rate
        parts = [(word, start - early, end - early) for word, start, end in parts]
        return trimmed(text, self.rate, chunks, grouped(text, parts))

    def _starts(self, phonemes: str, size: int) -> NDArray[np.float64]:
        """The sample at which each phoneme begins, and the one at which the last one ends."""
        ids = self._voice.ids(phonemes)
        feeds = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
        (found,) = self._session.run([_DURATIONS], feeds)
        ends = np.cumsum(np.asarray(found).reshape(-1).astype(float))
        ends *= size / ends[-1]
        known = iter(ends)
        last = next(known)  # the silence before
        starts = [last]
        for c in phonemes:
            last = next(known) if c in self._voice.vocab else last
            starts.append(last)
        return np.array(starts)

    def _tokens(self, sentence: str) -> list[tuple[int | None, str]]:
        """Phonemes in pieces, each with the number of the word that it comes from."""
        plain = self._normalize(sentence)
        owner = _owners(sentence, plain)
        found: list[tuple[int | None, str]] = []
        at = 0
        for token in self._voice.g2p.phonemize_tokens(self._voice.g2p.tokenize(plain)):
            at = plain.index(token.text, at)
            found.append((owner[at], (token.phonemes or "") + (" " if token.whitespace else "")))
            at += len(token.text)
        return found


def _owners(text: str, plain: str) -> list[int | None]:
    """For each character of the normalized text the number of the word of the text that it comes from."""
    olds = text.split()
    owner: list[int | None] = [None] * len(plain)
    spans: list[Span] = []
    at = 0
    for new in plain.split():
        at = plain.index(new, at)
        spans.append((at, at + len(new)))
        at += len(new)
    news = [plain[a:b] for a, b in spans]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, olds, news, autojunk=False).get_opcodes():
        if tag == "delete":
            raise Unplaced(f"{olds[a:b]} of {text!r}")
        for j in range(c, d):
            # Several words that were read together share their readings in proportion to the number of these.
            number = a + j - c if tag == "equal" else a + (j - c) * (b - a) // (d - c) if b > a else max(0, a - 1)
            for k in range(*spans[j]):
                owner[k] = number
    return owner


def _varint(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + _varint(n >> 7)


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


# --- espeak-ng ---


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_WORD, _SYNCHRONOUS, _UTF8 = 1, 2, 1


class EspeakWords:
    """A voice of espeak-ng, by its library: the samples are those of the program."""

    _library: ctypes.CDLL | None = None
    _rate = 0

    def __init__(self, voice: str) -> None:
        cls = type(self)
        if cls._library is None:
            cls._library = ctypes.CDLL("libespeak-ng.so.1")
            cls._rate = cls._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        self._voice = voice
        self.rate = cls._rate

    def speak(self, text: str) -> Speech:
        """Raises Unplaced."""
        chunks: list[Pcm] = []
        begins: list[tuple[int, int]] = []

        def heard(wav: int | None, n: int, events: ctypes._Pointer[_Event]) -> int:
            if wav and n:
                chunks.append(np.frombuffer(ctypes.string_at(wav, n * 2), np.int16))
            i = 0
            while events[i].type:
                at = events[i].text_position - 1
                # Now and then it says a place twice, or one before the text.
                if events[i].type == _WORD and at > (begins[-1][0] if begins else -1):
                    begins.append((at, events[i].sample))
                i += 1
            return 0

        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))(heard)
        library = self._library
        assert library is not None
        library.espeak_SetSynthCallback(call)
        if library.espeak_SetVoiceByName(self._voice.encode()):
            raise Unplaced(f"no voice {self._voice}")
        data = text.encode()
        size, none = ctypes.c_size_t(len(data) + 1), ctypes.c_void_p(None)
        library.espeak_Synth(ctypes.c_char_p(data), size, 0, 0, 0, _UTF8, none, none)
        pcm = np.concatenate(chunks)
        starts = [*(sample for _, sample in begins), pcm.size]
        parts = [
            (len(text[: position + 1].split()) - 1, float(a), float(_sounding_end(pcm, a, b)))
            for (position, a), b in zip(begins, starts[1:], strict=True)
        ]
        return trimmed(text, self.rate, [pcm], grouped(text, parts, joined=True))


def _sounding_end(pcm: Pcm, start: int, end: int) -> int:
    """The end of the last sound in a stretch: the pause after a word is none of it."""
    if end <= start:
        return start
    loud = np.flatnonzero(np.abs(pcm[start:end].astype(int)) > np.abs(pcm.astype(int)).max() / 100)
    return start + int(loud[-1]) + 1 if loud.size else end


# --- flite ---


class _Relation(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("name", "features", "utterance", "head", "tail")]


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("n", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.c_void_p),
    ]


_FIRST = b"daughter1.R:SylStructure.daughter1.daughter1.R:Segment.p.end"
_LAST = b"daughtern.R:SylStructure.daughtern.daughtern.R:Segment.end"


class FliteWords:
    """An American voice of flite (slt, rms, awb, kal16), by its libraries."""

    def __init__(self, voice: str) -> None:
        self._library = library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("cmulex", "usenglish"):
            ctypes.CDLL(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
        own = ctypes.CDLL(f"libflite_cmu_us_{voice}.so.1")
        register = getattr(own, f"register_cmu_us_{voice}")
        register.restype = ctypes.c_void_p
        library.flite_init()
        for name in ("flite_synth_text", "utt_relation", "item_next", "utt_wave"):
            getattr(library, name).restype = ctypes.c_void_p
        library.ffeature_float.restype = ctypes.c_float
        self._voice = ctypes.c_void_p(register(None))
        self.rate = 16_000

    def speak(self, text: str) -> Speech:
        """Raises Unplaced."""
        library, pointer = self._library, ctypes.c_void_p
        plain = text.translate({0x2019: "'", 0x2013: "-", 0x2014: "-"})
        utterance = pointer(library.flite_synth_text(ctypes.c_char_p(plain.encode()), self._voice))
        library.ffeature_string.restype = ctypes.c_char_p
        parts: list[tuple[int, float, float]] = []
        relation = pointer(library.utt_relation(utterance, b"Token"))
        item = ctypes.cast(relation, ctypes.POINTER(_Relation)).contents.head
        at = 0
        while item:
            name = library.ffeature_string(pointer(item), b"name").decode()
            at = plain.find(name, at)
            if at < 0:
                raise Unplaced(f"{name!r} in {text!r}")
            word = len(plain[: at + 1].split()) - 1
            at += len(name)
            start, end = (library.ffeature_float(pointer(item), path) * self.rate for path in (_FIRST, _LAST))
            if end > start:
                parts.append((word, start, end))
            item = library.item_next(pointer(item))
        wave = ctypes.cast(pointer(library.utt_wave(utterance)), ctypes.POINTER(_Wave)).contents
        self.rate = wave.rate
        pcm = np.frombuffer(ctypes.string_at(wave.samples, wave.n * 2), np.int16).copy()
        library.delete_utterance(utterance)
        return trimmed(text, self.rate, [pcm], grouped(text, parts))
