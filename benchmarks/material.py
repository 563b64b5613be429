"""Recordings as material for scenes: where their speech begins and ends, where their words part, how their room sounds.

A directory holds manifest.tsv (file, seconds, transcript, ...) and, for the gaps between words, boundaries.tsv (file,
words with marks: unmarked gap = the words so far cannot be complete; / = they could; | = a sentence ended; the last
sign: . complete, ? perhaps, ~ not). Which files there are is up to the directory.

Speech is every 10 ms frame that is within 35 dB of the recording's loud level (95th percentile), 8 dB above its noise
floor (5th percentile), and within 60 ms of a frame that Silero gives 0.35: the last one is the end of speech.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wer import words

from voiceloop import build
from voiceloop.adapters.vad.silero import SileroVad
from voiceloop.core.audio import FRAME, RATE, Pcm, to_pcm

Signal = NDArray[np.float64]
Listen = Callable[[Pcm], str]

STEP = RATE // 100
"""Levels are measured in frames of 10 ms."""

_BELOW_LOUD, _ABOVE_FLOOR = 35.0, 8.0
_NEAR = 6
_LOW, _QUIET, _FALL, _BESIDE = 16.0, 28.0, 8.0, 15
_CONTEXT_S = 3.0
_EDGE = 4

TUNE = ("libri_2033", "libri_2609", "libri_61", "sb_spk1", "ps_", "jfk")
REPORT = ("libri_2412", "libri_533", "lj_", "sb_spk2", "fw_", "vosk_")


@dataclass(frozen=True, slots=True)
class Gap:
    """A place between two words where the sound dips: samples [start, end), after `words` words.

    mark: "" the words so far cannot be complete, "/" they could, "|" a sentence ended, "" is also what has no marks.
    """

    start: int
    end: int
    words: int
    mark: str

    @property
    def quiet(self) -> int:
        """Where to cut."""
        return (self.start + self.end) // 2


@dataclass(frozen=True, slots=True)
class Recording:
    """Speech lies in [start, end). room: its quietest stretch. final: the last mark. said: its words."""

    name: str
    speaker: str
    pcm: Pcm
    start: int
    end: int
    speech: NDArray[np.bool_]
    room: Pcm
    said: tuple[str, ...]
    marks: dict[int, str]
    final: str
    gaps: tuple[Gap, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it ends where somebody could have finished."""
        return self.final != "~"


def speaker(name: str) -> str:
    """Who speaks, by the name of the file."""
    known = [prefix for prefix in (*TUNE, *REPORT) if name.startswith(prefix)]
    return known[0].rstrip("_") if known else Path(name).stem.split("-")[0]


def half(name: str) -> str:
    """`tune` for the speakers to set values by, `report` for all others."""
    return "tune" if name.startswith(TUNE) else "report"


def levels_db(pcm: Pcm) -> Signal:
    """Level of each 10 ms, dBFS."""
    n = pcm.size // STEP
    power = np.square(pcm[: n * STEP].astype(np.float64) / 32768).reshape(n, STEP).mean(axis=1)
    return 10 * np.log10(power + 1e-10)


