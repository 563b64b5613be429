"""One client of `/v1/realtime`: a session of ours behind the protocol, for as long as the connection lasts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from voiceloop.build import Assembled
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence, split
from voiceloop.errors import VoiceloopError
from voiceloop.peers import Peer, Sound
from voiceloop.ports import ERRAND, AudioPort, Errand, Resampler, Transcriber
from voiceloop.server.conversation import SLOW_S
from voiceloop.server.realtime_aside import Aside
from voiceloop.server.realtime_engines import Briefed, Voiced, listening
from voiceloop.server.wires import Closing, Wire
from voiceloop.session.observe import Ready, Whole
from voiceloop.session.session import Parts, Session
from voiceloop.wire import bridge
from voiceloop.wire.realtime import PCM_RATE
from voiceloop.wire.realtime_conversation import Conversation, Hear, Terms
from voiceloop.wire.realtime_outbox import Recite, Understand
from voiceloop.wire.realtime_session import RealtimeSession

_LOOK_S = 1.0
_WAITING = 16
"""Messages whose words wait to be found."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all clients share. assemble: the parts of a session around a port. port: a client's, for sound of that rate.

    voices: what they are called at the engine. fast: a voice over a reply stops it at once. stt_s: deadline for the
    words of a message.
    """

    assemble: Callable[[AudioPort], AbstractAsyncContextManager[Assembled]]
    port: Callable[[int], Peer]
    resampler: Callable[[int, int], Resampler]
    voices: Mapping[str, str]
    fast: bool = False
    stt_s: float = 30.0


class Talk:
    """Serves one connection. Belongs to the event loop."""

    def __init__(self, setting: Setting, session: RealtimeSession, *, expires_at: int, beta: bool) -> None:
        self._setting = setting
        self._first = session
        self._terms = (expires_at, beta)
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._port = setting.port(PCM_RATE)
        self._unclear: asyncio.Queue[Understand] = asyncio.Queue(_WAITING)
        self._aside = Aside(setting.resampler, setting.voices)
        self._up: tuple[int, Resampler] | None = None
        self._words_at = 0.0

    async def run(self, wire: Wire, *, idle_s: float = 0.0, longest_s: float = 0.0) -> None:
        """Until the client is gone, or there is a reason to close; it is closed then.

        idle_s: without a word. longest_s: in all. 0: any.
        """
        why: Closing | None = None
        try:
            async with self._setting.assemble(self._port) as assembled, asyncio.TaskGroup() as group:
                expires_at, beta = self._terms
                base = assembled.parts.policy
                terms = Terms(f"sess_{secrets.token_hex(12)}", expires_at, base, fast=self._setting.fast, beta=beta)
                talk = Conversation(terms, self._first, lambda: secrets.token_hex(10))
                parts = _fitted(assembled.parts, talk, self._setting)
                session = Session(parts, [partial(self._see, talk)])
                ERRAND.set(
                    Errand(session.id, None)
                )  # what goes on beside the turns has its share of the engines as well
                for work in (
                    self._live(session),
                    self._read(wire, talk, session),
                    self._write(wire, talk, session),
                    self._sound(talk, session),
                    self._understand(talk, assembled.parts.transcriber),
                    self._aside.run(talk, assembled.parts.synthesizer, parts.deadlines.tts_s, self._news),
                    self._watch(idle_s, longest_s),
                ):
                    group.create_task(work)
        except* Closing as several:
            why = next(exc for exc in several.exceptions if isinstance(exc, Closing))
        except* TimeoutError:
            why = Closing(bridge.SLOW, "The client does not read.")
        except* ConnectionError:
            pass
        except* VoiceloopError:
            why = Closing(1011, "The session has failed.")
        if why is not None:
            await wire.close(why.code, why.reason)

    async def _live(self, session: Session) -> None:
        await session.run()
        raise Closing(bridge.NORMAL, "The session has ended.")

    async def _watch(self, idle_s: float, longest_s: float) -> None:
        loop = asyncio.get_running_loop()
        began = self._words_at = loop.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            if idle_s and loop.time() - self._words_at >= idle_s:
                raise Closing(bridge.IDLE, f"Nobody said anything for {idle_s:g} s.")
            if longest_s and loop.time() - began >= longest_s:
                raise Closing(bridge.OVER, f"A session takes at most {longest_s:g} s.")

    def _see(self, talk: Conversation, event: object) -> None:
        if isinstance(event, Ready):
            self._ready.set()
        elif isinstance(event, ev.Heard | ev.ReplyEnded):
            self._words_at = asyncio.get_running_loop().time()
        if isinstance(event, Whole):
            talk.whole(event.reply, event.n)
        elif not isinstance(event, ev.ReplySaid):  # the client reads what it is sent, and that is ahead of the voice
            talk.tell(event)
        self._news.set()

    async def _read(self, wire: Wire, talk: Conversation, session: Session) -> None:
        await self._ready.wait()
        while (message := await wire.receive()) is not None:
            if isinstance(message, bytes):
                talk.refuse("Messages are text, with audio in them as base64.")
            else:
                talk.receive(message)
            await self._carry_out(talk, session)
            self._news.set()
        raise ConnectionError

    async def _carry_out(self, talk: Conversation, session: Session) -> None:
        for order in talk.orders():
            match order:
                case Hear(pcm, rate):
                    await self._port.push(self._at_16k(pcm, rate))
                case Understand():
                    try:
                        self._unclear.put_nowait(order)
                    except asyncio.QueueFull:
                        talk.understood(order.item_id, "", "Too many messages wait for their words.")
                case Recite():
                    self._aside.put(order)
                case ev.Flushed():
                    self._port.report(order.reply, order.n)  # or else its own estimate would come after it
                    session.feed(order)
                case _:
                    session.feed(order)

    def _at_16k(self, pcm: Pcm, rate: int) -> Pcm:
        if self._up is None or self._up[0] != rate:
            self._up = rate, self._setting.resampler(rate, RATE)
        return self._up[1].process(pcm)

    async def _write(self, wire: Wire, talk: Conversation, session: Session) -> None:
        while True:
            self._news.clear()
            if self._ready.is_set():
                await self._carry_out(talk, session)
            for message in talk.take():
                async with asyncio.timeout(SLOW_S):
                    await wire.send(message.decode())
            self._aside.written.set()
            await self._news.wait()

    async def _sound(self, talk: Conversation, session: Session) -> None:
        down: tuple[int, int, Resampler] | None = None
        async with aclosing(self._port.outgoing()) as outgoing:
            async for what in outgoing:
                if not isinstance(what, Sound):
                    continue  # the client stops by itself when it hears that somebody speaks
                pcm, rate, end = what.pcm, talk.rate(what.reply), what.start + what.pcm.size
                for number, (text, start) in enumerate(session.clauses(what.reply)):
                    if start < end:
                        talk.tell(ev.ReplySaid(what.reply, number, text))
                if rate != PCM_RATE:
                    if down is None or down[:2] != (what.reply, rate):
                        down = what.reply, rate, self._setting.resampler(PCM_RATE, rate)
                    pcm = down[2].process(pcm)
                talk.sound(what.reply, pcm, what.pcm.size)
                self._news.set()

    async def _understand(self, talk: Conversation, transcriber: Transcriber) -> None:
        while True:
            order = await self._unclear.get()
            text, trouble = "", ""
            try:
                async with asyncio.timeout(self._setting.stt_s):
                    text = await self._words(order, listening(transcriber, lambda: talk.session))
            except TimeoutError:
                trouble = "Speech recognition took too long."
            except VoiceloopError as exc:
                trouble = str(exc)
            talk.understood(order.item_id, text, trouble)
            self._news.set()

    async def _words(self, order: Understand, transcriber: Transcriber) -> str:
        resampler, pieces = self._setting.resampler(order.rate, RATE), [silence(0)]
        for at in range(0, order.pcm.size, order.rate):
            pieces.append(resampler.process(order.pcm[at : at + order.rate]))
            await asyncio.sleep(0)
        pcm = np.concatenate([*pieces, resampler.flush()])
        longest = transcriber.longest or max(1, pcm.size)
        texts = [(await transcriber.transcribe(piece)).text for piece in split(pcm, longest, longest // 2)]
        return " ".join(text for text in texts if text)


def _turn() -> int | None:
    """Of the work that asks."""
    errand = ERRAND.get()
    return errand.turn if errand else None


def _fitted(parts: Parts, talk: Conversation, setting: Setting) -> Parts:
    return replace(
        parts,
        handler=Briefed(parts.handler, talk),
        synthesizer=Voiced(parts.synthesizer, lambda: talk.output(_turn()), setting.voices),
        transcriber=listening(parts.transcriber, lambda: talk.session),
        policy=talk.policy,
    )
