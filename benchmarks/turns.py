"""The scoreboard of turn-taking: scripted conversations with real recordings, on virtual time, as one table.

    python benchmarks/turns.py DIRECTORY                           the table for the other half of the speakers
    python benchmarks/turns.py DIRECTORY --speakers tune --quick   a subset of the half to tune with
    python benchmarks/turns.py DIRECTORY --scene NAME --keep DIR   one scene: its events, its sound

A whole session plays each scene: real VAD, real transcripts, real policies; only the time that services take is set
(words 200 ms, first token 200, first sentence 40, first sound 100) and passes on a virtual clock, so that the result
does not depend on the machine. --real adds what does: what the loop adds, and the embedded engines, in real time.

Material (material.py, scenes.py): the end of speech is the last 10 ms frame within 35 dB of the loud level that Silero
takes for speech; behind it, and in pauses, stands the recording's own room tone. Pauses are put between words that a
recognizer hears on both sides; `inside` a sentence whose words so far cannot be complete, `open` where they could.
Over the reply (no echo): 1.2 to 3.5 s after its first sample somebody begins to speak, words cut from recordings or
synthetic ones, or coughs, types, shuts a door; `last reply sample` is heard before the reply pauses, the judgement is
when the port is told to go on or to stop, and going on is right only if every sample is heard once and in order.
Cut off: any sample of a reply heard before the last sample of speech, even if taken back. Shares have Wilson's 95 %
intervals, medians bootstrap's; scenes of one recording are not independent, so true intervals are wider.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import material
import scenes
import sounds
import table
from engines import LLM_S, SENTENCE_S, STT_S, TTS_S, Listener, Recognizer
from scenes import Scene
from score import Result, judge
from stage import Player, explain

from voiceloop.core.audio import RATE, ticks
from voiceloop.core.policy import Policy

FIXED_MS = (300, 400, 500, 600, 700, 800, 900, 1000)

Task = tuple[Scene, dict[str, Policy]]


def named(name: str) -> Policy:
    """A preset, or `fixed 600`: a silence of so many ms and nothing else."""
    if name.startswith("fixed"):
        return Policy(wait=ticks(float(name.split()[1]) / 1000))
    preset = getattr(importlib.import_module("voiceloop.core.policy"), "preset", None)
    return Policy() if preset is None else preset(name)


def every(items: Sequence[Scene], n: int) -> list[Scene]:
    """Each n-th, so that all recordings are among them."""
    return list(items)[::n]


def program(args: argparse.Namespace, recordings: Sequence[material.Recording]) -> list[Scene]:
    """All scenes of a run."""
    thin = 5 if args.quick else 1
    some: list[Scene] = []
    if "ends" in args.rows:
        some += every(list(scenes.whole(recordings, args.seed)), 2 if args.quick else 1)
    if "pauses" in args.rows:
        some += every(list(scenes.paused(recordings, args.seed)), thin - 1 or 1)
    if "noise" in args.rows:
        short = [r for r in recordings if r.end - r.start < scenes.LONGEST][:: 4 if args.quick else 2]
        some += list(scenes.noisy(short, args.seed, (10,) if args.quick else (20, 10, 5)))
    if "over" in args.rows:
        half = "tune" if args.speakers == "tune" else "report"
        some += every(list(scenes.over(recordings, half, args.each, args.seed)), thin)
    return some


def tasks(args: argparse.Namespace, stage: Sequence[Scene]) -> list[Task]:
    """Which scene is played under which policies: the first preset plays all, the curve those with ends and pauses."""
    presets = args.preset.split(",")
    main = {presets[0]: named(presets[0])}
    fixed = [f"fixed {ms}" for ms in args.fixed] if "curve" in args.rows else []
    curve = {name: named(name) for name in [*presets, *fixed]}
    return [(scene, curve if scene.kind in ("end", "pause") else main) for scene in stage]


_player: list[Player] = []


def player(cache: Path, model: Path | None) -> Player:
    """One with the recognizer, and with Smart Turn, if there is its file."""
    return Player(Recognizer(cache), model=Listener(cache, model) if model else None)


def _begin(cache: Path, model: Path | None) -> None:
    _player.append(player(cache, model))


def _play(task: Task) -> list[Result]:
    scene, policies = task
    takes = _player[0].play(scene, list(policies.values()))
    return [judge(take, name) for name, take in zip(policies, takes, strict=True)]


def run(work: Sequence[Task], cache: Path, jobs: int, model: Path | None = None) -> Iterator[Result]:
    """The results of all tasks, in their order."""
    if jobs < 2:
        _begin(cache, model)
        for task in work:
            yield from _play(task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of onnxruntime
    with context.Pool(jobs, _begin, (cache, model)) as pool:
        for n, results in enumerate(pool.imap(_play, work, chunksize=4), 1):
            yield from results
            if sys.stderr.isatty():
                print(f"\r{n} of {len(work)} scenes", end="", file=sys.stderr)


def recordings_of(args: argparse.Namespace) -> list[material.Recording]:
    """The recordings of the chosen speakers, with their gaps."""
    listen = Recognizer(args.cache).text
    return [replace(r, gaps=material.gaps(r, listen)) for r in material.load(args.directory, args.speakers)]


def head(args: argparse.Namespace, recordings: Sequence[material.Recording], stage: Sequence[Scene]) -> Iterator[str]:
    """Where the numbers come from."""
    packages = ("voiceloop", "numpy", "onnxruntime", "moonshine-voice")
    speakers = sorted({r.speaker for r in recordings})
    yield f"turns.py, {datetime.now(UTC):%Y-%m-%d}, seed {args.seed}, preset {args.preset.split(',')[0]}"
    yield f"{platform.machine()}, Python {platform.python_version()}, " + ", ".join(
        f"{p} {version(p)}" for p in packages
    )
    yield f"{args.speakers}: {len(recordings)} recordings, {len(speakers)} speakers ({', '.join(speakers)})"
    n = {kind: sum(s.kind == kind for s in stage) for kind in ("end", "pause", "noise", "over")}
    yield f"{len(stage)} scenes: " + ", ".join(f"{kind} {count}" for kind, count in n.items())
    total = round(1000 * (STT_S + LLM_S + SENTENCE_S + TTS_S))
    yield f"services on virtual time, together {total} ms; transcripts by Moonshine tiny; VAD silero"
    if args.model:
        yield f"end-of-turn model: {args.model.name}"
    if "over" in args.rows and sounds.missing():
        yield "voices not installed: " + ", ".join(sounds.missing())


def one(args: argparse.Namespace, stage: Sequence[Scene]) -> int:
    """A scene, or all whose names begin like this, with what happened."""
    chosen = [scene for scene in stage if scene.name == args.scene]
    chosen = chosen or [scene for scene in stage if args.scene in scene.name]
    if not chosen:
        print(f"there is no scene {args.scene}; there are, for example:", *[s.name for s in stage[::20]], sep="\n  ")
        return 1
    name = args.preset.split(",")[0]
    for scene in chosen[:10]:
        (take,) = player(args.cache, args.model).play(scene, [named(name)])
        result = judge(take, name)
        print(f"{scene.name} ({', '.join(scene.tags)}; {scene.speaker}), {name}")
        print(explain(take))
        print({key: value for key, value in asdict(result).items() if key != "trace"})
        if args.keep:
            keep(args.keep, scene.name, take.stereo())
    return 0


def keep(directory: Path, name: str, stereo: object) -> None:
    """Microphone left, loudspeaker right."""
    import soundfile

    directory.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(directory / (name.replace("/", "_").replace(":", "_") + ".wav")), stereo, RATE)


def real(args: argparse.Namespace) -> None:
    """What depends on the machine."""
    import latency

    print("in real time: added by us after the turn decision (goal 10 / - / 20)")
    latency.services(1, 20)
    print("in real time: embedded engines (goal ready 300 / - / 550, heard 600 / - / 1100)")
    latency.embedded(args.directory, 5.0, lambda name: args.speakers in ("all", material.half(name)))


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--speakers", choices=("tune", "report", "all"), default="report")
    parser.add_argument("--preset", default="balanced,quick,patient", help="the first one plays all scenes")
    parser.add_argument("--fixed", type=int, nargs="*", default=FIXED_MS, metavar="MS", help="silences of the curve")
    parser.add_argument("--rows", default="ends,pauses,noise,over,curve", help="which of these")
    parser.add_argument("--quick", action="store_true", help="a fraction of the scenes")
    parser.add_argument("--each", type=int, default=8, help="so often each synthetic word; noises twice as often")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "voiceloop-turns")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="Smart Turn beside the words")
    parser.add_argument("--scene", metavar="NAME", help="only this one, with its events")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="with --scene: its sound")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every scene with its measures and decisions")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--real", action="store_true", help="the rows in real time as well")
    args = parser.parse_args()
    args.rows = args.rows.split(",")
    return args


def main() -> int:
    """Plays and prints."""
    args = arguments()
    recordings = recordings_of(args)
    stage = program(args, recordings)
    if args.scene:
        return one(args, stage)
    results = list(run(tasks(args, stage), args.cache, args.jobs, args.model))
    print(*head(args, recordings, stage), sep="\n")
    print(*table.rows([r for r in results if r.policy == args.preset.split(",")[0]]), sep="\n")
    found = table.points(results)
    if "curve" in args.rows:
        print(*table.curve(found), sep="\n")
    if args.plot and found:
        args.plot.write_text(table.svg(found), encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    if args.real:
        real(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
