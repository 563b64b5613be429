"""The command line: `voiceloop COMMAND`.

Commands: run, serve, connect, keys, devices, doctor, calibrate, say, transcribe, replay, why.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence

from voiceloop import __version__
from voiceloop.errors import VoiceloopError
from voiceloop.process import complain


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


# --- commands: each loads only what it needs ---


def run(args: argparse.Namespace) -> int:
    """Hands-free conversation."""
    from voiceloop.commands import talk

    return talk.run(args)


def devices(args: argparse.Namespace) -> int:
    """What PortAudio offers."""
    from voiceloop.commands import talk

    return talk.devices(args)


def say(args: argparse.Namespace) -> int:
    """A text as speech."""
    from voiceloop.commands import speech

    return speech.say(args)


def transcribe(args: argparse.Namespace) -> int:
    """Sound files as text."""
    from voiceloop.commands import speech

    return speech.transcribe(args)


def serve(args: argparse.Namespace) -> int:
    """A page to talk to; for other programs OpenAI Realtime, the speech API, and /ws."""
    from voiceloop.commands import serve

    return serve.serve(args)


def connect(args: argparse.Namespace) -> int:
    """Microphone and loudspeaker of this machine for a voiceloop server on another one."""
    from voiceloop.commands import connect

    return connect.connect(args)


def keys(args: argparse.Namespace) -> int:
    """Keys that open the server: add NAME shows a new one, once; list; remove NAME."""
    from voiceloop.commands import serve

    return serve.keys(args)


def doctor(args: argparse.Namespace) -> int:
    """Checks devices, echo, engines, services and configuration, and says what to do."""
    from voiceloop.commands.configured import configured
    from voiceloop.doctor import command

    return command.doctor(lambda: configured(args), args.json)


def calibrate(args: argparse.Namespace) -> int:
    """Measures delay and echo of microphone and loudspeaker with a short sound, and keeps the result."""
    from voiceloop.commands.configured import configured
    from voiceloop.doctor import command

    return command.calibrate(configured(args), args.json)


def replay(args: argparse.Namespace) -> int:
    """A recorded session again: the same decisions, or what other settings would have changed."""
    from voiceloop.commands import recorded

    return recorded.what_if(args.file, args.set, args.json) if args.set else recorded.replay(args.file, args.json)


def why(args: argparse.Namespace) -> int:
    """Why the last turns went as they did, in plain words."""
    from voiceloop.commands import recorded

    return recorded.why(args.file, args.last, args.json)


# --- arguments ---


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
    filed = argparse.ArgumentParser(add_help=False, parents=[plain])
    filed.add_argument(
        "--config", metavar="FILE", help="a TOML file, or a shipped one: openai, local, kiosk (default shows every key)"
    )
    common = argparse.ArgumentParser(add_help=False, parents=[filed])
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
    for sub in (examined, add("calibrate", calibrate), _connecting(add("connect", connect, filed))):
        sub.add_argument("--input", nargs=1, default=[], metavar="NAME", help="microphone (name or number)")
        sub.add_argument("--output", metavar="NAME", help="loudspeaker (name or number)")
    _speech(add("say", say), add("transcribe", transcribe))
    _serving(add("serve", serve), add("keys", keys, plain))
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


class _Key(argparse.Action):
    """A flag that sets a key of the configuration, named by its dest."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.keys = {**getattr(namespace, "keys", {}), self.dest: values}


def _speech(speak: argparse.ArgumentParser, listen: argparse.ArgumentParser) -> None:
    """The arguments of say and transcribe."""

    def key(parser: argparse.ArgumentParser, flag: str, key: str, metavar: str, help: str, type: type = str) -> None:
        parser.add_argument(
            flag, dest=key, action=_Key, default=argparse.SUPPRESS, metavar=metavar, type=type, help=help
        )

    what = speak.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", metavar="TEXT", help="what to say; - reads standard input")
    what.add_argument("-f", "--file", metavar="FILE", help="a file with the text, of any length")
    speak.add_argument(
        "-o", "--out", "--output", metavar="FILE", help="a file instead of the loudspeaker; its end says the format"
    )
    speak.add_argument(
        "--format", choices=("mp3", "opus", "aac", "m4a", "flac", "wav", "pcm"), help="of the file, whatever its name"
    )
    key(speak, "--voice", "tts.voice", "NAME", "who speaks")
    key(speak, "--speed", "tts.speed", "N", "0.25 to 4", float)
    key(speak, "--instructions", "tts.instructions", "TEXT", "how to speak, for services that take it")
    key(speak, "--model", "tts.model", "NAME", "the model of a service")
    listen.add_argument("file", nargs="+", metavar="FILE", help="sound, films, or folders of them")
    listen.add_argument(
        "--format", choices=("text", "json", "verbose_json", "srt", "vtt"), help="of the transcript (text)"
    )
    listen.add_argument(
        "-o", "--out", "--output", metavar="NAME", help="a file for the transcript; a folder for several"
    )
    listen.add_argument("--words", action="store_true", help="verbose_json: when each word was said, too")
    listen.add_argument("--temperature", type=float, default=0.0, metavar="N", help="0 to 1, for services")
    key(listen, "--language", "stt.language", "CODE", "as en; a service finds out by itself")
    key(listen, "--prompt", "stt.prompt", "TEXT", "words that help recognition, for services")
    key(listen, "--model", "stt.model", "NAME", "the model of a service")


def _serving(server: argparse.ArgumentParser, keys: argparse.ArgumentParser) -> None:
    """The arguments of serve and keys."""
    server.add_argument("--host", metavar="HOST", help="where to listen: this machine only (127.0.0.1) without a key")
    server.add_argument("--port", type=int, metavar="N", help="8000; 0: any that is free")
    server.add_argument("--only", choices=["speech-api"], help="no page and no conversations, so less memory")
    keys.add_argument("action", choices=["add", "list", "remove"])
    keys.add_argument("name", nargs="?", metavar="NAME", help="whose key it is")
    keys.add_argument("--config", metavar="FILE", help="a TOML file; serve.keys names the file of hashes")


def _connecting(satellite: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The arguments of connect, but for the devices."""
    satellite.add_argument("server", metavar="ADDRESS", help="ws://HOST:PORT, or that of its page; wss and https too")
    satellite.add_argument("--key", metavar="KEY", help="if the server asks for one; better in VOICELOOP_KEY")
    return satellite


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
