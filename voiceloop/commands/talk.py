"""`voiceloop run` and `voiceloop devices`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from dataclasses import replace as changed
from typing import TYPE_CHECKING

from voiceloop import build
from voiceloop.commands.configured import configured
from voiceloop.commands.shown import Shown
from voiceloop.errors import ConfigError, DeviceError
from voiceloop.process import wait_for

if TYPE_CHECKING:
    from voiceloop.build import Assembled
    from voiceloop.config import Config
    from voiceloop.keys import Controls
    from voiceloop.ports import AudioPort, Tap
    from voiceloop.screen import Screen
    from voiceloop.session.session import Parts, Session

_DEMO_WAV = "voiceloop-replies.wav"


def run(args: argparse.Namespace) -> int:
    """Hands-free conversation."""
    config = configured(args)
    files = [name for name in args.input if build.is_sound_file(name)]
    port: AudioPort | None = None
    missing: str | None = None
    if files:
        port = _file_port(args, files)
    elif args.output and build.is_sound_file(args.output):
        raise ConfigError("--output names a file, so --input must name one too; or leave both out to talk.")
    elif not args.input and not args.output and config.audio.input == "" and config.audio.output == "":
        missing = build.missing_device()
        if missing is not None and not config.audio.wait:
            port = build.file_port(build.demo_recordings(), _DEMO_WAV, paced=True, replies_only=True)
    return wait_for(_converse(args, config, port, missing))


def devices(args: argparse.Namespace) -> int:
    """What PortAudio offers."""
    rows = build.devices()
    if args.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    if not rows:
        raise DeviceError("No microphone or loudspeaker was found: connect one, or start the sound server.")
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("default", "number", "name", "in", "out", "kHz", "opens at kHz", "through"):
        table.add_column(title, overflow="fold")
    for row in rows:
        marks = ["mic"] * row.is_default_input + ["speaker"] * row.is_default_output
        rates = " ".join(f"{rate / 1000:g}" for rate in row.rates) or "none"
        cells = (row.number, row.name, row.inputs, row.outputs, f"{row.default_rate / 1000:g}", rates, row.host_api)
        table.add_row(", ".join(marks), *map(str, cells))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


async def _converse(args: argparse.Namespace, config: Config, port: AudioPort | None, missing: str | None) -> None:
    from voiceloop.screen import Screen

    with ExitStack() as stack:
        # As fast as possible, time is not the clock's: its milliseconds would mean nothing.
        real_time = port is None or not port.stepped
        screen = None if args.json else stack.enter_context(Screen(latency=real_time))
        shown = Shown(screen)
        async with build.assemble(config, port=port) as assembled:
            notices = [*assembled.notices]
            if missing is not None:
                meanwhile = "Meanwhile three recordings of real people, through the same loop:"
                notices += [missing, meanwhile if port else "Waiting until there is one."]
            names = assembled.names
            if screen:
                screen.note(
                    f"ears {names['stt']}, voice {names['tts']}, vad {names['vad']}, handler {names['handler']}"
                )
            for notice in notices:
                shown.note(notice)
            parts = _written_down(args, config, assembled, stack, shown.note)
            talk = config.turn.mode == "push_to_talk"
            if screen and real_time:
                await _until_nobody_reads(parts, shown, lambda session: keys_of(session, screen, talk=talk))
            else:
                await _until_nobody_reads(parts, shown)
        output = _DEMO_WAV if missing is not None and port is not None else args.output
        if screen and port is not None and output:
            screen.note(f"What it said is in {output}.")


def _written_down(
    args: argparse.Namespace, config: Config, assembled: Assembled, stack: ExitStack, note: Callable[[str], None]
) -> Parts:
    """The parts, tapped by what is kept of the session. note: takes sentences for the user."""
    from voiceloop.journal.trace import TraceLog, trace_folder

    taps: list[Tap] = []
    if args.record:
        journal = build.journal(config, assembled, args.record)
        stack.callback(lambda: note(trouble) if (trouble := journal.close()) else None)
        note(f"Recording to {args.record}: it will hold your voice, and all that is said.")
        taps.append(journal)
    if config.journal.trace:
        trace = TraceLog(trace_folder(), latency=not assembled.parts.port.stepped)
        stack.callback(trace.close)
        taps.append(trace)
    return changed(assembled.parts, taps=tuple(taps))


@contextmanager
def keys_of(session: Controls, screen: Screen, *, talk: bool) -> Generator[None]:
    """Keys of the terminal act on the session, if there is a terminal."""
    from voiceloop.keys import Keys

    with Keys(session, talk=talk) as keys:
        if keys.hint:
            screen.note(keys.hint)
        elif talk:
            screen.note("turn.mode is push_to_talk, and there is no terminal whose space could be the key.", "yellow")
        yield


async def _until_nobody_reads(
    parts: Parts,
    shown: Shown,
    around: Callable[[Session], AbstractContextManager[None]] = lambda session: nullcontext(),
) -> None:
    """A session, shown to its end. Raises BrokenPipeError when the reader of standard output has gone."""
    from voiceloop.session.session import Session

    # A tap may be an observer too: the trace keeps latencies.
    session = Session(parts, [shown, *(tap for tap in parts.taps if callable(tap))])
    shown.end = session.close
    with around(session):
        await session.run()
    shown.check()


def _file_port(args: argparse.Namespace, files: list[str]) -> AudioPort:
    if len(files) != len(args.input):
        other = next(name for name in args.input if name not in files)
        raise ConfigError(f"--input names both files and {other!r}: give sound files only, or one device.")
    if args.output and not build.is_sound_file(args.output):
        raise ConfigError("--input names a file, so --output must name a WAV file too, or be left out.")
    return build.file_port(files, args.output, paced=args.paced)
