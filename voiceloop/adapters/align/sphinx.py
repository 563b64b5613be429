"""Word times of English by forced alignment with pocketsphinx (BSD-2; its model and dictionary are in the package)."""

# ruff: noqa: RUF001  (letters of phonetics look like others; that is the point of it)

from __future__ import annotations

import importlib
import re
import threading
from contextlib import suppress
from typing import Any, Protocol, cast

import numpy as np

from voiceloop.adapters.align.letters import place
from voiceloop.core.audio import RATE, Pcm, seconds
from voiceloop.core.transcript import Word
from voiceloop.core.words import weight
from voiceloop.errors import ConfigError, Late, ProviderError, VoiceloopError
from voiceloop.ports import Runner

PAD = RATE * 3 // 10
"""Samples put before and after what is given: some recordings end within the last word."""

_HUSH = np.random.default_rng(1).normal(0, 4, PAD).astype(np.int16)
"""Noise that nobody hears. Digital silence is none to the model, and it then loses the last words."""

_FRAME_S = 0.01

_NEW_WORDS = 2_000
"""Words that are added to the dictionary before it is made anew: a server runs for months."""

PHONES = {
    **{"ɑ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ᵊ": "AH", "ɔ": "AO", "W": "AW", "I": "AY", "ɛ": "EH", "ɜ": "ER"},
    **{"A": "EY", "ɪ": "IH", "ᵻ": "IH", "i": "IY", "O": "OW", "Y": "OY", "ʊ": "UH", "u": "UW", "b": "B", "ʧ": "CH"},
    **{"d": "D", "ð": "DH", "f": "F", "ɡ": "G", "h": "HH", "ʤ": "JH", "k": "K", "l": "L", "m": "M", "n": "N"},
    **{"ŋ": "NG", "p": "P", "ɹ": "R", "s": "S", "ʃ": "SH", "t": "T", "T": "T", "ɾ": "T", "ʔ": "T", "θ": "TH"},
    **{"v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH"},
}
"""hibari's alphabet (that of misaki) as ARPABET, which the model knows. Stress is left out."""


class _Segment(Protocol):
    word: str
    start_frame: int
    end_frame: int


class _Sphinx(Protocol):
    def lookup_word(self, word: str) -> str | None: ...
    def add_word(self, word: str, phones: str, update: bool) -> object: ...
    def set_align_text(self, text: str) -> None: ...
    def start_utt(self) -> None: ...
    def process_raw(self, data: bytes, *, full_utt: bool) -> object: ...
    def end_utt(self) -> None: ...
    def seg(self) -> list[_Segment]: ...


