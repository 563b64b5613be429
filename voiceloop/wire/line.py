"""The client's half of a conversation over `/ws`, without its socket: what is to be sent when, and kept how long.

The session outlives its connections. What the microphone hears is kept until the server has it, and sent again where a
connection was lost with it. What the user does (mute, push-to-talk) stands in the same order as the sound: it is sent
between the samples between which it was done, and again if they are, so that it counts once, and at its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from voiceloop.core.audio import RATE, Pcm, Tape
from voiceloop.errors import ProtocolError
from voiceloop.wire import bridge

KEEP_S = 30.0
"""So much of the microphone is kept for a server that is away."""

PIECE = RATE // 10
"""Samples in one frame at most, where many wait."""

BEHIND_S = 5.0
"""On a line that is slower than speech, what is older than this is given up; but not what waited while there was
none."""

CAUGHT_UP_S = 0.2
"""With so little waiting, what waited while there was none has been sent."""

SILENT_S = 2.5
"""A server that was sent sound acknowledges every 0.5 s: one that says nothing for so long is not there."""

READY_S = 30.0
"""A server may take so long to begin: engines are loaded when they are needed."""

_MESSAGES = 128
"""That stand between the sound and wait, or have not surely arrived; the oldest are forgotten."""

_REPORTS = 8
"""Replies that are reported on at a time."""

CLOSINGS: Mapping[int, str] = {
    bridge.NORMAL: "The server has ended the conversation.",
    bridge.POLICY: "The server lets nobody in without a key that it knows: give it with --key, or in VOICELOOP_KEY.",
    bridge.TOO_BIG: "The server could not take what this machine sent.",
    1011: "The server had a problem of its own, and ended the conversation.",
    bridge.REPLACED: "The conversation goes on elsewhere: a newer connection took it over.",
    bridge.UNREADABLE: "The server did not understand this machine: it may be of another version.",
    bridge.IDLE: "Nobody said anything for a while, so the server has ended the conversation.",
    bridge.OVER: "The conversation has taken as long as the server allows.",
}
"""Close codes after which it makes no sense to come again by itself, and what they mean to a person."""

PEACEFUL = frozenset({bridge.NORMAL, bridge.IDLE, bridge.OVER})
"""Those of them that are no error."""

PASSING: Mapping[int, str] = {
    bridge.GOING: "The server has stopped.",
    bridge.AGAIN_LATER: "The server has too much to do: try again in a while.",
    bridge.SLOW: "The connection was too slow for the server.",
}
"""Those after which it may well be there again."""

_BUSY_S = 5.0


@dataclass(frozen=True, slots=True)
class Speech:
    """Samples of a reply from `start` on, at the rate that was asked for."""

    reply: int
    start: int
    pcm: Pcm


class Kept:
    """What the microphone heard and the server may still need. The server counts from the beginning of its session,
    less what was given up; so positions on the tape are ahead of its by `_ahead`."""

    def __init__(self, most: int) -> None:
        self._tape = Tape(most)
        self._ahead = 0
        self.sent = 0
        """Position on the tape of the next sample to be sent."""

    @property
    def heard(self) -> int:
        """Position on the tape behind the newest sample."""
        return self._tape.end

    @property
    def position(self) -> int:
        """What the server's count will be when everything has been sent."""
        return self.heard - self._ahead

    @property
    def waiting(self) -> int:
        """Samples that were not sent."""
        return self.heard - self.sent

    def place(self, n: int) -> int:
        """Position on the tape of the server's sample n."""
        return n + self._ahead

    def push(self, pcm: Pcm) -> None:
        """More was heard; where the tape is full, the oldest is given up."""
        self._tape.append(pcm)
        self._give_up(self._tape.start)

    def shorten(self, n: int) -> None:
        """Gives up the oldest of what waits, down to n samples."""
        self._give_up(self.heard - n)

    def ack(self, n: int) -> None:
        """The server has everything before its sample n."""
        self._tape.trim(self.heard - min(self.place(n), self.sent))

    def rewind(self, n: int) -> None:
        """The server has n samples: the next to be sent is that one, or the oldest that there still is."""
        self.sent = min(max(self.place(n), self._tape.start), self.heard)
        self._ahead = self.sent - n

    def restart(self) -> None:
        """A new session counts from here."""
        self.sent = self._ahead = self.heard
        self._tape.trim(0)

    def take(self, n: int) -> Pcm:
        """At most n samples that were not sent yet."""
        pcm = self._tape.read(self.sent, self.sent + n)
        self.sent += pcm.size
        return pcm

    def _give_up(self, until: int) -> None:
        lost = max(0, until - self.sent)
        self._ahead += lost
        self.sent += lost


@dataclass(slots=True)
class _Contact:
    """The connection that there is. ready: the session takes sound. resuming: it began with `resume`. behind: what
    waited while there was none is still being sent. since: when an answer began to be due; None: none is.
    coming: what the next binary frame is. urgent: how far replies were played, where that is news."""

    resuming: bool
    since: float | None
    ready: bool = False
    behind: bool = True
    hello: bridge.FromPeer | None = None
    coming: tuple[int, int] | None = None
    urgent: dict[int, bridge.Played] = field(default_factory=dict[int, bridge.Played])