def likelihood(pcm: Pcm) -> Signal:
    """Silero's probability for each 10 ms."""
    vad = SileroVad()
    padded = np.concatenate((pcm, np.zeros(2 * FRAME, np.int16)))
    found = [vad.probability(padded[at : at + FRAME]) for at in range(0, pcm.size, FRAME)]
    # A window of 32 ms tells of what lies, on the mean, a frame back.
    return np.repeat(np.array([*found[1:], found[-1]]), FRAME // STEP)[: pcm.size // STEP]


def speech_frames(pcm: Pcm, p: Signal | None = None) -> NDArray[np.bool_]:
    """For each 10 ms, whether it is speech."""
    level = levels_db(pcm)
    loud, floor = np.percentile(level, 95), np.percentile(level, 5)
    limit = min(max(loud - _BELOW_LOUD, floor + _ABOVE_FLOOR), loud - 15)
    found = level > limit
    if p is not None:
        near = np.convolve(p >= 0.35, np.ones(2 * _NEAR + 1), mode="same")[: found.size] > 0
        found &= near
    alone = np.convolve(found, np.ones(3), mode="same") < 2
    return found & ~alone


def trim(pcm: Pcm, p: Signal | None = None) -> tuple[int, int]:
    """First sample of speech, and the one behind its last."""
    found = np.flatnonzero(speech_frames(pcm, p))
    if not found.size:
        return 0, pcm.size
    return int(found[0]) * STEP, (int(found[-1]) + 1) * STEP


def room_of(pcm: Pcm) -> Pcm:
    """A stretch in which nobody speaks: the longest of 60 to 300 ms that stays within 10 dB of the noise floor.

    In what was cut tight around the words it is a closed mouth; whatever it is, it is at least 35 dB below loud.
    """
    level = levels_db(pcm)
    loud, floor = np.percentile(level, 95), np.percentile(level, 5)
    at = size = 0
    for size in (30, 20, 10, 6):
        if level.size <= size:
            continue
        runs = np.lib.stride_tricks.sliding_window_view(level, size)
        loudest = np.where(runs.min(axis=1) > -90, runs.max(axis=1), 0.0)  # digital silence is no room
        at = int(np.argmin(loudest))
        if loudest[at] <= floor + 10:
            break
    room = pcm[at * STEP : (at + size) * STEP]
    return to_pcm(room / 32768 * min(1.0, 10 ** ((loud - _BELOW_LOUD - levels_db(room).mean()) / 20)))


def room_tone(room: Pcm, n: int, rng: np.random.Generator) -> Signal:
    """n samples of a room: its quiet stretch over and over, each time from another place, crossfaded, and a faint hiss.

    A loop that repeats exactly would be a sound of its own; so what is too short for a loop becomes noise of the same
    spectrum.
    """
    source = room.astype(np.float64) / 32768
    source = source - source.mean()
    if source.size < RATE * 15 // 100:
        spectrum = np.abs(np.fft.rfft(source * np.hanning(source.size)))
        long = np.interp(np.linspace(0, 1, RATE // 2 + 1), np.linspace(0, 1, spectrum.size), spectrum)
        noise = np.fft.irfft(long * np.exp(2j * np.pi * rng.random(long.size)), RATE)
        source = noise / (np.std(noise) + 1e-12) * np.std(source)
    fade = min(STEP * 2, source.size // 4)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade))
    out = np.zeros(n + source.size)
    at = 0
    while at < n:
        first = int(rng.integers(0, source.size // 3 + 1))
        piece = source[first:].copy()
        piece[:fade] *= ramp
        piece[-fade:] *= ramp[::-1]
        out[at : at + piece.size] += piece
        at += piece.size - fade
    hiss = max(float(np.std(source)) * 0.3, 1e-4)
    return out[:n] + rng.normal(0, hiss, n)


def laid(pieces: Sequence[Pcm | int], room: Pcm, rng: np.random.Generator) -> Pcm:
    """Speech and gaps (numbers of samples) in a row; gaps are filled with the tone of the room.

    Every sample of speech stays; where it meets a gap the two overlap by 5 ms: it falls or rises, the tone beside it.
    """
    n = RATE // 200
    speech: list[Signal] = []
    tone: list[Signal] = []
    for piece in pieces:
        size = piece if isinstance(piece, int) else piece.size
        own = np.ones(size)
        ramp = (np.arange(n) + 0.5) / n
        if size >= 2 * n:
            own[:n], own[-n:] = ramp, ramp[::-1]
        speech.append(np.zeros(size) if isinstance(piece, int) else piece / 32768 * own)
        tone.append(np.ones(size) if isinstance(piece, int) else 1 - own)
    track = np.concatenate(speech)
    return to_pcm(track + np.concatenate(tone) * room_tone(room, track.size, rng))


def dips(recording: Recording) -> list[tuple[int, int]]:
    """Where the sound falls between two louder places: by 8 dB on either side within 0.15 s, to 16 dB below loud."""
    level = levels_db(recording.pcm)
    loud, floor = np.percentile(level, 95), np.percentile(level, 5)
    quiet = max(loud - _QUIET, floor + _ABOVE_FLOOR)
    found: list[tuple[int, int]] = []
    for i in range(recording.start // STEP + _BESIDE, recording.end // STEP - _BESIDE):
        near = level[i - _BESIDE : i + _BESIDE + 1]
        low = level[i]
        if low > loud - _LOW or low > near.min():
            continue
        a, b = i, i
        while level[a - 1] < max(low + 6, quiet):
            a -= 1
        while level[b + 1] < max(low + 6, quiet):
            b += 1
        if a < _BESIDE or b + 1 >= level.size:
            continue  # it is the quiet before or behind all speech
        rise = min(level[a - _BESIDE : a].max(), level[b + 1 : b + 1 + _BESIDE].max())
        if rise >= low + _FALL and (not found or a * STEP >= found[-1][1]):
            found.append((a * STEP, (b + 1) * STEP))
    return found


def gaps(recording: Recording, listen: Listen) -> tuple[Gap, ...]:
    """The dips that lie between two words of the transcript.

    A recognizer hears the seconds before and those behind; what it makes of the words next to the dip on either side
    must stand side by side in the transcript, about where the dip is. Dips inside words do not pass. Of several dips
    for one place the one that fits best counts.
    """
    said = recording.said
    reach = round(_CONTEXT_S * RATE)
    found: dict[int, tuple[float, Gap]] = {}
    for a, b in dips(recording):
        at = (a + b) // 2
        share = (at - recording.start) / (recording.end - recording.start)
        near = [k for k in range(1, len(said)) if abs(k / len(said) - share) < max(0.12, 3 / len(said))]
        before = _heard(listen, recording.pcm[max(0, recording.start - RATE // 10, at - reach) : at], behind=RATE // 4)
        left = {k: score for k in near if (score := _best("".join(said[max(0, k - 3) : k]), before)) > 0}
        if not left:
            continue
        rest = recording.pcm[at : min(recording.end + RATE // 10, at + reach)]
        after = [text[::-1] for text in _heard(listen, rest, before=RATE // 10)]
        both = [(left[k] + _best("".join(said[k : k + 3])[::-1], after), k) for k in left]
        both = [(score, k) for score, k in both if score > left[k]]
        if not both:
            continue
        score, k = max(both)
        gap = Gap(*_widened(recording, a, b), k, recording.marks.get(k, ""))
        if k not in found or (score, b - a) > (found[k][0], found[k][1].end - found[k][1].start):
            found[k] = score, gap
    in_time = [gap for _, gap in sorted(found.values(), key=lambda pair: pair[1].start)]
    while bad := [g for g, h in pairwise(in_time) if g.words > h.words]:
        in_time = [gap for gap in in_time if gap not in bad]
    return tuple(in_time)


def _widened(recording: Recording, a: int, b: int) -> tuple[int, int]:
    """With all around it that is no speech: a pause may hold a breath, and the dip is only before or behind it."""
    a, b = a // STEP, b // STEP
    while a > 0 and not recording.speech[a - 1]:
        a -= 1
    while b < recording.speech.size and not recording.speech[b]:
        b += 1
    return a * STEP, b * STEP


def _heard(listen: Listen, pcm: Pcm, *, before: int = 0, behind: int = 0) -> list[str]:
    """What a recognizer makes of a piece as it is, and with silence at the cut: it invents less at one or the other."""
    padded = np.concatenate((np.zeros(before, np.int16), pcm, np.zeros(behind, np.int16)))
    return ["".join(words(listen(sound))) for sound in (pcm, padded)]


def _best(said: str, heard: Sequence[str]) -> float:
    return max(_alike(said, text) for text in heard)


def _alike(said: str, heard: str) -> float:
    """How much the end of what was heard is like what was said; 0 if it is not, or not at its very end."""
    tail = heard[-len(said) :]
    edge = difflib.SequenceMatcher(None, said[-_EDGE:], tail[-_EDGE:], autojunk=False).ratio()
    whole = difflib.SequenceMatcher(None, said, tail, autojunk=False).ratio()
    return whole if edge >= 0.75 and whole >= 0.75 else 0.0


def marked(line: str) -> tuple[tuple[str, ...], dict[int, str], str]:
    """Words, the marks after so many words, and the last sign, of a line of boundaries.tsv."""
    *tokens, final = line.split()
    if final not in (".", "?", "~"):
        tokens, final = [*tokens, final], "?"
    said: list[str] = []
    marks: dict[int, str] = {}
    for token in tokens:
        if token in ("/", "|"):
            marks[len(said)] = token
        else:
            said += words(token)
    return tuple(said), marks, final


def load(directory: Path, wanted: str) -> list[Recording]:
    """The recordings of a half of the speakers, or of `all`, without their gaps."""
    lines = _table(directory / "boundaries.tsv")
    found: list[Recording] = []
    for name, row in _table(directory / "manifest.tsv").items():
        if wanted not in ("all", half(name)):
            continue
        line = lines[name][0] if name in lines else re.sub(r"[/|~]", " ", row[1]) + " ?"
        pcm = np.concatenate(list(build.recording(directory / name)))
        p = likelihood(pcm)
        start, end = trim(pcm, p)
        room = room_of(pcm)
        said, marks, final = marked(line)
        speech = speech_frames(pcm, p)
        found.append(Recording(name, speaker(name), pcm, start, end, speech, room, said, marks, final))
    return found


def _table(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as file:
        return {row[0]: row[1:] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row[0] != "file"}
