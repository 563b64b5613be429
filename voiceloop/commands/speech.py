"""`voiceloop say` and `voiceloop transcribe`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceloop.commands.configured import configured
from voiceloop.errors import ConfigError, MediaError, VoiceloopError
from voiceloop.process import complain, wait_for

if TYPE_CHECKING:
    from voiceloop.config import Config
    from voiceloop.core.transcript import Document
    from voiceloop.jobs import Wanted
    from voiceloop.ports import Aligner, Transcriber, Vad

SPOKEN = {".mp3": "mp3", ".opus": "opus", ".ogg": "opus", ".oga": "opus", ".aac": "aac", ".m4a": "m4a",
          ".flac": "flac", ".wav": "wav", ".pcm": "pcm", ".raw": "pcm"}  # fmt: skip
"""What the end of a name says about the format of speech."""

HEARD = (".mp3", ".mp4", ".mpeg", ".mpga", ".m4a", ".wav", ".webm", ".flac", ".ogg", ".oga", ".opus", ".aac", ".aif",
         ".aiff", ".wma", ".mkv", ".mov", ".avi", ".mpg", ".m4v", ".3gp", ".amr", ".caf", ".au")  # fmt: skip
"""Files of a folder that are looked into."""

ENDINGS = {"text": ".txt", "json": ".json", "verbose_json": ".json", "srt": ".srt", "vtt": ".vtt"}
"""Ends of the names that transcripts get."""


def say(args: argparse.Namespace) -> int:
    """A text as speech."""
    from voiceloop import jobs

    config = configured(args)
    text = _text(args)
    if not text.strip():
        raise ConfigError("there is nothing to say: give a text, or - to read it from standard input.")
    spoken: list[float] = []
    if args.out:
        with _bar("saying") as told:
            wait_for(_collect(jobs.save(config, text, args.out, format=_spoken_format(args), progress=told), spoken))
    elif args.format:
        raise ConfigError("--format says how a file is written: name one with -o.")
    else:
        wait_for(_collect(jobs.say(config, text), spoken))
    if args.json:
        print(json.dumps({"seconds": round(spoken[0], 2), "file": args.out}))
    elif args.out:
        print(f"{args.out}: {spoken[0]:.1f} s")
    return 0


def transcribe(args: argparse.Namespace) -> int:
    """Recordings, films and folders of them as text or subtitles."""
    config = configured(args)
    failed: list[bool] = []
    wait_for(_transcribe_all(args, config, failed))
    return 1 if failed else 0


# --- say ---


def _text(args: argparse.Namespace) -> str:
    if args.file is None:
        return sys.stdin.read() if args.text == "-" else args.text
    try:
        return Path(args.file).read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{args.file}: it cannot be read ({exc.strerror}).") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{args.file}: it is not UTF-8 text.") from exc


def _spoken_format(args: argparse.Namespace) -> str:
    if args.format:
        return args.format
    if found := SPOKEN.get(Path(args.out).suffix.lower()):
        return found
    raise ConfigError(f"{args.out}: the name must end in {', '.join(SPOKEN)}, or say how with --format.")


async def _collect(work: Coroutine[Any, Any, float], into: list[float]) -> None:
    into.append(await work)


@contextmanager
def _bar(what: str, total: float | None = None) -> Generator[Callable[[float, float | None], object], None, None]:
    """A progress bar on a terminal: called with what is done, and how much there is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, all: bar.update(task, completed=done, total=all)


# --- transcribe ---


