"""What the server and its worker process say to each other: msgpack, each message after its length in four bytes.

The sound of an upload does not travel: the worker reads the server's temporary file. The sound of an answer does, in
pieces of at most PIECE bytes, and no more than AHEAD of them before the reader has taken one: a client that reads
slowly stops the synthesis, not the memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from voiceloop.wire.speech_api import AudioFormat, Task

PIECE = 32 * 1024
AHEAD = 8
LENGTH = 4


class Speech(Struct, frozen=True, tag=True):
    """Speak a text. voice, model: "" as configured."""

    text: str
    format: AudioFormat
    voice: str = ""
    speed: float = 1.0
    instructions: str = ""
    model: str = ""


class Recording(Struct, frozen=True, tag=True):
    """Write down what is said in a file. words: with their times."""

    path: str
    task: Task = "transcribe"
    language: str = ""
    prompt: str = ""
    temperature: float = 0.0
    words: bool = False


Order = Speech | Recording


class Setup(Struct, frozen=True, tag=True):
    """The first message: the configuration, as JSON."""

    config: dict[str, Any]


class Begin(Struct, frozen=True, tag=True):
    """Start a job. The number is the server's, and new."""

    job: int
    order: Order


class Taken(Struct, frozen=True, tag=True):
    """The reader has taken one more piece of a job."""

    job: int


class Cancel(Struct, frozen=True, tag=True):
    """Nobody waits for this job any more."""

    job: int


class Facts(Struct, frozen=True, tag=True):
    """What the engines are and can do. voices: names that they know; empty: any.

    translates: to English.
    """

    stt: str
    tts: str
    voices: list[str]
    translates: bool


class Sound(Struct, frozen=True, tag=True):
    """Encoded speech."""

    data: bytes


class Said(Struct, frozen=True, tag=True):
    """A word or a segment with its times."""

    text: str
    start_s: float
    end_s: float
    logprob: float | None = None
    words: list[Said] = []


class Heard(Struct, frozen=True, tag=True):
    """The last of a recording."""

    duration_s: float
    language: str | None


News = Sound | Said | Heard


class Told(Struct, frozen=True, tag=True):
    """Something of a job."""

    job: int
    news: News


class Done(Struct, frozen=True, tag=True):
    """A job has come to its end."""

    job: int


class Failed(Struct, frozen=True, tag=True):
    """A job ends with an error; job 0: the worker cannot start. The rest is that of `Refusal`."""

    job: int
    status: int
    message: str
    param: str | None = None
    code: str | None = None


class Alive(Struct, frozen=True, tag=True):
    """Said every second: the worker's loop is not stuck."""


ToWorker = Setup | Begin | Taken | Cancel
FromWorker = Facts | Told | Done | Failed | Alive

_ENCODER = msgspec.msgpack.Encoder()


def packed(message: ToWorker | FromWorker) -> bytes:
    """A message as it is written."""
    data = _ENCODER.encode(message)
    return len(data).to_bytes(LENGTH, "big") + data


class Work(Protocol):
    """What does the work: the worker process, or in tests the engines themselves."""

    @property
    def facts(self) -> Facts | None:
        """None while it is not ready."""
        ...

    def run(self, order: Order) -> AsyncGenerator[News, None]:
        """What comes of an order, as soon as it is there. Raises Refusal. May be cancelled: the work stops."""
        ...
