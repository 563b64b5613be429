"""The replies of a server far away, on the loudspeaker of this machine.

The port knows replies that are played once from their beginning to a stop; the server may stop one and go on with it
later, anywhere before what it sent. So what is played in one go is a track of its own for the port, and knows at which
sample of which reply it began. Samples that are here already are skipped: a server that is not sure sends them again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from voiceloop.core.audio import Pcm, ticks
from voiceloop.ports import AudioPort, Progress
from voiceloop.wire.bridge import Played
from voiceloop.wire.line import Speech

REPORT = ticks(0.2)
"""From one report to the next while something plays, in samples of the microphone: that is the clock here."""

FIRST_S, LEAST_S, MOST_S = 0.08, 0.06, 0.3
"""So much is gathered before a reply begins, so that it does not stutter on a network that does: at first, on one that
never did, and at most."""

GROWTH, DECAY, CALM_S = 1.5, 0.85, 20.0
"""What a gap in a reply makes of it, and what so many seconds without one do."""

QUEUE_S = 120.0
"""Speech that may wait; ours sends 0.4 s ahead, another server may send all at once. What is more is dropped."""

KEPT = 32
"""Replies that are remembered."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Track:
    """A part of a reply that is played in one go, from sample `start` on. end: behind the last one that came. at:
    behind the last one that was heard."""

    reply: int
    start: int
    end: int
    at: int

    @property
    def dry(self) -> bool:
        """Whether all of it was heard."""
        return self.at >= self.end


@dataclass(slots=True)
class _Jitter:
    """How much is gathered before a reply begins. gathered: samples so far. waited: since the first of them, in samples
    of the microphone. calm: samples that came since the last gap."""

    target_s: float = FIRST_S
    gathered: int = 0
    waited: int = 0
    calm: int = 0

    def gap(self) -> None:
        self.target_s, self.calm = min(MOST_S, self.target_s * GROWTH), 0

    def came(self, n: int, rate: int) -> None:
        self.calm += n
        if self.calm >= CALM_S * rate:
            self.target_s, self.calm = max(LEAST_S, self.target_s * DECAY), 0