def recordings(names: list[str], into: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Each file to transcribe, and what it is called below the folder `into`; folders are searched to their bottom,
    for names that sound or films have. None: standard output. Raises ConfigError on a folder without any."""
    for name in names:
        path = Path(name)
        if not path.is_dir():
            yield path, into / path.name if into else None
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in HEARD and p.is_file())
        if not found:
            raise ConfigError(f"{name}: there is no recording in this folder.")
        yield from ((p, into / p.relative_to(path) if into else None) for p in found)


def _goals(args: argparse.Namespace, format: str) -> list[tuple[Path, Path | None]]:
    """Each file, and the file that its transcript goes to."""
    several = len(args.file) > 1 or Path(args.file[0]).is_dir()
    out = Path(args.out) if args.out else None
    if out and not several and not out.is_dir():
        return [(Path(args.file[0]), out)]
    if several and not out and format in ("srt", "vtt"):
        raise ConfigError("subtitles of several recordings need a folder: name it with -o.")
    if out and out.exists() and not out.is_dir():
        raise ConfigError(f"{args.out} is no folder: transcripts of several recordings need one.")
    goals: list[tuple[Path, Path | None]] = []
    taken: set[Path] = set()
    for path, goal in recordings(args.file, out):
        if goal:
            short = goal.with_suffix(ENDINGS[format])
            # a.mp3 and a.wav in one folder
            goal = goal.with_name(goal.name + ENDINGS[format]) if short in taken else short
            taken.add(goal)
        goals.append((path, goal))
    return goals


async def _transcribe_all(args: argparse.Namespace, config: Config, failed: list[bool]) -> None:
    from contextlib import AsyncExitStack

    from voiceloop import build
    from voiceloop.jobs import Wanted

    format = args.format or ("json" if args.json else "text")
    # A subtitle is cut between words.
    words = args.words or format in ("srt", "vtt")
    wanted = Wanted(
        language=config.stt.language or None,
        prompt=config.stt.prompt or None,
        temperature=args.temperature,
        words=words,
        times=format not in ("text", "json"),
    )
    goals = _goals(args, format)
    async with AsyncExitStack() as closing:
        engine = await closing.enter_async_context(build.transcriber(config))
        aligner = await closing.enter_async_context(build.aligner(config)) if words else None
        vad, _ = build.vad(config)
        for n, (path, goal) in enumerate(goals, 1):
            title = f"{n}/{len(goals)} {path.name}" if len(goals) > 1 else path.name
            try:
                document = await _one(engine, path, wanted, aligner, vad, title, args.json)
                text = shown(document, str(path), format)
                if goal:
                    _write(goal, text)
                elif format == "text" and len(goals) > 1:
                    print(f"{path}: {text}", end="", flush=True)
                else:
                    print(text, end="", flush=True)
            except VoiceloopError as exc:
                failed.append(True)
                complain(str(exc), args.json)


async def _one(
    engine: Transcriber, path: Path, wanted: Wanted, aligner: Aligner | None, vad: Vad, title: str, as_json: bool
) -> Document:
    from voiceloop.jobs import Transcription

    job = Transcription(engine, path, wanted=wanted, aligner=aligner, vad=vad)
    with _bar(title, job.length_s) as told:
        document = await job.document(lambda s: told(s, job.length_s))
    if job.early:
        complain(f"{path} ends early or is damaged: this is what could be read", as_json)
    return document


def shown(document: Document, name: str, format: str) -> str:
    """A transcript as text, json (one line), verbose_json, srt or vtt; ends with a new line."""
    from voiceloop.core import captions

    match format:
        case "srt":
            return captions.srt(document)
        case "vtt":
            return captions.vtt(document)
        case "json":
            seconds = round(document.duration_s, 2)
            return json.dumps({"file": name, "seconds": seconds, "text": document.text}) + "\n"
        case "verbose_json":
            return json.dumps(_verbose(document, name), indent=1, ensure_ascii=False) + "\n"
        case _:
            return document.text + "\n"


def _verbose(document: Document, name: str) -> dict[str, object]:
    """What the speech API calls so, and the file."""
    segments = [
        {
            "id": n,
            "start": round(segment.start_s, 3),
            "end": round(segment.end_s, 3),
            "text": segment.text,
            "avg_logprob": segment.logprob,
        }
        for n, segment in enumerate(document.segments)
    ]
    words = [
        {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
        for segment in document.segments
        for word in segment.words
    ]
    head = {"file": name, "language": document.language, "duration": round(document.duration_s, 3)}
    return {**head, "text": document.text, "segments": segments, **({"words": words} if words else {})}


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise MediaError(f"{path} cannot be written ({exc.strerror}): choose another place.") from exc
