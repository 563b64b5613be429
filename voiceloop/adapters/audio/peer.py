"""A loudspeaker and a microphone far away: a browser, or a program, at the other end of a connection.

The transport pushes what the microphone heard and what the loudspeaker reports, and sends on what `outgoing` gives; it
may be lost and replaced, the port stays. The peer cancels its own echo.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from voiceloop.adapters.audio.outlet import LiveOutlet
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.turnstile import Turnstile
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, Rechunker
from voiceloop.peers import Sound, Stop
from voiceloop.ports import Capture, Progress, Resampler

LEAD_S = 0.4
"""So much is sent ahead of what is heard: a network may pause for as long, and no more is dropped by a barge-in."""

FIRST_S = 0.1
"""From sending to hearing, while nothing plays: the way, and what a page keeps before it begins (60 to 100 ms)."""

UNSURE_S = 0.06
"""Without reports, so much of what was probably heard may not have been: it is sent again after a hold."""

SILENT_S = 3.0
"""A peer whose last report is so old is taken for one without."""

REPORT_S = 0.5
"""A peer that says nothing for so long after it was stopped will not: the estimate stands."""

MOST_S = 2.0
"""Sound of the microphone that waits to be heard; who sends faster is read slower."""

_MOST_FRAMES = round(MOST_S * RATE) // FRAME
_BLOCK_S = 0.1
"""So much is sent at once while more waits: each message costs as much as a hundred of samples do."""

_LOOK_S = 0.1


class Heard:
    """How far a loudspeaker far away has come: by what it reports, and by the clock in between.

    Positions are samples sent since the beginning; times are seconds of any clock.
    """

    def __init__(self, rate: int, *, reports: bool) -> None:
        self._rate = rate
        self._reports = reports
        self._at, self._when = 0, 0.0
        self.end = 0
        """Position behind the last sample that was sent."""

    def sent(self, end: int, now: float) -> None:
        """More was sent, up to that position."""
        if self.at(now) >= self.end:
            self._at, self._when = self.end, now + FIRST_S
        self.end = end

    def reported(self, at: int, now: float) -> None:
        """The loudspeaker itself says how far it is."""
        self._at, self._when = min(at, self.end), now

    def stopped(self, now: float) -> None:
        """What was sent and not heard was dropped: nothing is on its way."""
        self._at, self._when = self.end, now

    def at(self, now: float) -> int:
        """The position that is probably reached."""
        return min(self.end, self._at + max(0, round((now - self._when) * self._rate)))

    def surely(self, now: float) -> int:
        """The position that is reached for certain: what stands before it is never sent again."""
        if self._reports and now - self._when < SILENT_S:
            return self._at
        return self.at(now - UNSURE_S)


class _Bell:
    """As an `asyncio.Event` for one who waits, but he goes on when the turnstile lets him."""

    def __init__(self, turnstile: Turnstile) -> None:
        self._loop = asyncio.get_running_loop()
        self._turnstile = turnstile
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Ends the wait, or the next one."""
        self._rung = True
        if self._waiter is not None:
            self._turnstile.wake(self._waiter)
            self._waiter = None

    def clear(self) -> None:
        """It has not rung."""
        self._rung = False

    async def wait(self) -> None:
        """Until it rings; at once if it has rung since it was cleared."""
        if not self._rung:
            self._waiter = self._loop.create_future()
            await self._waiter


@dataclass(slots=True)
class _Ear:
    """The microphone's side: what waits to be fetched, and where the peer is.

    n: samples that came, at the peer's rate. until: how many must have come before it counts as back; None: it is, or
    is away. deadline: after it they are not waited for. name: what it calls itself. doubt: its echo canceller's. look:
    when time alone may have brought news.
    """

    news: _Bell
    frames: deque[Capture | ev.PortLost | ev.PortBack | ev.Notice] = field(
        default_factory=deque[Capture | ev.PortLost | ev.PortBack | ev.Notice]
    )
    n: int = 0
    until: int | None = None
    deadline: float = 0.0
    name: str = ""
    doubt: float = 0.0
    underruns: int = 0
    look: asyncio.TimerHandle | None = None
    fetched: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, what: Capture | ev.PortLost | ev.PortBack | ev.Notice) -> None:
        self.frames.append(what)
        self.news.ring()


@dataclass(slots=True)
class _Mouth:
    """The loudspeaker's side. stop: it is to be told to stop. playing: something was sent since it was.

    stopped: replies that were flushed, whose exact count is awaited, and until when. last: samples last told of each
    that plays.
    """

    heard: Heard
    stop: bool = False
    playing: bool = False
    away: bool = False
    stopped: dict[int, tuple[int, float]] = field(default_factory=dict[int, tuple[int, float]])
    news: asyncio.Event = field(default_factory=asyncio.Event)


