"""One conversation over `/ws`: a session that outlives its connections."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

from voiceloop.build import Assembled
from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.errors import ProtocolError, VoiceloopError
from voiceloop.peers import Peer, Sound
from voiceloop.ports import AudioPort
from voiceloop.server.wires import Closing, Wire
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Ready
from voiceloop.session.session import Session
from voiceloop.wire import bridge

ACK_S = 0.5
"""From one `ack` of the microphone's samples to the next."""

SLOW_S = 10.0
"""A peer that takes no frame for so long does not read."""

STILL_S = 1.5
"""A page that sends nothing for so long, neither silence nor a report, is cut off, whatever its connection says."""

_WAITING = 256
"""Messages that wait for a connection; the oldest are forgotten."""

_AGAIN_S = 10.0
"""What was said so long before a connection was lost is said again on the next: it may never have arrived."""

_MISTAKES = 10
"""So many messages that are none end a connection."""

_BURST_S, _FAST = 40.0, 2.0
"""Sound that may come at once, after an outage, and how much faster than real time it may come else."""


@dataclass(slots=True)
class _Post:
    """Messages on their way to the peer. kept: those of late that count, and when they were written."""

    waiting: deque[bridge.ToPeer] = field(default_factory=lambda: deque[bridge.ToPeer](maxlen=_WAITING))
    kept: deque[tuple[float, bridge.ToPeer]] = field(
        default_factory=lambda: deque[tuple[float, bridge.ToPeer]](maxlen=_WAITING)
    )
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: bridge.ToPeer, now: float) -> None:
        if isinstance(message, bridge.Transcript | bridge.AudioEnd):
            self.kept.append((now, message))
        self.waiting.append(message)
        self.news.set()

    def repeat(self, since: float) -> None:
        """Says again what was written since then and has been sent."""
        again = [message for at, message in self.kept if at >= since and message not in self.waiting]
        self.waiting.extendleft(reversed(again))
        self.news.set()


@dataclass(slots=True)
class _Contact:
    """The connection that there is. why: it is to end, and the peer is told so. done: it has ended."""

    why: asyncio.Future[Closing]
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, why: Closing) -> None:
        if not self.why.done():
            self.why.set_result(why)


@dataclass(slots=True)
class _Since:
    """Times: when the last connection was lost, when somebody last said something, when it began, when a frame
    last came (None: no sound yet on this connection), and the sound so far in seconds. still: none comes any more."""

    lost: float
    words: float
    began: float
    frame: float | None = None
    still: bool = False
    sound_s: float = 0.0


