"""The loudspeaker's queue: what replies wrote, what of it was played, where it was stopped.

The loop writes, holds and flushes; the device's C thread calls `pull`. They share one lock, held for a few
microseconds and never while something blocks or a block is copied: a Python callback waits for the GIL anyway, so
a scheme without a lock would gain nothing but obscurity. A hold or flush changes what the next `pull` takes; the
stream itself is never aborted.

How samples count. A sample is handed when `pull` gave it away, and each is handed once: the count is where a hold
or flush stopped. The 5 ms of fade-out after it repeat the samples that follow the stop, falling to zero, and are
not counted; a resume begins at the stop again, rising over 5 ms, so no part of a word is lost. A sample is heard
when the loudspeaker has played it, which only the port knows: it tells `news` how far the loudspeaker has come. What
was handed and not heard is kept: if the device is lost with it, `rewind` takes it back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from threading import Lock

import numpy as np

from voiceloop.adapters.audio.primer import Primer
from voiceloop.adapters.audio.timeline import Timeline
from voiceloop.adapters.audio.track import Fader, Track
from voiceloop.core.audio import Pcm, silence
from voiceloop.ports import Progress

FADE_S = 0.005
"""Long enough against a click, too short to be heard as a fade."""

KEPT = 256
"""Replies whose counts are remembered; older ones are forgotten when nothing of them waits."""


class Playback:
    """Samples of replies on their way to the loudspeaker, first come first served, at most `high_s` of them.

    A reply keeps its place until it has nothing left to play; what is written to it afterwards goes to the end of
    the line. A held reply keeps those behind it waiting. All methods but `pull` belong to the event loop's thread.
    """

    def __init__(self, rate: int, *, high_s: float = 2.0, low_s: float = 1.0, primer: Primer | None = None) -> None:
        self.rate = rate
        self._lock = Lock()
        self._tracks: dict[int, Track] = {}
        self._line: deque[Track] = deque()
        self._sounding: Track | None = None
        self._timeline = Timeline()
        self._primer = primer or Primer(rate, 0.0, 0.0)
        self._fader = Fader(round(rate * FADE_S))
        self._room = _Room(high=round(rate * high_s), low=round(rate * low_s))

    @property
    def pulled(self) -> int:
        """Samples that `pull` has given so far, silence included: the position on the output."""
        return self._timeline.end

    @property
    def waiting(self) -> int:
        """Samples of all replies that are queued and not yet handed."""
        return self._room.used

    @property
    def told(self) -> bool:
        """True if `news` has nothing to tell, however far the loudspeaker is, and nobody waits to write."""
        return self._timeline.told and not self._room.used

    @property
    def quiet(self) -> bool:
        """True if the last `pull` gave silence only."""
        return self._timeline.quiet

    def counts(self, reply: int) -> tuple[int, int]:
        """Samples of a reply (queued since it began, handed to the loudspeaker); (0, 0) for an unknown one."""
        with self._lock:
            track = self._tracks.get(reply)
            return (track.queued, track.handed) if track else (0, 0)

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Queues samples; waits while the queue is at its high-water mark, until it has sunk to the low one.

        Drops them and returns if the reply was flushed or the queue closed, also while it waits. If cancelled,
        what was queued stays. One writer per reply. Raises ValueError unless pcm is int16 (n,).
        """
        if pcm.dtype != np.int16 or pcm.ndim != 1:
            raise ValueError(f"playback takes int16 of shape (n,), not {pcm.dtype} {pcm.shape}")
        at = self.offer(reply, pcm)
        while at < pcm.size:
            await self._room.freed()
            at += self.offer(reply, pcm[at:])

    def offer(self, reply: int, pcm: Pcm) -> int:
        """Queues what fits without waiting. Returns how many samples are dealt with: queued, or dropped for good."""
        with self._lock:
            track = self._track(reply)
            if track.flushed or self._room.closed:
                return pcm.size
            n = min(pcm.size, self._room.free)
            if n:
                if not track.pieces:
                    self._line.append(track)
                track.put(pcm[:n].copy())
                self._room.used += n
            return n

    def hold(self, reply: int) -> int:
        """Stops a reply where it is, faded out; legal before its first sample. Returns the samples handed."""
        with self._lock:
            track = self._track(reply)
            if not (track.held or track.flushed):
                track.held = True
                self._fade_out(track)
            return track.handed

    def resume(self, reply: int) -> None:
        """Goes on with the next sample after the stop, faded in. Nothing happens if it is not held."""
        with self._lock:
            track = self._track(reply)
            if not track.held:
                return
            track.held = False
            if self._fader.withdraw(reply):
                self._sounding = track
            elif track.handed:
                track.ramp_at = 0

    def flush(self, reply: int) -> int:
        """Stops a reply, faded out, and drops the rest and all that is still to come. Returns the samples handed.

        The count is final, and `news` repeats it once as Progress(final=True).
        """
        with self._lock:
            track = self._track(reply)
            if not track.flushed:
                if not track.held:
                    self._fade_out(track)
                self._room.used -= track.clear()
                if track in self._line:
                    self._line.remove(track)
                self._timeline.finish(reply, track.handed)
        self._room.look()
        return track.handed

    def gain(self, factor: float) -> None:
        """Volume of everything from the next `pull` on, cut to 0..1; reached within that block."""
        self._fader.wanted = min(max(factor, 0.0), 1.0)

    def pull(self, n: int) -> Pcm:
        """The next n samples for the loudspeaker, silence where nothing waits. Never blocks.

        Called from the device's thread. The array may be shared: copy it before the next call, do not write to it.
        """
        with self._lock:
            parts = self._claim(n)
        if not parts:
            return self._fader.silence(n)
        given = sum(part.size for part in parts)
        if given < n:
            parts.append(silence(n - given))
        return self._fader.level(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def take(self, n: int) -> tuple[int, int, Pcm] | None:
        """(reply, its first sample, samples): at most n of what waits, as `pull` would give them, but of one reply and
        without silence or a fade-out: for who sends them on. None if nothing waits."""
        with self._lock:
            if n < 1 or not self._line or self._line[0].held:
                return None
            track = self._line[0]
            start, piece = track.handed, track.take(n)
            self._timeline.add(0, track.reply, start, piece)
            self._timeline.end += piece.size
            self._room.used -= piece.size
            if not track.pieces:
                self._line.popleft()
            return track.reply, start, self._fader.level(self._fader.rise(track, piece))

    def skip(self, reply: int, n: int) -> None:
        """The loudspeaker has played more of a held reply than was thought: it goes on at sample n."""
        with self._lock:
            track = self._track(reply)
            while track.pieces and track.handed < n:
                self._room.used -= track.take(n - track.handed).size
            if not track.pieces and track in self._line:
                self._line.remove(track)
        self._room.look()

    def where(self, reply: int, n: int) -> int | None:
        """The position on the output of a reply's sample, if what follows it is still waited for."""
        with self._lock:
            return self._timeline.where(reply, n)

    def news(self, heard: int | None = None) -> tuple[Progress, ...]:
        """What has become of the replies since the last look; also lets waiting writers go on.

        heard: the position on the output that the loudspeaker has reached; None: all that was pulled.
        A position behind the last one counts as that one.
        """
        with self._lock:
            news = self._timeline.news(self._timeline.end if heard is None else min(heard, self._timeline.end))
        self._room.look()
        return news

    def rewind(self, heard: int) -> None:
        """The device is gone, with what it had not played yet: that waits again, as if it had never been handed.

        heard: the last position on the output that the loudspeaker is known to have reached. Nobody may `pull` now.
        """
        with self._lock:
            for reply, n, pieces in reversed(self._timeline.unheard(min(heard, self._timeline.end))):
                track = self._tracks.get(reply)
                if track is None or track.flushed:
                    continue
                if track in self._line:
                    self._line.remove(track)
                self._line.appendleft(track)
                track.pieces.extendleft(reversed(pieces))
                self._room.used += track.handed - n
                track.handed, track.ramp_at = n, 0
            self._sounding = None
            self._fader.forget()
            self._primer.sleep()

    def close(self) -> None:
        """Drops everything; writers that wait return, and later writes are dropped."""
        with self._lock:
            self._room.closed = True
            for track in self._line:
                self._room.used -= track.clear()
            self._line.clear()
        self._room.look()

    def _track(self, reply: int) -> Track:
        track = self._tracks.get(reply)
        if track is None:
            if len(self._tracks) >= KEPT:
                old = next((t for t in self._tracks.values() if not (t.pieces or t.held)), None)
                if old is not None:
                    del self._tracks[old.reply]
            track = self._tracks[reply] = Track(reply, ramp_at=self._fader.length)
        return track

    def _fade_out(self, track: Track) -> None:
        if self._sounding is track:
            self._fader.begin(track)
            self._sounding = None

    def _claim(self, n: int) -> list[Pcm]:
        """Takes up to n samples off the queue, as pieces that follow each other."""
        line, parts, at = self._line, list[Pcm](), 0
        tail = self._fader.tail(n)
        if tail.size:
            parts.append(tail)
            at = tail.size
        self._sounding = None
        while at < n and line and not line[0].held:
            whisper = self._primer.wake(n - at)
            if whisper.size:
                parts.append(whisper)
                at += whisper.size
                continue
            track = line[0]
            piece = track.take(n - at)
            self._timeline.add(at, track.reply, track.handed - piece.size, piece)
            parts.append(self._fader.rise(track, piece))
            at += piece.size
            self._room.used -= piece.size
            if at == n:
                self._sounding = track
            if not track.pieces:
                line.popleft()
        self._timeline.quiet = not parts
        if not parts:
            self._primer.rest(n)
        self._timeline.end += n
        return parts


class _Room:
    """How full the queue is, and those who wait for space in it."""

    def __init__(self, high: int, low: int) -> None:
        self.used = 0
        self.closed = False
        self._high = high
        self._low = low
        self._freed = asyncio.Event()

    @property
    def free(self) -> int:
        return max(0, self._high - self.used)

    async def freed(self) -> None:
        """Waits until `look` has found the queue low, or closed."""
        self._freed.clear()
        await self._freed.wait()

    def look(self) -> None:
        if self.closed or self.used <= self._low:
            self._freed.set()
