"""Keys that open one door for a short while: `ek_...`, made by `POST /v1/realtime/client_secrets`."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from voiceloop.wire.realtime_session import RealtimeSession

PREFIX = "ek_"
USUAL_S, LEAST_S, LONGEST_S = 600, 10, 7200
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """What such a key opens. until: by the clock. owner: the key that asked for it. session: what it begins with."""

    until: float
    owner: str
    session: RealtimeSession


class Ephemerals:
    """In memory, as hashes; when there are too many, the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds."""
        self._clock = clock
        self._known: OrderedDict[bytes, Ephemeral] = OrderedDict()

    def make(self, owner: str, session: RealtimeSession, seconds: int = USUAL_S) -> str:
        """A new one."""
        secret = PREFIX + secrets.token_hex(16)
        self._known[_hash(secret)] = Ephemeral(self._clock() + seconds, owner, session)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return secret

    def get(self, secret: str) -> Ephemeral | None:
        """What it opens; None if it is none, or its time is over."""
        found = self._known.get(_hash(secret))
        if found is not None and self._clock() >= found.until:
            del self._known[_hash(secret)]
            return None
        return found


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