class Speaker:
    """What comes is pushed; `run` writes it to the port; the port's news go to `learn`, its frames are told to `tick`.

    report: is told how far replies were played.
    """

    def __init__(self, port: AudioPort, report: Callable[[Played], None]) -> None:
        self._port = port
        self._report = report
        self._ids = count(1)
        self._tracks: dict[int, _Track] = {}
        self._queue: deque[tuple[int, Pcm]] = deque()
        self._waiting = 0
        self._jitter = _Jitter()
        self._news = asyncio.Event()
        self._replies = _Replies()
        self._unreported = 0
        self.underruns = 0
        """How often there was nothing to play in the middle of a reply."""

    @property
    def played(self) -> dict[int, int]:
        """How far the last replies were played."""
        return dict(self._replies.played)

    def push(self, speech: Speech) -> None:
        """What the server sent, behind what it sent before."""
        reply, facts, rate = speech.reply, self._replies, self._port.out_rate
        if reply in facts.dropped or self._waiting > QUEUE_S * rate:
            return
        pcm = speech.pcm[max(0, facts.wanted.get(reply, speech.start) - speech.start) :]
        if not pcm.size:
            return
        start = speech.start + speech.pcm.size - pcm.size
        local, track = next(reversed(self._tracks.items()), (0, None))
        if track is None or (track.reply, track.end) != (reply, start):
            self._arm()
            local, track = next(self._ids), _Track(reply, start, start, start)
            self._tracks[local] = track
            self._tidy()
        elif track.dry:
            self.underruns += 1
            self._jitter.gap()
            self._arm()
        track.end = start + pcm.size
        _keep(facts.wanted, reply, track.end)
        self._queue.append((local, pcm))
        self._waiting += pcm.size
        self._jitter.gathered += pcm.size
        self._jitter.came(pcm.size, rate)
        self._look()

    def end(self, reply: int) -> None:
        """No more of it will come: what there is of it is played, however little."""
        _keep(self._replies.ended, reply, None)
        self._tidy()
        self._look()

    def flush(self, *, drop: bool = False) -> None:
        """Stops now, drops the rest, and tells what was played. drop: also what still comes of these replies."""
        facts = self._replies
        for reply in self._stop():
            _keep(facts.wanted, reply, facts.played[reply])
            if drop:
                _keep(facts.dropped, reply, None)
            self._tell(reply)

    def reset(self) -> None:
        """Another session begins, and numbers its replies from the start."""
        self._stop()
        self._replies = _Replies()

    def learn(self, progress: Progress) -> None:
        """How far the port is with a track."""
        track = self._tracks.get(progress.reply)
        if track is None:
            return
        track.at = track.start + progress.n
        _keep(self._replies.played, track.reply, track.at)
        if track.dry:
            self._tell(track.reply)
            self._tidy()

    def tick(self, n: int) -> None:
        """n samples of the microphone have passed."""
        self._jitter.waited += n
        self._unreported += n
        self._look()
        if self._unreported >= REPORT:
            sounding = next((track for track in self._tracks.values() if not track.dry), None)
            if sounding is not None and sounding.reply in self._replies.played:
                self._tell(sounding.reply)

    async def run(self) -> None:
        """Writes to the port what came. For ever."""
        while True:
            while self._queue and self._begins():
                local, pcm = self._queue.popleft()
                self._waiting -= pcm.size
                await self._port.write(local, pcm)
            self._news.clear()
            await self._news.wait()

    def _stop(self) -> list[int]:
        """Drops all that is not played yet. Returns the replies of which that may be news: these, and the last one."""
        played, stopped = self._replies.played, dict[int, bool]()
        if (last := next(reversed(played), None)) is not None:
            stopped[last] = False
        for local, track in self._tracks.items():
            at = track.start + self._port.flush(local)
            if not stopped.get(track.reply):  # else a part of it before this one was stopped
                _keep(played, track.reply, at)
                stopped[track.reply] = at < track.end
        self._tracks.clear()
        self._queue.clear()
        self._waiting = 0
        return list(stopped)

    def _tidy(self) -> None:
        """Forgets tracks to which nothing will be added."""
        last = next(reversed(self._tracks), 0)
        for local, track in list(self._tracks.items()):
            if track.dry and (local != last or track.reply in self._replies.ended):
                del self._tracks[local]

    def _arm(self) -> None:
        """What comes now is gathered first."""
        if not self._queue:
            self._jitter.gathered = self._jitter.waited = 0

    def _begins(self) -> bool:
        """Whether what waits may be heard: there is enough of it, or it has waited for long, or no more will come."""
        jitter, wanted = self._jitter, self._jitter.target_s
        reply = self._tracks[self._queue[0][0]].reply
        enough = jitter.gathered >= wanted * self._port.out_rate or jitter.waited >= 1.5 * ticks(wanted)
        return enough or reply in self._replies.ended

    def _look(self) -> None:
        if self._queue:
            self._news.set()

    def _tell(self, reply: int) -> None:
        self._unreported = 0
        self._report(Played(reply, self._replies.played[reply], self.underruns))


class _Replies:
    """What is known of the last replies. played: samples that were heard. wanted: the first sample that is not here.
    ended: no more will come. dropped: nothing of it is to be heard any more."""

    def __init__(self) -> None:
        self.played: dict[int, int] = {}
        self.wanted: dict[int, int] = {}
        self.ended: dict[int, None] = {}
        self.dropped: dict[int, None] = {}


def _keep(among: dict[int, _T], reply: int, value: _T) -> None:
    """Notes it; the oldest are forgotten."""
    among[reply] = value
    for old in _surplus(among):
        del among[old]


def _surplus(among: Iterable[int]) -> list[int]:
    replies = list(among)
    return replies[: max(0, len(replies) - KEPT)]
