"""A peer at the other end of a connection, as the server drives it: an `AudioPort` with a transport's side."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from voiceloop.core.audio import Pcm
from voiceloop.ports import AudioPort


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of a reply from `start` on, at the port's out_rate, to be played behind what was sent before."""

    reply: int
    start: int
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Stop:
    """What was sent and is not yet played is to be dropped, now."""


class Peer(AudioPort, Protocol):
    """The transport pushes what the microphone heard and what the loudspeaker reports, and sends on what `outgoing`
    gives; it may be lost and replaced. The session has the rest. All methods belong to the event loop's thread."""

    @property
    def n_heard(self) -> int:
        """Samples of the microphone that came so far, at the peer's rate: from here on it is to send."""
        ...

    def queued(self, reply: int) -> int:
        """Samples of a reply that were written so far."""
        ...

    def hear(self, pcm: Pcm) -> None:
        """What the microphone heard, behind what came before; int16 (n,) at the peer's rate. Not while it is `full`."""
        ...

    @property
    def full(self) -> bool:
        """Whether too much is unread."""
        ...

    async def push(self, pcm: Pcm) -> None:
        """As `hear`, and waits as long as it is `full` then."""
        ...

    def residue(self, doubt: float) -> None:
        """How likely what is pushed from now on is our own voice, which the peer's echo canceller left, 0..1."""
        ...

    def report(self, reply: int, n: int, underruns: int = 0) -> None:
        """The loudspeaker has played n samples of a reply; underruns: how often it had nothing to play so far."""
        ...

    def away(self, reason: str) -> None:
        """The connection is lost: what is said meanwhile comes when it is back. reason: a sentence for the user."""
        ...

    def back(self, name: str, until: int = 0, *, patience_s: float = 2.0) -> None:
        """There is a connection again. until: samples that the microphone has heard by now; as far as they have not
        come yet they are waited for, at most patience_s."""
        ...

    def outgoing(self) -> AsyncGenerator[Sound | Stop, None]:
        """What is to be sent, when it is to be sent. One transport at a time."""
        ...