class Conversation:
    """`live` runs the session, `attend` serves one connection after the other. All belong to the event loop."""

    def __init__(
        self,
        hello: bridge.Start,
        port: Peer,
        assemble: Callable[[AudioPort], AbstractAsyncContextManager[Assembled]],
        *,
        keep_s: float,
    ) -> None:
        """port: the peer, as hello says that it is. assemble: the parts of a session around a port. keep_s: how long it
        waits for another connection."""
        self.token = secrets.token_urlsafe(24)
        self.keep_s = keep_s
        self._hello = hello
        self._assemble = assemble
        self.port = port
        self._session: Session | None = None
        self._post = _Post()
        self._contact: _Contact | None = None
        self._now = asyncio.get_running_loop().time
        now = self._now()
        self._since = _Since(now, now, now)
        self._over: Closing | None = None
        self._caption: bridge.Caption | None = None

    # --- its life ---

    async def live(self) -> None:
        """The session, to its end. Never raises but when cancelled: the peer is told."""
        try:
            async with self._assemble(self.port) as assembled:
                self._session = Session(assembled.parts, [self._see])
                for notice in assembled.notices:
                    self._put(bridge.Notice("session", notice))
                if not self._over:
                    await self._session.run()
                raise self._over or Closing(bridge.NORMAL, "The session has ended.")  # told to who assembled it, too
        except Closing as why:
            self._end(why)
        except VoiceloopError as exc:
            self._put(bridge.Error("session", str(exc), fatal=True))
            self._end(Closing(1011, "The session has failed."))
        finally:
            self._end(Closing(bridge.GOING, "The server stops."))

    def end(self, code: int, reason: str) -> None:
        """Ends the session soon, for that reason."""
        self._over = self._over or Closing(code, reason)
        if self._session:
            self._session.close()

    def check(self, idle_s: float, longest_s: float) -> None:
        """Ends it when nobody came back, nobody said anything for idle_s, or it took longest_s; 0: never."""
        now, since = self._now(), self._since
        if self._contact is None and now - since.lost >= self.keep_s:
            self.end(bridge.LOST, "Nobody came back.")
        elif idle_s and now - since.words >= idle_s:
            self.end(bridge.IDLE, f"Nobody said anything for {idle_s:g} s.")
        elif longest_s and now - since.began >= longest_s:
            self.end(bridge.OVER, f"A session takes at most {longest_s:g} s.")

    def _end(self, why: Closing) -> None:
        self._over = self._over or why
        if self._contact:
            self._contact.end(self._over)

    # --- its connections ---

    async def attend(self, wire: Wire, resume: bridge.Resume | None = None) -> None:
        """Serves a connection until it is gone; it is closed then. resume: what it began with, if it goes on."""
        contact = _Contact(asyncio.get_running_loop().create_future())
        if before := self._contact:
            before.end(Closing(bridge.REPLACED, "A newer connection took over."))
            await before.done.wait()
        self._contact = contact
        why: Closing | None = self._over
        try:
            if why is None:
                why = await self._serve(wire, contact, resume)
        finally:
            self._contact = None
            self._since.lost, self._since.frame, self._since.still = self._now(), None, False
            if self._over is None:
                self.port.away("The connection was lost.")
            contact.done.set()
        if why is not None:
            await self._farewell(wire, why)

    async def _serve(self, wire: Wire, contact: _Contact, resume: bridge.Resume | None) -> Closing | None:
        """Why it is to be closed; None if it is gone by itself."""
        if resume is not None:
            for reply, n in resume.played.items():
                if reply.lstrip("-").isdecimal():
                    self.port.report(int(reply), n)
            await wire.send(bridge.encode(bridge.Resumed(self.port.n_heard)))
            self.port.back(self._hello.name or "the peer", resume.mic)
            self._post.repeat(self._since.lost - _AGAIN_S)
        lock, why = asyncio.Lock(), None
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._read(wire), self._say(wire, lock), self._sound(wire, lock), self._tell()):
                    group.create_task(work)
                raise await contact.why
        except* Closing as several:
            why = next(exc for exc in several.exceptions if isinstance(exc, Closing))
        except* TimeoutError:
            why = Closing(bridge.SLOW, "The peer does not read.")
        except* ConnectionError:
            pass
        return why

    async def _read(self, wire: Wire) -> None:
        mistakes = 0
        wire.shortcut(self._hear_now)
        while (frame := await wire.receive()) is not None:
            if len(frame) > bridge.LONGEST:
                raise Closing(bridge.TOO_BIG, f"A frame has at most {bridge.LONGEST} bytes.")
            self._moves()
            try:
                if isinstance(frame, bytes):
                    await self._hear(frame)
                elif (message := bridge.decode(frame)) is not None:
                    self._take(message)
            except ProtocolError as exc:
                mistakes += 1
                self._put(bridge.Error("message", str(exc)))
                if mistakes >= _MISTAKES:
                    raise Closing(bridge.UNREADABLE, "Too many messages that are none.") from None
        raise ConnectionError

    def _moves(self) -> None:
        """Something came: if the line stood still, it does not any more."""
        since = self._since
        if since.frame is not None:
            since.frame = self._now()
        if since.still:
            since.still = False
            self.port.back(self._hello.name or "the peer")

    def _hear_now(self, frame: bytes) -> bool:
        """A frame as nearly all are is heard at once. False: it is none of these, and is to be received."""
        if len(frame) > bridge.LONGEST or len(frame) % 2 or self.port.full or self._early_s(len(frame) // 2) > 0:
            return False
        self._moves()
        self._count(pcm := bridge.sound(frame))
        self.port.hear(pcm)
        return True

    async def _hear(self, frame: bytes) -> None:
        pcm = bridge.sound(frame)
        early_s = self._early_s(pcm.size)
        self._count(pcm)
        if early_s > 0:
            await asyncio.sleep(early_s / _FAST)  # who sends too fast is read slower
        await self.port.push(pcm)

    def _early_s(self, n: int) -> float:
        """By how much n samples more come too early."""
        since = self._since
        sound_s = since.sound_s + n / self._hello.sample_rate
        return sound_s - _BURST_S - (self._now() - since.began) * _FAST

    def _count(self, pcm: Pcm) -> None:
        self._since.frame = self._now()
        self._since.sound_s += pcm.size / self._hello.sample_rate

    def _take(self, message: bridge.FromPeer) -> None:
        session = self._session
        if session is None:
            return
        match message:
            case bridge.Played():
                self.port.report(message.reply, message.samples, message.underruns)
            case bridge.Say(text=text):
                self._since.words = self._now()
                session.feed(ev.Respond(text))
            case bridge.Interrupt():
                session.feed(ev.Interrupt())
            case bridge.Mute(on=on):
                session.mute(on)
            case bridge.PushToTalk(down=down):
                session.push_to_talk(down)
            case bridge.Commit():
                session.feed(ev.Commit())
            case bridge.Volume(volume=volume):
                session.volume = volume
            case bridge.Echo():
                self._put(bridge.Notice("audio", "The microphone seems to hear the loudspeaker: use headphones."))
            case bridge.Residue(doubt=doubt):
                self.port.residue(doubt)
            case bridge.End():
                self.end(bridge.NORMAL, "The session has ended.")
            case _:
                raise ProtocolError("A connection begins with start or resume, and only begins with it.")

    async def _say(self, wire: Wire, lock: asyncio.Lock) -> None:
        post = self._post
        while True:
            while post.waiting:
                message = post.waiting[0]
                async with lock, asyncio.timeout(SLOW_S):
                    await wire.send(bridge.encode(message))
                if post.waiting and post.waiting[0] is message:
                    post.waiting.popleft()
            post.news.clear()
            await post.news.wait()

    async def _sound(self, wire: Wire, lock: asyncio.Lock) -> None:
        at: tuple[int, int] | None = None
        async with aclosing(self.port.outgoing()) as outgoing:
            async for what in outgoing:
                async with lock, asyncio.timeout(SLOW_S):
                    if not isinstance(what, Sound):
                        at = None
                        await wire.send(bridge.encode(bridge.Clear()))
                        continue
                    if at != (what.reply, what.start):
                        await wire.send(bridge.encode(bridge.Audio(what.reply, what.start)))
                    await wire.send(bridge.frame(what.pcm))
                at = what.reply, what.start + what.pcm.size

    async def _tell(self) -> None:
        """What is only worth saying now and then."""
        heard = -1
        while True:
            await asyncio.sleep(ACK_S)
            since = self._since
            quiet_s = 0.0 if since.frame is None else self._now() - since.frame
            if self._hello.reports and quiet_s >= STILL_S and not since.still:
                since.still = True
                self.port.away("The connection stands still.")
            if self.port.n_heard != heard:
                heard = self.port.n_heard
                self._put(bridge.Ack(heard))
            if self._caption:
                self._write(self._caption.reply)

    async def _farewell(self, wire: Wire, why: Closing) -> None:
        try:
            async with asyncio.timeout(1.0):
                while self._over is not None and self._post.waiting:
                    await wire.send(bridge.encode(self._post.waiting.popleft()))
        except (ConnectionError, TimeoutError):
            pass
        await wire.close(why.code, why.reason)

    # --- what the session tells ---

    def _see(self, event: object) -> None:
        match event:
            case Ready(session=session):
                hello = self._hello
                self._put(bridge.Ready(session, self.token, hello.sample_rate, hello.agent_sample_rate, self.keep_s))
            case ev.Heard(turn=turn, text=text):
                self._since.words = self._now()
                self._put(bridge.Transcript("user", text, final=True, turn=turn))
            case ev.ReplySaid(reply=reply, text=text):
                self._put(bridge.Transcript("assistant", text, final=False, reply=reply))
                self._write(reply)
            case ev.ReplyEnded(reply=reply, ending=ending, heard=heard):
                self._since.words = self._now()
                self._put(bridge.AudioEnd(reply, self.port.queued(reply), ending, heard))
            case ev.Amend(reply=reply, heard=heard):
                self._put(bridge.AudioEnd(reply, self.port.queued(reply), "interrupted", heard))
            case ev.StateChanged(state=state):
                self._put(bridge.StateChanged(state))
            case ev.Muted(on=on):
                self._put(bridge.Muted(on))
            case ev.Notice(stage=stage, text=text):
                self._put(bridge.Notice(stage, text))
            case Latency():
                steps = ("words", "text", "ready", "decided", "released", "heard")
                self._put(bridge.Latency(event.turn, {step: getattr(event, f"{step}_ms") for step in steps}))
            case _:
                pass

    def _write(self, reply: int) -> None:
        """The caption of a reply, if more is known of it than was said."""
        words = self._session.words(reply) if self._session else ()
        caption = bridge.Caption(reply, list(words))
        if words and caption != self._caption:
            self._put(caption)
        self._caption = caption

    def _put(self, message: bridge.ToPeer) -> None:
        self._post.put(message, self._now())