class PeerPort(LiveOutlet):
    """A `peers.Peer`. All methods belong to the event loop's thread."""

    def __init__(
        self,
        resampler: Callable[[int, int], Resampler],
        *,
        mic_hz: int = RATE,
        out_hz: int = 24_000,
        lead_s: float = LEAD_S,
        reports: bool = False,
        turnstile: Turnstile | None = None,
    ) -> None:
        """mic_hz, out_hz: rates of what the peer gives and takes. lead_s: seconds sent ahead of what is heard.
        reports: it tells how far it has played; without, the clock says so. turnstile: of all who share the loop."""
        super().__init__(Playback(out_hz))
        self.reports = reports
        self._lead = round(lead_s * out_hz)
        self._ear = _Ear(_Bell(turnstile or Turnstile()))
        self._mouth = _Mouth(Heard(out_hz, reports=reports))
        self._rechunker = Rechunker(FRAME)
        self._resampler = None if mic_hz == RATE else resampler(mic_hz, RATE)
        self._closed = False
        self._now = asyncio.get_running_loop().time

    # --- the session's side ---

    @property
    def xruns(self) -> tuple[int, int]:
        """(0, times that the peer had nothing to play in the middle of a reply, as it says)."""
        return 0, self._ear.underruns

    async def open(self) -> None:
        """Nothing to take."""

    async def frames(self) -> AsyncGenerator[Capture | Progress | ev.PortLost | ev.PortBack | ev.Notice, None]:
        """What the microphone heard, as it comes; and what becomes of the connection and the replies."""
        ear = self._ear
        while not self._closed:
            ear.news.clear()  # before all else: what happens while a frame is heard is not to be missed
            if not ear.frames:
                for progress in self._news():
                    yield progress
            while ear.frames:
                what = ear.frames.popleft()
                ear.fetched.set()
                if isinstance(what, Capture):
                    yield Capture(what.mic, None, self._news(), doubt=what.doubt)
                else:
                    yield what
            # One timer for many frames: one for each wait was a tenth of what a quiet session costs.
            if ear.look is None and (self._unheard or self._mouth.stopped or ear.until is not None):
                ear.look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)
            await ear.news.wait()

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Queues samples of a reply at out_rate; waits above the high-water mark (2 s)."""
        self._mouth.news.set()
        await super().write(reply, pcm)

    def hold(self, reply: int) -> int:
        """Stops now and keeps the rest, also what was sent and not heard. Returns what was probably heard."""
        unsure = self._withdraw()
        return min(self._playback.counts(reply)[0], super().hold(reply) + unsure)

    def resume(self, reply: int) -> None:
        """Goes on from the sample at which `hold` stopped, or where the peer says that it did."""
        super().resume(reply)
        self._mouth.news.set()

    def flush(self, reply: int) -> int:
        """Stops now and drops the rest. The exact count follows once the peer has told it, or REPORT_S has passed."""
        unsure = self._withdraw()
        queued, _ = self._playback.counts(reply)
        n = min(queued, super().flush(reply) + unsure)
        told = self.reports and not self._mouth.away
        self._mouth.stopped[reply] = n, self._now() + (REPORT_S if told else 0.0)
        self._ear.news.ring()
        return n

    async def close(self) -> None:
        """Ends `frames` and `outgoing`. Twice is legal."""
        self._closed = True
        self._playback.close()
        if self._ear.look:
            self._ear.look.cancel()
        self._ear.news.ring()
        self._ear.fetched.set()
        self._mouth.news.set()

    # --- the transport's side ---

    @property
    def n_heard(self) -> int:
        """Samples of the microphone that came so far, at the peer's rate: from here on it is to send."""
        return self._ear.n

    def queued(self, reply: int) -> int:
        """Samples of a reply that were written so far."""
        return self._playback.counts(reply)[0]

    def hear(self, pcm: Pcm) -> None:
        """What the microphone heard, behind what came before; int16 (n,) at mic_hz. Not while it is `full`."""
        ear = self._ear
        ear.n += pcm.size
        for frame in self._rechunker.feed(self._resampler.process(pcm) if self._resampler else pcm):
            ear.put(Capture(frame, doubt=ear.doubt))
        if ear.until is not None and ear.n >= ear.until:
            self._arrive(now=True)

    @property
    def full(self) -> bool:
        """Whether MOST_S are unread."""
        return len(self._ear.frames) > _MOST_FRAMES and not self._closed

    async def push(self, pcm: Pcm) -> None:
        """As `hear`, and waits as long as it is `full` then."""
        self.hear(pcm)
        while self.full:
            self._ear.fetched.clear()
            await self._ear.fetched.wait()

    def residue(self, doubt: float) -> None:
        """How likely what is pushed from now on is our own voice, which the peer's echo canceller left, 0..1."""
        self._ear.doubt = doubt

    def report(self, reply: int, n: int, underruns: int = 0) -> None:
        """The loudspeaker has played n samples of a reply; underruns: how often it had nothing to play so far."""
        mouth = self._mouth
        self._ear.underruns = max(self._ear.underruns, underruns)
        if reply in mouth.stopped:
            queued, _ = self._playback.counts(reply)
            mouth.stopped[reply] = min(n, queued), 0.0
        elif (at := self._playback.where(reply, n)) is not None:
            mouth.heard.reported(at, self._now())
        else:
            self._playback.skip(reply, n)
        self._ear.news.ring()

    def away(self, reason: str) -> None:
        """The connection is lost: what is said meanwhile comes when it is back. reason: a sentence for the user."""
        if not self._mouth.away:
            self._mouth.away, self._ear.until = True, None
            self._ear.put(ev.PortLost(reason, late=True))

    def back(self, name: str, until: int = 0, *, patience_s: float = 2.0) -> None:
        """There is a connection again. until: samples that the microphone has heard by now; as far as they have not
        come yet they are waited for, at most patience_s."""
        if self._mouth.away:
            self._ear.until, self._ear.deadline, self._ear.name = until, self._now() + patience_s, name
            self._ear.news.ring()
            self._arrive(now=self._ear.n >= until)

    async def outgoing(self) -> AsyncGenerator[Sound | Stop, None]:
        """What is to be sent, when it is to be sent: at most lead_s ahead of what is heard. One transport at a time."""
        mouth, playback = self._mouth, self._playback
        block = round(_BLOCK_S * playback.rate)
        while not self._closed:
            mouth.news.clear()
            if mouth.stop:
                mouth.stop = False
                yield Stop()
            now = self._now()
            room = self._lead - (mouth.heard.end - mouth.heard.at(now))
            wanted = min(block, playback.waiting)
            piece = None if mouth.away or room < wanted else playback.take(wanted)
            if piece is not None:
                mouth.playing = True
                mouth.heard.sent(playback.pulled, now)
                self._ear.news.ring()
                yield Sound(*piece)
                continue
            if self._closed:
                break
            busy = self._unheard and wanted and not mouth.away
            patience_s = min(max((wanted - room) / playback.rate, _BLOCK_S / 4), _BLOCK_S) if busy else None
            try:
                async with asyncio.timeout(patience_s):
                    await mouth.news.wait()
            except TimeoutError:
                pass

    # --- between ---

    @property
    def _unheard(self) -> bool:
        return not self._playback.told and self._mouth.heard.surely(self._now()) < self._mouth.heard.end

    def _look_again(self) -> None:
        self._ear.look = None
        self._arrive()
        self._ear.news.ring()

    def _withdraw(self) -> int:
        """What was sent and is not surely heard waits again, and the peer is to drop it. Returns how many samples of it
        were probably heard."""
        mouth, now = self._mouth, self._now()
        if not mouth.playing:
            return 0
        surely, probably = mouth.heard.surely(now), mouth.heard.at(now)
        self._playback.rewind(surely)
        mouth.heard.stopped(now)
        mouth.stop, mouth.playing = True, False
        mouth.news.set()
        return probably - surely

    def _news(self) -> tuple[Progress, ...]:
        mouth = self._mouth
        if self._playback.told and not mouth.stopped:
            return ()  # as for nearly every frame
        now = self._now()
        found = self._playback.news(mouth.heard.surely(now))
        if not mouth.stopped:
            return found
        told = [p for p in found if not (p.final and p.reply in mouth.stopped)]
        for reply, (n, deadline) in list(mouth.stopped.items()):
            if now >= deadline:
                del mouth.stopped[reply]
                told.append(Progress(reply, n, final=True))
        return tuple(told)

    def _arrive(self, *, now: bool = False) -> None:
        """It counts as back, once what was said meanwhile has come, or is not waited for any more."""
        ear = self._ear
        if ear.until is not None and (now or self._now() >= ear.deadline):
            ear.until, self._mouth.away = None, False
            ear.put(ev.PortBack(ear.name))
            self._mouth.news.set()