class Line:
    """One conversation. Whoever has a socket calls `opened`, sends what `next` gives, passes on what comes to
    `receive`, and asks `lost` what to do when the connection is. Times are seconds of any clock."""

    def __init__(self, hello: bridge.Start) -> None:
        self.mic = Kept(round(KEEP_S * hello.sample_rate))
        self.attempts = 0
        """Connections that failed since the last one that came about."""
        self.begun = False
        """Whether there was a session yet."""
        self._hello = hello
        self._token = ""
        self._contact: _Contact | None = None
        self._said: deque[tuple[int, bridge.FromPeer]] = deque(maxlen=_MESSAGES)
        self._told = 0
        self._doubt = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is a connection, and the session takes sound."""
        return self._contact is not None and self._contact.ready

    @property
    def kept(self) -> bool:
        """Whether there is a session to go on with."""
        return bool(self._token)

    # --- what is to be sent ---

    def hear(self, pcm: Pcm, doubt: float = 0.0) -> None:
        """What the microphone heard, which nobody changes any more: int16 (n,) at the rate of the hello. doubt: how
        likely it is the echo canceller's residue, 0..1."""
        doubt = round(doubt, 1)
        if doubt != self._doubt and self._token:
            self._doubt = doubt
            self.say(bridge.Residue(doubt))
        self.mic.push(pcm)
        contact = self._contact
        if contact is not None and contact.ready and not contact.behind:
            self.mic.shorten(round(BEHIND_S * self._hello.sample_rate))

    def say(self, message: bridge.FromPeer) -> None:
        """What the user did, now: it stands behind what was heard so far. Without a session it is forgotten."""
        if self._token:
            if len(self._said) == _MESSAGES and self._told:
                self._told -= 1
            self._said.append((self.mic.heard, message))

    def report(self, message: bridge.Played) -> None:
        """How far a reply was played: sent before all else, and not at all while there is no connection."""
        if self._contact is not None and self._contact.ready:
            self._contact.urgent[message.reply] = message
            while len(self._contact.urgent) > _REPORTS:
                del self._contact.urgent[next(iter(self._contact.urgent))]

    def next(self, now: float) -> str | bytes | None:
        """The next frame to be sent; None if there is none now."""
        contact = self._contact
        if contact is None:
            return None
        if contact.hello is not None:
            hello, contact.hello = contact.hello, None
            return bridge.encode(hello)
        if not contact.ready:
            return None
        if contact.urgent:
            return bridge.encode(contact.urgent.pop(next(iter(contact.urgent))))
        mic, n = self.mic, PIECE
        if self._told < len(self._said):
            at, message = self._said[self._told]
            if at <= mic.sent:
                self._told += 1
                return bridge.encode(message)
            n = min(n, at - mic.sent)
        pcm = mic.take(n)
        contact.behind = contact.behind and mic.waiting > CAUGHT_UP_S * self._hello.sample_rate
        if not pcm.size:
            return None
        contact.since = now if contact.since is None else contact.since
        return bridge.frame(pcm)

    # --- what comes ---

    def receive(self, frame: str | bytes) -> bridge.ToPeer | Speech | None:
        """What a frame of the server says; None for what we do not know. Raises ProtocolError."""
        contact = self._contact
        if contact is None:
            return None
        if contact.ready:
            contact.since = None
        if isinstance(frame, bytes):
            return self._speech(contact, frame)
        message = bridge.told(frame)
        match message:
            case bridge.Ready(token=token):
                self._token = token
                self._said.clear()
                self._told, self._doubt = 0, 0.0
                self.mic.restart()
                self._begin(contact)
            case bridge.Resumed(mic=n):
                self._forget_before(n)
                self._told = 0
                self.mic.rewind(n)
                self._begin(contact)
            case bridge.Ack(mic=n):
                self._forget_before(n)
                self.mic.ack(n)
            case bridge.Audio(reply=reply, start=start):
                contact.coming = reply, start
            case _:
                pass
        return message

    # --- the connections ---

    def opened(self, now: float, played: Mapping[int, int]) -> None:
        """There is a connection. played: how far the last replies were played."""
        resuming = bool(self._token)
        self._contact = contact = _Contact(resuming, now)
        if resuming:
            contact.hello = bridge.Resume(self._token, self.mic.position, {str(r): n for r, n in played.items()})
        else:
            contact.hello = self._hello

    def dead(self, now: float) -> bool:
        """Whether the server has said nothing for too long."""
        contact = self._contact
        if contact is None or contact.since is None:
            return False
        return now - contact.since >= (SILENT_S if contact.ready else READY_S)

    def lost(self, code: int, chance: float) -> float | None:
        """The connection has ended, or did not come about. Seconds until the next attempt; None: there is to be none.

        code: with which it was closed, 0 without one. chance: 0..1, so that not all come back at once.
        """
        contact, self._contact = self._contact, None
        gone = code == bridge.POLICY and contact is not None and contact.resuming
        if gone or code == bridge.GOING:
            self._token = ""
        if gone:
            return 0.0
        if code in CLOSINGS:
            return None
        wait_s = backoff(self.attempts, chance)
        self.attempts += 1
        return max(_BUSY_S, wait_s) if code == bridge.AGAIN_LATER else wait_s

    def _begin(self, contact: _Contact) -> None:
        contact.ready, contact.since = True, None
        self.begun, self.attempts = True, 0

    def _forget_before(self, n: int) -> None:
        """What was said before the server's sample n has arrived, as that sample has."""
        place = self.mic.place(n)
        while self._told and self._said[0][0] < place:
            self._said.popleft()
            self._told -= 1

    def _speech(self, contact: _Contact, frame: bytes) -> Speech:
        pcm = bridge.sound(frame)
        if contact.coming is None:
            raise ProtocolError("Sound came of which nobody knows what it is.")
        reply, start = contact.coming
        contact.coming = reply, start + pcm.size
        return Speech(reply, start, pcm)


def backoff(n: int, chance: float) -> float:
    """Seconds before attempt n (0, 1, ...) to connect again. chance: 0..1."""
    return min(5.0, 0.25 * 2 ** min(n, 10)) * (0.8 + 0.4 * chance)
