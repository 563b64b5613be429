"""What a server tells its client, as the events of a session on this machine; and what becomes of the connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from voiceloop.core import events as ev
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Ready
from voiceloop.wire import bridge

_KEPT = 32
"""Turns and replies that are remembered, to know what is said again."""

_STATES = frozenset(get_args(ev.State))
_ENDINGS = frozenset(get_args(ev.Ending))

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ServerLost:
    """The connection is gone. reason: a sentence for the user. kept: the conversation goes on when it is back."""

    reason: str
    kept: bool


@dataclass(frozen=True, slots=True)
class ServerBack:
    """There is a connection again, after away_s seconds. again: the conversation goes on; else it is another one."""

    away_s: float
    again: bool


@dataclass(slots=True)
class _Reply:
    """said: its clauses. heard: what was heard of it, once it has ended."""

    said: list[str]
    heard: str | None = None


class Told:
    """Gives events for messages. After a connection was lost, the server says again what may not have arrived; what is
    known already is no event."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[int, str]] = {}
        self._replies: dict[int, _Reply] = {}
        self._last = 0
        self._again = False
        self._muted = False

    def begin(self, *, again: bool) -> list[ev.ReplyEnded]:
        """A connection has come about. again: the session goes on; else its replies end here."""
        self._again = again
        if again:
            return []
        left = [(reply, known) for reply, known in self._replies.items() if known.heard is None]
        self._turns.clear()
        self._replies.clear()
        return [ev.ReplyEnded(reply, None, "interrupted", " ".join(known.said), "") for reply, known in left]

    def mute(self, on: bool) -> ev.Muted | None:
        """The microphone is muted, here or at the server."""
        if on == self._muted:
            return None
        self._muted = on
        return ev.Muted(on)

    def event(self, message: bridge.ToPeer, played: int | None = None) -> object:
        """The event that a message is; None if it is none. played: samples of the reply it is about that were heard."""
        match message:
            case bridge.Ready(session=session):
                return Ready(session)
            case bridge.Transcript(role="user", text=text, turn=int(turn)):
                return self._heard(turn, text)
            case bridge.Transcript(role="assistant", text=text, reply=int(reply)):
                return self._said(reply, text)
            case bridge.AudioEnd():
                return self._ended(message, played)
            case bridge.StateChanged(state=state) if state in _STATES:
                return ev.StateChanged(cast("ev.State", state))
            case bridge.Muted(on=on):
                return self.mute(on)
            case bridge.Latency(turn=turn, ms=ms):
                return self._latency(turn, ms)
            case bridge.Notice(stage=stage, text=text) | bridge.Error(code=stage, message=text):
                return ev.Notice(stage, text)
            case _:
                return None

    def _heard(self, turn: int, text: str) -> ev.Heard | None:
        rev, before = self._turns.get(turn, (-1, ""))
        if rev >= 0 and before == text:
            return None
        _keep(self._turns, turn, (rev + 1, text))
        return ev.Heard(turn, rev + 1, text)

    def _said(self, reply: int, text: str) -> ev.ReplySaid | None:
        self._last = reply
        known = self._reply(reply)
        if known.heard is not None or (self._again and text in known.said):
            return None
        known.said.append(text)
        return ev.ReplySaid(reply, len(known.said) - 1, text)

    def _ended(self, message: bridge.AudioEnd, played: int | None) -> ev.ReplyEnded | ev.Amend | None:
        reply, heard = message.reply, message.heard
        known = self._reply(reply)
        before, known.heard = known.heard, heard
        cut_at = played if message.ending == "interrupted" else None
        if before is not None:
            return ev.Amend(reply, heard, cut_at) if before != heard else None
        ending = cast("ev.Ending", message.ending if message.ending in _ENDINGS else "failed")
        return ev.ReplyEnded(reply, None, ending, " ".join(known.said), heard, cut_at)

    def _latency(self, turn: int, ms: dict[str, int]) -> Latency:
        steps = ("words", "text", "ready", "decided", "released", "heard")
        return Latency(turn, self._last, *(ms.get(step, 0) for step in steps))

    def _reply(self, reply: int) -> _Reply:
        known = self._replies.get(reply) or _Reply([])
        _keep(self._replies, reply, known)
        return known


def _keep(among: dict[int, _T], key: int, value: _T) -> None:
    """Notes it; the oldest are forgotten."""
    among[key] = value
    while len(among) > _KEPT:
        del among[next(iter(among))]
