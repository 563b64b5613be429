"""`voiceloop say` and `voiceloop transcribe`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceloop.commands.configured import configured
from voiceloop.errors import ConfigError, VoiceloopError
from voiceloop.process import complain, wait_for

if TYPE_CHECKING:
    from voiceloop.config import Config


def say(args: argparse.Namespace) -> int:
    """A text as speech."""
    from voiceloop import jobs

    config = configured(args)
    text = sys.stdin.read() if args.text == "-" else args.text
    if not text.strip():
        raise ConfigError("there is nothing to say: give a text, or - to read it from standard input.")
    if args.out and not args.out.lower().endswith(".wav"):
        raise ConfigError(f"{args.out}: speech is written as WAV, so the name must end in .wav.")
    work = jobs.save(config, text, args.out) if args.out else jobs.say(config, text)
    spoken: list[float] = []
    wait_for(_collect(work, spoken))
    if args.json:
        print(json.dumps({"seconds": round(spoken[0], 2), "file": args.out}))
    elif args.out:
        print(f"{args.out}: {spoken[0]:.1f} s")
    return 0


def transcribe(args: argparse.Namespace) -> int:
    """Sound files as text."""
    config = configured(args)
    failed: list[bool] = []
    wait_for(_transcribe_all(args, config, failed))
    return 1 if failed else 0


async def _transcribe_all(args: argparse.Namespace, config: Config, failed: list[bool]) -> None:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from voiceloop import build, jobs

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:.0f} s"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        async with build.transcriber(config) as engine:
            for name in args.file:
                task = bar.add_task(Path(name).name, total=None)
                try:
                    text = await jobs.transcribe(engine, name, lambda s, t=task: bar.update(t, completed=s))
                except VoiceloopError as exc:
                    failed.append(True)
                    complain(str(exc), args.json)
                    continue
                finally:
                    bar.remove_task(task)
                if args.json:
                    print(json.dumps({"file": text.file, "seconds": text.seconds, "text": text.text}), flush=True)
                else:
                    print(f"{name}: {text.text}" if len(args.file) > 1 else text.text, flush=True)


async def _collect(work: Coroutine[Any, Any, float], into: list[float]) -> None:
    into.append(await work)
