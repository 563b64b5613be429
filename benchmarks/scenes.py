"""Scenes: what a microphone hears, and where in it the speech, its pauses and its true end lie.

Every scene is made with a random generator of its own, seeded by the seed and its name: the same whatever else is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from material import Gap, Recording, Signal, laid, room_tone
from sounds import Sound, louder, noises, spoken
from vad import music, pink, white

from voiceloop.core.audio import RATE, Pcm, ticks, to_pcm

LEAD = ticks(0.6)
LONGEST = ticks(12)
PAUSES_MS = (600, 800, 1200)
RARER_MS = (300, 2000)
SHORTENED = ticks(0.25)
"""In a scene about one pause, the others are cut down to this, so that a cut-off belongs to it."""

_PAUSE_FROM = ticks(0.2)


@dataclass(frozen=True, slots=True)
class Scene:
    """mic: up to `end`, the sample behind the last one of speech; then `room`, over and over.

    kind: `end`, `pause`, `noise`, `over`. tags: what rows it counts in. pauses: (last sample of speech before, first
    one behind). finished: whether the speaker may be done at the end. over: what is heard over the reply, `over_after`
    ticks after its first sample; goes_on: what the reply should do then.
    """

    name: str
    kind: str
    tags: tuple[str, ...]
    speaker: str
    mic: Pcm
    room: Pcm
    end: int
    pauses: tuple[tuple[int, int], ...] = ()
    finished: bool = True
    sentences: int = 1
    over: Pcm | None = None
    over_after: int = 0
    goes_on: bool = False

    @property
    def landmarks(self) -> list[tuple[int, str]]:
        """Places worth knowing, for a reader."""
        found = [(self.end, "end of speech")]
        for a, b in self.pauses:
            found += [(a, f"pause of {(b - a) * 1000 // RATE} ms"), (b, "the speaker goes on")]
        return found


def rng_of(seed: int, name: str) -> np.random.Generator:
    """The generator of one scene."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _scene(
    name: str, kind: str, tags: Sequence[str], r: Recording, pieces: list[Pcm | int], seed: int, **more
) -> Scene:
    rng = rng_of(seed, name)
    mic = laid([LEAD, *pieces, ticks(0.1)], r.room, rng)
    room = to_pcm(room_tone(r.room, ticks(4), rng))
    end = mic.size - ticks(0.1)
    return Scene(name, kind, tuple(tags), r.speaker, mic, room, end, **more)


