"""Our protocol for browsers and other peers, `/ws`: JSON in text frames, sound in binary ones.

Binary frames hold raw mono s16le: the microphone on the way up, speech on the way down. Positions are samples, counted
on both sides since the session began (microphone), or since the reply began (speech).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar, cast

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from voiceloop.core.audio import Pcm
from voiceloop.errors import ProtocolError

LONGEST = 65_536
"""Bytes (of text: characters) of one frame that a peer may send: 2 s of sound at 16 kHz, or a long text."""

RATES = (8_000, 96_000)
"""Sample rates from, to."""

NORMAL, GOING, POLICY, TOO_BIG, AGAIN_LATER = 1000, 1001, 1008, 1009, 1013
"""Close codes of RFC 6455: the session has ended; the server stops; refused; too large; too much to do."""

REPLACED, UNREADABLE, SLOW, IDLE, OVER, LOST = 4001, 4002, 4003, 4004, 4005, 4006
"""Our own: a newer connection of the same session took over; what came was no message of ours; the client does not
read; nobody spoke for too long; the session took as long as one may; nobody came back to it."""


class _Up(Struct, frozen=True, tag_field="type"):
    """From the peer."""


class Start(_Up, frozen=True, tag="start"):
    """The first message; without it, or without a field, the defaults hold. reports: `played` will be sent.

    name: what the peer calls itself.
    """

    sample_rate: int = 16_000
    agent_sample_rate: int = 24_000
    reports: bool = False
    name: str = ""


class Resume(_Up, frozen=True, tag="resume"):
    """The first message of a connection that goes on with a session.

    mic: samples that the microphone has heard so far; what the server does not have yet follows `resumed`. played:
    samples of replies that were really played.
    """

    token: str
    mic: int = 0
    played: dict[str, int] = {}


class Played(_Up, frozen=True, tag="played"):
    """Every 200 ms while something plays, and after each `clear`: samples of the reply that were played.

    underruns: how often in this session there was nothing to play in the middle of a reply.
    """

    reply: int
    samples: int
    underruns: int = 0


class Echo(_Up, frozen=True, tag="echo"):
    """The page suspects that its microphone hears its loudspeaker. likeness: correlation of their levels, 0..1."""

    likeness: float


class Residue(_Up, frozen=True, tag="residue"):
    """The peer has an echo canceller that tells how likely what it leaves is the reply's own sound, 0..1: so much from
    here on, until it says otherwise."""

    doubt: float


class Say(_Up, frozen=True, tag="text"):
    """A typed question."""

    text: str


class Interrupt(_Up, frozen=True, tag="interrupt"):
    """Stop speaking."""


class Mute(_Up, frozen=True, tag="mute"):
    """The microphone does not count, or does again."""

    on: bool = True


class PushToTalk(_Up, frozen=True, tag="push_to_talk"):
    """The key went down, or up."""

    down: bool = True


class Commit(_Up, frozen=True, tag="commit"):
    """The turn ends here."""


class Volume(_Up, frozen=True, tag="volume"):
    """How loud the replies are, 0..1."""

    volume: float


class End(_Up, frozen=True, tag="end"):
    """The session is over."""


FromPeer = Start | Resume | Played | Echo | Residue | Say | Interrupt | Mute | PushToTalk | Commit | Volume | End


class _Down(Struct, frozen=True, tag_field="type"):
    """To the peer."""


class Ready(_Down, frozen=True, tag="ready"):
    """It listens. token: what `resume` takes, for `keep_s` seconds without a connection. The rates as they hold."""

    session: str
    token: str
    sample_rate: int
    agent_sample_rate: int
    keep_s: float


class Resumed(_Down, frozen=True, tag="resumed"):
    """The session goes on: send what the microphone heard from sample `mic` on."""

    mic: int


class Audio(_Down, frozen=True, tag="audio"):
    """The binary frames that follow are of this reply, from sample `start` on."""

    reply: int
    start: int = msgspec.field(name="from")


class AudioEnd(_Down, frozen=True, tag="audio_end"):
    """The reply has ended: nothing of it is sent any more.

    samples: of all that was sent or could have been. ending: completed, interrupted, withdrawn, failed or empty. heard:
    the words that were really heard.
    """

    reply: int
    samples: int
    ending: str
    heard: str


class Clear(_Down, frozen=True, tag="clear"):
    """Drop what is not played yet, now; then say what was played."""


class Ack(_Down, frozen=True, tag="ack"):
    """Samples of the microphone that arrived: they need not be kept any longer."""

    mic: int


class Transcript(_Down, frozen=True, tag="transcript"):
    """What was said: by the user, once the turn is decided; by the assistant, each clause as it is about to be heard
    (never final: `audio_end` says what was).

    A turn that comes again replaces what it was before: the person went on.
    """

    role: Literal["user", "assistant"]
    text: str
    final: bool
    turn: int | UnsetType = UNSET
    reply: int | UnsetType = UNSET


class Caption(_Down, frozen=True, tag="caption"):
    """The words of a reply so far, each with the sample at which it has been said."""

    reply: int
    words: list[tuple[str, int]]


class StateChanged(_Down, frozen=True, tag="state"):
    """Who has the floor: listening, hearing, thinking, speaking, paused."""

    state: str


class Muted(_Down, frozen=True, tag="muted"):
    """Whether the microphone is muted at the server."""

    on: bool


class Latency(_Down, frozen=True, tag="latency"):
    """Milliseconds after the last sound of a turn, by what was reached then."""

    turn: int
    ms: dict[str, int]


class Notice(_Down, frozen=True, tag="notice"):
    """A sentence for the user about something that went wrong and does not end the session."""

    stage: str
    text: str


class Error(_Down, frozen=True, tag="error"):
    """A sentence about what the peer did wrong. fatal: the connection is closed after it, with this code."""

    code: str
    message: str
    fatal: bool = False


ToPeer = (
    Ready
    | Resumed
    | Audio
    | AudioEnd
    | Clear
    | Ack
    | Transcript
    | Caption
    | StateChanged
    | Muted
    | Latency
    | Notice
    | Error
)

_UP, _DOWN = msgspec.json.Decoder(FromPeer), msgspec.json.Decoder(ToPeer)
_KNOWN_UP, _KNOWN_DOWN = (
    frozenset(cast("str", kind.__struct_config__.tag) for kind in kinds.__args__) for kinds in (FromPeer, ToPeer)
)
_ENCODER = msgspec.json.Encoder()


_Message = TypeVar("_Message")


class _Kind(Struct, frozen=True):
    type: str


def decode(frame: str) -> FromPeer | None:
    """A text frame of a peer; None for a type that we do not know, which is to be ignored. Raises ProtocolError."""
    message = _read(frame, _KNOWN_UP, _UP)
    return None if message is None else _checked(message)


def told(frame: str) -> ToPeer | None:
    """A text frame of the server, as a client reads it; None for a type that we do not know. Raises ProtocolError."""
    message = _read(frame, _KNOWN_DOWN, _DOWN)
    match message:
        case Audio(start=n) | Ack(mic=n) | Resumed(mic=n) if n < 0:
            raise ProtocolError("A position is not below 0.")
        case _:
            return message


def started(query: Mapping[str, str]) -> Start:
    """What a connection begins with that sends no `start`: its query may say the same. Raises ProtocolError."""
    try:
        return cast("Start", _checked(msgspec.convert(dict(query), Start, strict=False)))
    except msgspec.ValidationError as exc:
        raise ProtocolError(f"The query is no start: {_plain(str(exc))}.") from None


def encode(message: FromPeer | ToPeer) -> str:
    """A text frame for the other side."""
    return _ENCODER.encode(message).decode()


def sound(frame: bytes) -> Pcm:
    """The samples of a binary frame. Raises ProtocolError if it is no s16le."""
    if len(frame) % 2:
        raise ProtocolError(f"Sound is 16-bit, so a frame has an even number of bytes, not {len(frame)}.")
    return np.frombuffer(frame, "<i2").astype(np.int16, copy=False)


def frame(pcm: Pcm) -> bytes:
    """Samples as a binary frame."""
    return pcm.astype("<i2", copy=False).tobytes()


def _checked(message: FromPeer) -> FromPeer:
    match message:
        case Start(sample_rate=up, agent_sample_rate=down):
            for rate in (up, down):
                if not RATES[0] <= rate <= RATES[1]:
                    raise ProtocolError(f"A sample rate lies from {RATES[0]} to {RATES[1]} Hz, not at {rate}.")
        case Played(samples=n) | Resume(mic=n) if n < 0:
            raise ProtocolError("A position is not below 0.")
        case Say(text=text) if not text.strip():
            raise ProtocolError("A text without a word cannot be answered.")
        case Volume(volume=share) | Echo(likeness=share) | Residue(doubt=share) if not 0 <= share <= 1:
            raise ProtocolError("A share lies from 0 to 1.")
        case _:
            pass
    return message


def _read(frame: str, known: frozenset[str], decoder: msgspec.json.Decoder[_Message]) -> _Message | None:
    try:
        kind = msgspec.json.decode(frame, type=_Kind).type
        return decoder.decode(frame) if kind in known else None
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise ProtocolError(f"Not a message of the bridge: {_plain(str(exc))}.") from None


def _plain(text: str) -> str:
    """msgspec's sentence without its code marks."""
    return text.replace("`", "").rstrip(".")
