"""The command line: `voiceloop run | devices | doctor | calibrate | say | transcribe | replay | why`."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceloop import __version__
from voiceloop.errors import ConfigError, DeviceError, VoiceloopError
from voiceloop.process import complain, wait_for

if TYPE_CHECKING:
    from voiceloop.build import Assembled
    from voiceloop.config import Config
    from voiceloop.ports import AudioPort, Tap
    from voiceloop.screen import Screen
    from voiceloop.session.session import Parts, Session

_DEMO_WAV = "voiceloop-replies.wav"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # words in any script, whatever the terminal can show
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.ERROR, format="%(levelname)s %(message)s")
    try:
        return args.command(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has no reader
        return 0
    except VoiceloopError as exc:
        complain(str(exc), args.json)
        return 1


# --- commands ---


def run(args: argparse.Namespace) -> int:
    """Hands-free conversation."""
    from voiceloop import build

    config = _config(args)
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
    from voiceloop import build

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


def say(args: argparse.Namespace) -> int:
    """A text as speech."""
    from voiceloop import jobs

    config = _config(args)
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
    config = _config(args)
    failed: list[bool] = []
    wait_for(_transcribe_all(args, config, failed))
    return 1 if failed else 0


def doctor(args: argparse.Namespace) -> int:
    """Checks devices, echo, engines, services and configuration, and says what to do."""
    from voiceloop.doctor import command

    return command.doctor(lambda: _config(args), args.json)


def calibrate(args: argparse.Namespace) -> int:
    """Measures delay and echo of microphone and loudspeaker with a short sound, and keeps the result."""
    from voiceloop.doctor import command

    return command.calibrate(_config(args), args.json)


def replay(args: argparse.Namespace) -> int:
    """A recorded session again: the same decisions, or what other settings would have changed."""
    from voiceloop import commands

    return commands.what_if(args.file, args.set, args.json) if args.set else commands.replay(args.file, args.json)


def why(args: argparse.Namespace) -> int:
    """Why the last turns went as they did, in plain words."""
    from voiceloop import commands

    return commands.why(args.file, args.last, args.json)


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


async def _converse(args: argparse.Namespace, config: Config, port: AudioPort | None, missing: str | None) -> None:
    from voiceloop import build
    from voiceloop.screen import JsonLines, Screen

    with ExitStack() as stack:
        # As fast as possible, time is not the clock's: its milliseconds would mean nothing.
        real_time = port is None or not port.stepped
        screen = None if args.json else stack.enter_context(Screen(latency=real_time))

        def note(sentence: str) -> None:
            if screen:
                screen.note(sentence, "yellow")
            else:
                print(json.dumps({"event": "Notice", "stage": "session", "text": sentence}), flush=True)

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
                note(notice)
            parts = _written_down(args, config, assembled, stack, note)
            talk = config.turn.mode == "push_to_talk"
            if screen and real_time:
                await _until_nobody_reads(parts, screen, lambda session: _keys(session, screen, talk=talk))
            else:
                await _until_nobody_reads(parts, screen or JsonLines())
        output = _DEMO_WAV if missing is not None and port is not None else args.output
        if screen and port is not None and output:
            screen.note(f"What it said is in {output}.")


def _written_down(
    args: argparse.Namespace, config: Config, assembled: Assembled, stack: ExitStack, note: Callable[[str], None]
) -> Parts:
    """The parts, tapped by what is kept of the session. note: takes sentences for the user."""
    from voiceloop import build
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
def _keys(session: Session, screen: Screen, *, talk: bool) -> Generator[None]:
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
    show: Callable[[object], None],
    around: Callable[[Session], AbstractContextManager[None]] = lambda session: nullcontext(),
) -> None:
    """A session, shown to its end. Raises BrokenPipeError when the reader of standard output has gone."""
    from voiceloop.session.session import Session

    gone: list[BrokenPipeError] = []

    def observe(event: object) -> None:
        try:
            show(event)
        except BrokenPipeError as exc:
            gone.append(exc)
            session.close()

    # A tap may be an observer too: the trace keeps latencies.
    session = Session(parts, [observe, *(tap for tap in parts.taps if callable(tap))])
    with around(session):
        await session.run()
    if gone:
        raise gone[0]


async def _collect(work: Coroutine[Any, Any, float], into: list[float]) -> None:
    into.append(await work)


# --- arguments ---


def _config(args: argparse.Namespace) -> Config:
    """The file, the environment, then the flags."""
    from voiceloop import build
    from voiceloop.config import load_config, override

    config = load_config(args.config or os.environ.get("VOICELOOP_CONFIG") or None)
    flags = {
        "stt.engine": args.stt,
        "tts.engine": args.tts,
        "vad.engine": args.vad,
        "handler.name": getattr(args, "handler", None),
        "offline": args.offline or None,
    }
    changes = {key: value for key, value in flags.items() if value is not None}
    devices: dict[str, list[str]] = {
        "audio.input": getattr(args, "input", []),
        "audio.output": [getattr(args, "output", None) or ""],
    }
    for key, names in devices.items():
        if len(names) > 1 and not any(map(build.is_sound_file, names)):
            raise ConfigError(f"--input takes one microphone, or sound files; these are none: {', '.join(names)}.")
        if names and names[0] and not build.is_sound_file(names[0]):
            changes[key] = int(names[0]) if names[0].isdecimal() else names[0]
    return override(config, changes)


def _file_port(args: argparse.Namespace, files: list[str]) -> AudioPort:
    from voiceloop import build

    if len(files) != len(args.input):
        other = next(name for name in args.input if name not in files)
        raise ConfigError(f"--input names both files and {other!r}: give sound files only, or one device.")
    if args.output and not build.is_sound_file(args.output):
        raise ConfigError("--input names a file, so --output must name a WAV file too, or be left out.")
    return build.file_port(files, args.output, paced=args.paced)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voiceloop",
        description="A real-time voice assistant loop: speak, pause, and it answers; interrupt, and it stops.",
    )
    parser.add_argument("--version", action="version", version=f"voiceloop {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plain = argparse.ArgumentParser(add_help=False)
    plain.add_argument("--json", action="store_true", help="JSON instead of text")
    plain.add_argument("-v", "--verbose", action="store_true", help="log what happens (never what is said)")
    common = argparse.ArgumentParser(add_help=False, parents=[plain])
    common.add_argument(
        "--config", metavar="FILE", help="a TOML file, or a shipped one: openai, local, kiosk (default shows every key)"
    )
    common.add_argument("--offline", action="store_true", help="open no connection, use embedded engines only")
    common.add_argument("--stt", metavar="ENGINE", help="speech to text: moonshine, sherpa, openai, or a plug-in")
    common.add_argument("--tts", metavar="ENGINE", help="text to speech: hibari, espeak, openai, or a plug-in")
    common.add_argument("--vad", metavar="ENGINE", help="voice activity: silero, webrtc, or a plug-in")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        parents = parents or (common,)
        sub = commands.add_parser(name, parents=parents, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    talk = add("run", run)
    talk.add_argument(
        "--input", nargs="+", action="extend", default=[], metavar="NAME", help="microphone (name or number), or files"
    )
    talk.add_argument("--output", metavar="NAME", help="loudspeaker (name or number), or a WAV file")
    talk.add_argument("--paced", action="store_true", help="files in real time instead of as fast as possible")
    talk.add_argument("--handler", metavar="NAME", help="offline, echo, chat, or module:function")
    talk.add_argument("--record", metavar="FILE", help="the session as one file, with voices and words: NAME.voiceloop")
    add("devices", devices)
    examined = add("doctor", doctor)
    examined.add_argument("--handler", metavar="NAME", help="offline, echo, chat, or module:function")
    for sub in (examined, add("calibrate", calibrate)):
        sub.add_argument("--input", nargs=1, default=[], metavar="NAME", help="microphone (name or number)")
        sub.add_argument("--output", metavar="NAME", help="loudspeaker (name or number)")
    speak = add("say", say)
    speak.add_argument("text", metavar="TEXT", help="what to say; - reads standard input")
    speak.add_argument("-o", "--out", "--output", metavar="FILE", help="a WAV file instead of the loudspeaker")
    listen = add("transcribe", transcribe)
    listen.add_argument("file", nargs="+", metavar="FILE", help="WAV, FLAC, OGG ...")
    again = add("replay", replay, plain)
    again.add_argument("file", metavar="FILE", help="what `voiceloop run --record FILE` wrote")
    again.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what would have been different, as turn.wait_s=0.9; may be repeated",
    )
    reasons = add("why", why, plain)
    reasons.add_argument("file", nargs="?", metavar="FILE", help="a recording; without it, the last session")
    reasons.add_argument("--last", type=_count, default=3, metavar="N", help="how many turns (3)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