def natural_pauses(r: Recording, start: int, end: int) -> list[tuple[int, int]]:
    """Pauses of a recording from 0.2 s on, within [start, end)."""
    quiet = np.concatenate(([False], ~r.speech, [False]))
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8))) * (RATE // 100)
    found = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [(a, b) for a, b in found if a > start and b < end and b - a >= _PAUSE_FROM]


def sentences(r: Recording) -> list[tuple[int, int, bool]]:
    """Start, end, and whether it may be complete, of each sentence whose ends were found; the whole if there is one."""
    stops = [gap for gap in r.gaps if gap.mark == "|"]
    starts = [r.start, *(gap.end for gap in stops)]
    ends = [*(gap.start for gap in stops), r.end]
    last = len(starts) - 1
    return [(a, b, r.complete or i < last) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]


def whole(recordings: Sequence[Recording], seed: int) -> Iterator[Scene]:
    """Each recording as it is, with its own pauses; and each of its sentences alone."""
    for r in recordings:
        found = sentences(r)
        parts = [(r.start, r.end, r.complete, "natural")]
        parts += [(a, b, complete, "sentence") for a, b, complete in found if len(found) > 1]
        for n, (a, b, complete, tag) in enumerate(parts):
            name = f"{r.name}:{tag}{n or ''}"
            pauses = tuple((x - a + LEAD, y - a + LEAD) for x, y in natural_pauses(r, a, b))
            yield _scene(name, "end", [tag], r, [r.pcm[a:b]], seed, pauses=pauses, finished=complete)


def paused(recordings: Sequence[Recording], seed: int) -> Iterator[Scene]:
    """Each gap between words, drawn out to each of PAUSES_MS; every third also to each of RARER_MS."""
    for r in recordings:
        for n, gap in enumerate(r.gaps):
            a, b, complete = _window(r, gap)
            for ms in (*PAUSES_MS, *(RARER_MS if n % 3 == 0 else ())):
                yield _paused(r, gap, a, b, complete, ms, seed)


def _window(r: Recording, gap: Gap) -> tuple[int, int, bool]:
    """The sentence around a gap, if need be cut at another gap; around the end of a sentence, both."""
    stops = [g for g in r.gaps if g.mark == "|" and g is not gap]
    a = max((g.end for g in stops if g.start < gap.start), default=r.start)
    b = min((g.start for g in stops if g.start > gap.start), default=r.end)
    complete = r.complete or b < r.end
    half = LONGEST // 2
    if b - a > LONGEST and gap.start - a > half:
        a = min((g.end for g in r.gaps if g.mark and gap.start - half < g.start < gap.start - RATE), default=a)
    if b - a > LONGEST:
        ends = [g.start for g in r.gaps if g.mark and gap.end + RATE < g.start < a + LONGEST]
        if ends:
            b, complete = max(ends), False
    return a, b, complete


def _paused(r: Recording, gap: Gap, a: int, b: int, complete: bool, ms: int, seed: int) -> Scene:
    pieces: list[Pcm | int] = []
    at, place = a, LEAD
    pause = (0, 0)
    for x, y, n in _gaps_and_lengths(r, gap, a, b, ticks(ms / 1000)):
        pieces += [r.pcm[at:x], n]
        place += x - at
        if n == ticks(ms / 1000) and (x, y) == (gap.start, gap.end):
            pause = (place, place + n)
        place += n
        at = y
    pieces.append(r.pcm[at:b])
    inside = {"": "inside", "/": "open", "|": "sentence"}[gap.mark]
    name = f"{r.name}:{gap.words}:{inside}:{ms}"
    return _scene(name, "pause", [inside, str(ms)], r, pieces, seed, pauses=(pause,), finished=complete)


def _gaps_and_lengths(r: Recording, gap: Gap, a: int, b: int, length: int) -> list[tuple[int, int, int]]:
    """What is replaced by room tone, and how much of that: the gap, and pauses of the speaker's own that are longer."""
    found = [(gap.start, gap.end, length)]
    for x, y in natural_pauses(r, a, b):
        if (y <= gap.start or x >= gap.end) and y - x > SHORTENED:
            found.append((x, y, SHORTENED))
    return sorted(found)


# --- noise ---


def noisy(recordings: Sequence[Recording], seed: int, snrs_db: Sequence[int] = (20, 10, 5)) -> Iterator[Scene]:
    """Each recording in steady noise of four kinds, from before its first word to the end of the scene."""
    kinds: dict[str, Callable[[int, np.random.Generator], Signal]] = {"white": white, "pink": pink, "music": music}
    for r in recordings:
        for kind in (*kinds, "babble"):
            for snr in snrs_db:
                name = f"{r.name}:{kind}:{snr}"
                plain = _scene(name, "noise", [kind, str(snr)], r, [r.pcm[r.start : r.end]], seed, finished=r.complete)
                rng = rng_of(seed, name + ":noise")
                n = plain.mic.size + ticks(8)
                others = [o for o in recordings if o.speaker != r.speaker] or list(recordings)
                noise = kinds[kind](n, rng) if kind in kinds else babble(others, n, rng)
                yield _mixed(plain, r, noise, snr)


def babble(recordings: Sequence[Recording], n: int, rng: np.random.Generator) -> Signal:
    """Six other people at once."""
    out = np.zeros(n)
    for k in rng.permutation(len(recordings))[:6]:
        r = recordings[int(k)]
        speech = r.pcm[r.start : r.end] / 32768
        speech = speech / (np.std(speech) + 1e-9)
        turned = np.roll(np.tile(speech, n // speech.size + 1)[:n], int(rng.integers(n)))
        out += turned
    return out


def _mixed(scene: Scene, r: Recording, noise: Signal, snr_db: float) -> Scene:
    frames = r.pcm[r.start : r.end].astype(np.float64) / 32768
    active = np.repeat(r.speech, RATE // 100)[r.start : r.end]
    level = np.sqrt(np.mean(np.square(frames[: active.size][active]))) * 10 ** (-snr_db / 20)
    noise = noise / np.std(noise) * level
    clean = np.concatenate((scene.mic, scene.room[np.arange(noise.size - scene.mic.size) % scene.room.size]))
    both = to_pcm(clean / 32768 + noise)
    cut = scene.mic.size
    return Scene(
        scene.name, scene.kind, scene.tags, scene.speaker, both[:cut], both[cut:], scene.end, finished=scene.finished
    )


# --- over the reply ---


def over(recordings: Sequence[Recording], half: str, each: int, seed: int) -> Iterator[Scene]:
    """A question, a long reply, and something over it: people, synthetic words, noises."""
    questions = [r for r in recordings if r.complete and ticks(1.2) < r.end - r.start < ticks(4)]
    questions = [r for r in questions if all(b - a <= SHORTENED for a, b in natural_pauses(r, r.start, r.end))]
    if not questions:
        return
    rng = rng_of(seed, "over")
    people = list(_people(recordings, rng))
    sounds = [(sound, "human", False) for sound in people]
    sounds += [(s, "synthetic", s.kind == "backchannel") for s in spoken(half, each, rng)]
    sounds += [(s, "synthetic", True) for s in noises(2 * each, rng)]
    for n, (sound, origin, goes_on) in enumerate(sounds):
        r = questions[n % len(questions)]
        name = f"over:{sound.name}"
        after = ticks(float(rng_of(seed, name).uniform(1.2, 3.5)))
        tags = [origin, sound.kind, "goes on" if goes_on else "stops"]
        pieces: list[Pcm | int] = [r.pcm[r.start : r.end]]
        more = {"sentences": 4, "over": sound.pcm, "over_after": after, "goes_on": goes_on, "finished": r.complete}
        yield _scene(name, "over", tags, r, pieces, seed, **more)


def _people(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Sound]:
    """The beginnings of sentences, 0.6 to 3 s of them, cut where a word ends."""
    for r in recordings:
        for n, (a, b, _) in enumerate(sentences(r)):
            ends = [g.start for g in r.gaps if a + ticks(0.6) <= g.start <= a + ticks(3)]
            ends += [b] if ticks(0.6) <= b - a <= ticks(3) else []
            for end in sorted({int(e) for e in rng.permutation(ends)[:3]}):
                pcm = louder(r.pcm[a:end], float(rng.uniform(-28, -18)))
                label = f"{r.name}/{n}/{(end - a) * 1000 // RATE}"
                yield Sound(label, "sentence", pcm)