class Sphinx:
    """An `Aligner` for English.

    A word that the dictionary lacks, and a figure, is pronounced as hibari would, where it is installed; else it lies
    between its neighbours. Where the model cannot follow the text, the letters decide. 0.2 s to load, about 13 ms of
    a worker for each second of sound; one at a time. Word ends are 10 ms (median) from those marked by eye in clear
    speech, 30 ms at most in nine of ten (benchmarks/words.py; by letters 119 and 266). timeout_s: for each call.
    """

    def __init__(self, runner: Runner, *, timeout_s: float = 30.0) -> None:
        self._runner = runner
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._sphinx: _Sphinx | None = None
        self._g2p: Any = None
        self._added: dict[str, str] = {}

    async def warm_up(self) -> None:
        """Loads the model. Raises ConfigError if the package is missing, ProviderError."""
        await self._call(lambda: self._align(np.zeros(RATE // 2, np.int16), "hello"))

    async def align(self, pcm: Pcm, text: str) -> tuple[Word, ...]:
        """One `Word` for each word of text, in order. Raises ProviderError when there is no worker or no answer."""
        return await self._call(lambda: self._align(pcm, text))

    async def aclose(self) -> None:
        """Lets go of the model."""
        self._sphinx = None

    async def _call(self, work: Any) -> tuple[Word, ...]:
        try:
            return await self._runner.call(work, timeout_s=self._timeout_s)
        except (ConfigError, ProviderError):
            raise
        except VoiceloopError as exc:
            raise ProviderError(
                f"pocketsphinx cannot work now: {exc}", stage="stt", retryable=isinstance(exc, Late)
            ) from exc

    def _align(self, pcm: Pcm, text: str) -> tuple[Word, ...]:
        """On a worker."""
        with self._lock:
            sphinx = self._load()
            words = text.split()
            known = [self._spoken(sphinx, word) for word in words]
            spans = self._spans(sphinx, pcm, [part for parts in known for part in parts])
        if spans is None:
            return place(pcm, text)
        times = iter(spans)
        found: list[tuple[float, float] | None] = []
        for parts in known:
            own = [next(times) for _ in parts]
            found.append((own[0][0], own[-1][1]) if own else None)
        return _filled(words, found, seconds(pcm.size))

    def _spans(self, sphinx: _Sphinx, pcm: Pcm, parts: list[str]) -> list[tuple[float, float]] | None:
        """Start and end of each part in seconds; None where the model cannot follow."""
        if not parts:
            return None
        try:
            sphinx.set_align_text(" ".join(parts))
            sphinx.start_utt()
            sphinx.process_raw(np.concatenate((_HUSH, pcm, _HUSH)).tobytes(), full_utt=True)
            sphinx.end_utt()
            segments = [s for s in sphinx.seg() if not s.word.startswith(("<", "["))]
        except (RuntimeError, ValueError, TypeError):
            self._sphinx = None  # it is in the middle of something
            return None
        if [re.sub(r"\(\d+\)$", "", s.word) for s in segments] != parts:
            return None
        limit, lead = seconds(pcm.size), seconds(PAD)
        spans = [(s.start_frame * _FRAME_S - lead, (s.end_frame + 1) * _FRAME_S - lead) for s in segments]
        return [(min(max(0.0, a), limit), min(max(0.0, b), limit)) for a, b in spans]

    def _spoken(self, sphinx: _Sphinx, word: str) -> list[str]:
        """The entries of the dictionary for one written word; none if nobody knows how it is said."""
        plain = re.sub(r"[^\w'-]", "", word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).strip("'-_")
        parts = [part for part in plain.split("-") if part]
        if re.fullmatch(r"[a-z'-]+", plain) and all(map(sphinx.lookup_word, parts)):
            return parts
        if word not in self._added:
            phones = self._pronounced(word)
            name = f"_{len(self._added)}"
            if not phones:
                return []
            sphinx.add_word(name, phones, False)
            self._added[word] = name
        return [self._added[word]]

    def _pronounced(self, word: str) -> str:
        """In ARPABET, as hibari says it; empty without it, or for what has no sound."""
        if self._g2p is None:
            return ""
        return " ".join(PHONES[c] for c in _rhotic(str(self._g2p(word))) if c in PHONES)

    def _load(self) -> _Sphinx:
        if self._sphinx is None or len(self._added) > _NEW_WORDS:
            try:
                library = importlib.import_module("pocketsphinx")
            except ImportError as exc:
                raise ConfigError("pocketsphinx is not installed; run: pip install 'voiceloop[align]'") from exc
            # The beams of its default lose words of fast speakers.
            sphinx = library.Decoder(lm=None, beam=1e-100, pbeam=1e-100, wbeam=1e-80, loglevel="FATAL")
            self._sphinx, self._added = cast("_Sphinx", sphinx), {}
            if self._g2p is None:
                with suppress(ImportError):
                    self._g2p = importlib.import_module("hibari.g2p").G2P(british=False)
        return self._sphinx


def _rhotic(phonemes: str) -> str:
    """The r-coloured vowels are one sound in ARPABET."""
    return phonemes.replace("ɜɹ", "ɜ").replace("əɹ", "ɜ").replace("ɚ", "ɜ").replace("ɝ", "ɜ")


def _filled(words: list[str], spans: list[tuple[float, float] | None], end_s: float) -> tuple[Word, ...]:
    """The words with their spans; those without one share the gap between their neighbours by their letters."""
    found: list[Word] = []
    n = 0
    while n < len(words):
        if span := spans[n]:
            found.append(Word(words[n], *span))
            n += 1
            continue
        last = next((i for i in range(n, len(words)) if spans[i]), len(words))
        begin = found[-1].end_s if found else 0.0
        following = spans[last] if last < len(words) else None
        end = following[0] if following else end_s
        total = sum(map(weight, words[n:last]))
        for word in words[n:last]:
            until = begin + max(0.0, end - begin) * weight(word) / total
            found.append(Word(word, begin, until))
            total -= weight(word)
            begin = until
        n = last
    return tuple(found)
