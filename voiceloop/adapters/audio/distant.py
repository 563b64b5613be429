"""A peer that cannot be held: a client of OpenAI's Realtime plays whatever it was sent, until it hears that somebody
speaks."""

from __future__ import annotations

from collections.abc import Callable

from voiceloop.adapters.audio.peer import PeerPort
from voiceloop.adapters.audio.turnstile import Turnstile
from voiceloop.core.audio import Pcm
from voiceloop.ports import Progress, Resampler

LEAD_S = 20.0
"""Sent ahead of what is heard: clients buffer it, and a response is over for them when they have all of it. What a
barge-in throws away is never more."""


class DistantPort(PeerPort):
    """A `PeerPort` on which `hold` only looks: what was heard is known by the clock, until the client says better."""

    def __init__(
        self, resampler: Callable[[int, int], Resampler], *, out_hz: int, turnstile: Turnstile | None = None
    ) -> None:
        super().__init__(resampler, out_hz=out_hz, lead_s=LEAD_S, turnstile=turnstile)
        self._seen: list[Progress] = []
        self._at: dict[int, int] = {}

    async def write(self, reply: int, pcm: Pcm) -> None:
        """As any port. In pieces, each of which is made known: the lead may be longer than what waits to be sent, so
        that all is sent, and nobody looks again, while the rest of a long chunk is still to be queued."""
        for at in range(0, pcm.size, self.out_rate):
            await super().write(reply, pcm[at : at + self.out_rate])
            self._mouth.news.set()

    def hold(self, reply: int) -> int:
        """Samples that were probably played; it plays on."""
        self._seen += self._look()
        return self._at.get(reply, 0)

    def resume(self, reply: int) -> None:
        """It never stopped."""

    def flush(self, reply: int) -> int:
        """Nothing more of it is sent. The client drops the rest when it is told that somebody speaks; what it was sent
        is never sent again, also of a reply before this one that it may still have been playing."""
        self._seen += self._look()
        mouth, now = self._mouth, self._now()
        unsure = mouth.heard.at(now) - mouth.heard.surely(now) if self._at.get(reply) else 0
        n = min(self._playback.flush(reply), self._at.pop(reply, 0) + unsure)
        mouth.heard.stopped(now)
        mouth.stopped[reply] = n, now
        self._ear.news.ring()
        mouth.news.set()
        return n

    def _news(self) -> tuple[Progress, ...]:
        seen, self._seen = self._seen, []
        return (*seen, *self._look())

    def _look(self) -> tuple[Progress, ...]:
        found = super()._news()
        for progress in found:
            self._at[progress.reply] = progress.n
            while len(self._at) > 64:
                del self._at[next(iter(self._at))]
        return found
