"""A Realtime conversation: translates between the client's messages and our session. It decides nothing about turns.

`receive` what the client sends, `tell` the session's news, `sound` what is to be heard; then `take` the messages to
send and `orders` to carry out. A handler asks `ask` what to answer, and says by `wrote` and `called` what it gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.core.policy import Policy
from voiceloop.wire import realtime as rt
from voiceloop.wire.realtime import Refusal, converted, decode, encode, rate_of
from voiceloop.wire.realtime_answers import Answers, Ask, ask_of
from voiceloop.wire.realtime_beta import as_beta, as_ga
from voiceloop.wire.realtime_items import Item, Items, Part, parsed
from voiceloop.wire.realtime_outbox import Hear as Hear
from voiceloop.wire.realtime_outbox import Order, Outbox, Understand
from voiceloop.wire.realtime_response import Call as Call
from voiceloop.wire.realtime_response import Wish
from voiceloop.wire.realtime_session import Output, RealtimeSession, policy_of, updated
from voiceloop.wire.realtime_speech import Speech


@dataclass(frozen=True, slots=True)
class Terms:
    """What a conversation begins with.

    id: of the session. expires_at: Unix seconds. base: the configured policy. fast: see `policy_of`. beta: the client
    speaks the older dialect. rate: of `sound` and of what `Flushed` counts, Hz.
    """

    id: str
    expires_at: int
    base: Policy
    fast: bool = False
    beta: bool = False
    rate: int = rt.PCM_RATE


class Conversation:
    """One client's. Nothing of it raises, whatever is received and told; refusals become `error` events."""

    def __init__(self, terms: Terms, session: RealtimeSession, ids: Callable[[], str]) -> None:
        """ids: gives a new one each time."""
        self._terms = terms
        self.session = session
        self._items = Items()
        self._out = Outbox(lambda: next(id for id in iter(ids, "") if not self._items.get(f"item_{id}")))
        self._speech = Speech(self._out, self._items)
        self._answers = Answers(self._out, self._items)
        self._speech.transcribes = session.audio.input.transcription is not None
        self._spoken = False
        self._stt_trouble = ""
        self._out.send("session.created", session=session.to_json(terms.id, terms.expires_at))

    @property
    def policy(self) -> Policy:
        """Of our session, for the session object as it is."""
        return policy_of(self.session, self._terms.base, fast=self._terms.fast)

    def rate(self, reply: int) -> int:
        """What `sound` takes of a reply, Hz."""
        return self._answers.rate(reply) or rate_of(self.session.audio.output.format.type)

    def output(self, turn: int | None) -> Output:
        """How the answer to a turn is to be spoken."""
        response = None if turn is None else self._answers.of(turn)
        return (response.session if response else self.session).audio.output

    def take(self) -> list[bytes]:
        """The messages to send since the last time."""
        self._answers.settle()
        events = self._out.take_events()
        if self._terms.beta:
            return [encode(old) for event in events if (old := as_beta(event))]
        return [encode(event) for event in events]

    def orders(self) -> list[Order]:
        """What to do since the last time."""
        self._answers.settle()
        return self._out.take_orders()

    # --- the client ---

    def receive(self, message: str | bytes) -> None:
        """One text message."""
        self._answers.settle()
        event_id = None
        try:
            event = decode(message)
            event_id = event.event_id
            self._do(as_ga(event) if self._terms.beta else event)
        except Refusal as refusal:
            refusal.event_id = refusal.event_id or event_id
            self._out.refuse(refusal)

    def refuse(self, message: str) -> None:
        """The client sent something that is no text message."""
        self._out.refuse(Refusal(message))

    def _do(self, event: rt.ClientEvent) -> None:
        match event:
            case rt.SessionUpdate():
                self._update(event)
            case rt.Append():
                self._append(event)
            case rt.Commit():
                self._commit()
            case rt.Clear():
                self._speech.clear()
                self._out.send("input_audio_buffer.cleared")
            case rt.CreateItem():
                self._create_item(event)
            case rt.Retrieve():
                item = self._items.find(event.item_id, "retrieve")
                self._out.send("conversation.item.retrieved", item=item.to_json())
            case rt.Delete():
                self._items.find(event.item_id, "delete")
                self._items.remove(event.item_id)
                self._out.send("conversation.item.deleted", item_id=event.item_id)
                self._answers.understood()
            case rt.Truncate():
                self._truncate(event)
            case rt.CreateResponse():
                self._create_response(event)
            case rt.CancelResponse():
                self._answers.cancel(event.response_id)
            case _:
                self._stop_speaking()

    def _update(self, event: rt.SessionUpdate) -> None:
        old, new = self.session, updated(self.session, event.session, spoken=self._spoken)
        if self._speech.buffer.n and new.audio.input.format != old.audio.input.format:
            raise Refusal(
                "There is audio of another format in the buffer: commit or clear it.",
                param="session.audio.input.format",
            )
        if self._answers.sending and new.audio.output.format != old.audio.output.format:
            raise Refusal("The output format cannot change during a response.", param="session.audio.output.format")
        self.session = new
        self._speech.transcribes = new.audio.input.transcription is not None
        if new.turn_detection is None and self._speech.speaking:
            self._speech.clear()  # from now on only what is committed counts
            self._out.order(ev.Commit())
        self._out.order(ev.Configure(self.policy))
        self._out.send("session.updated", session=new.to_json(self._terms.id, self._terms.expires_at))

    def _append(self, event: rt.Append) -> None:
        format = self.session.audio.input.format.type
        pcm, rate = rt.sound(event.audio, format), rate_of(format)
        if self.session.turn_detection is None:
            self._speech.buffer.add(pcm, rate)
        elif pcm.size:
            self._out.order(Hear(pcm, rate))
        self._speech.appended_s += pcm.size / rate

    def _commit(self) -> None:
        if self.session.turn_detection is None:
            self._speech.commit(rate_of(self.session.audio.input.format.type))
        elif self._speech.speaking:
            self._out.order(ev.Commit())
        else:
            raise Refusal("Nobody has spoken since the last turn.", code="input_audio_buffer_commit_empty")

    def _create_item(self, event: rt.CreateItem) -> None:
        item, audio = parsed(event.item, self._out.id("item"))
        format = self.session.audio.input.format.type
        pcm, rate = rt.sound(audio, format), rate_of(format)
        item.seconds = pcm.size / rate
        if item.role == "user" and item.unheard is not None and not pcm.size:
            raise Refusal("The audio is missing.", param="item.content", code="missing_required_parameter")
        before = self._items.add(item, event.previous_item_id)
        self._out.item(item, before, done=False)
        self._out.item(item, before, done=True)
        if pcm.size:
            self._out.order(Understand(item.id, pcm, rate))

    def _truncate(self, event: rt.Truncate) -> None:
        item = self._items.find(event.item_id, "truncate")
        if item.role != "assistant" or not item.spoken:
            raise Refusal("Only spoken messages of the assistant are truncated.", param="item_id")
        if event.content_index != 0:
            raise Refusal("There is no such content.", param="content_index")
        if not event.audio_end_ms >= 0:
            raise Refusal("It cannot end before it begins.", param="audio_end_ms")
        ms = self._answers.truncate(item, event.audio_end_ms, self._terms.rate)
        self._out.send("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=ms)

    def _create_response(self, event: rt.CreateResponse) -> None:
        wish: Wish = converted(event.response or {}, Wish, "response")
        context = None
        if wish.input is not None:
            found = [
                parsed(item, self._out.id("item"), self._items, where=f"response.input[{n}]")
                for n, item in enumerate(wish.input)
            ]
            if any(audio for _, audio in found):
                raise Refusal("Audio is understood in items of the conversation only.", param="response.input")
            context = tuple(item for item, _ in found)
        self._answers.create(self.session, wish, context)

    def _stop_speaking(self) -> None:
        if self._answers.active or self._answers.playing is not None:
            self._answers.cancel(None)

    # --- our session ---

    def understood(self, item_id: str, text: str, trouble: str = "") -> None:
        """The words of an `Understand`. trouble: why there are none."""
        if item := self._items.get(item_id):
            self._speech.understood(item, text, trouble)
        self._answers.understood()

    def sound(self, reply: int, pcm: Pcm, n: int | None = None) -> None:
        """Audio of a reply at its `rate`, behind what came before, and how many samples it was at `Terms.rate`
        (None: as many). The clauses that begin in it are told before, as `ReplySaid`."""
        if self._answers.sound(reply, pcm, pcm.size if n is None else n):
            self._spoken = True

    def whole(self, reply: int, n: int) -> None:
        """All of a reply is synthesized, n samples at `Terms.rate`: its response is over when they are sent."""
        self._answers.whole(reply, n)

    def recites(self, response: str, pcm: Pcm, text: str = "") -> bool:
        """Audio for a `Recite`, and the words that begin with it. False if nobody wants it any more."""
        self._spoken = True
        return self._answers.recites(response, pcm, text)

    def recited(self, response: str, trouble: str = "") -> None:
        """It is all spoken. trouble: why it is not."""
        self._answers.recited(response, trouble)

    def tell(self, news: object) -> None:
        """What our session tells; other things are ignored."""
        match news:
            case ev.SpeechStarted() | ev.SpeechStopped() | ev.SpeechRejected() | ev.Reopened():
                self._heard(news)
            case ev.Heard(turn=turn, text=text):
                self._understood(turn, text)
            case ev.Sure(turn=turn):
                if not self._speech.is_spoken(turn):
                    self._answers.given(turn)
            case ev.TurnDropped(turn=turn, reason=reason):
                if not self._speech.is_spoken(turn):
                    self._answers.given(turn)
                self._speech.dropped(turn, self._stt_trouble if reason == "failed" else "")
                self._answers.dropped(turn)
                self._answers.understood()
            case ev.ReplyStarted() | ev.ReplySaid() | ev.ReplyEnded() | ev.Amend():
                self._replied(news)
            case ev.Trace(what="silence", because="reprompt"):
                self._speech.idle()
            case ev.Notice(stage=stage, text=text):
                self._trouble(stage, text)
            case _:
                pass

    def _heard(self, news: ev.SpeechStarted | ev.SpeechStopped | ev.SpeechRejected | ev.Reopened) -> None:
        detection = self.session.turn_detection
        later = self._answers.playing is not None and detection is not None and detection.interrupt_response
        match news:
            case ev.SpeechStarted():
                self._speech.started(news, self.policy.pre_roll, later=later)
            case ev.SpeechStopped():
                self._speech.stopped(news, later=later)
            case ev.SpeechRejected(turn=turn):
                self._speech.rejected(turn)
            case _:
                self._speech.reopened(news.turn)
                self._answers.dropped(news.turn)
                self._answers.understood()

    def _understood(self, turn: int, text: str) -> None:
        if not self._speech.is_spoken(turn):
            self._answers.given(turn)
            return
        self._speech.heard(turn, text)
        self._answers.understood()
        if self.session.answers and self._speech.wanted(turn):
            self._answers.owe(self.session, turn)

    def _replied(self, news: ev.ReplyStarted | ev.ReplySaid | ev.ReplyEnded | ev.Amend) -> None:
        match news:
            case ev.ReplyStarted(reply=reply, turn=None):
                self._answers.announced(self.session, reply)
            case ev.ReplyStarted():
                self._answers.started(news)
            case ev.ReplySaid():
                self._answers.said(news)
            case ev.ReplyEnded():
                if news.ending == "interrupted":
                    self._speech.reveal()
                self._answers.ended(news)
                if self._answers.playing is None:
                    self._speech.reveal()
                self._speech.settle()
            case _:
                self._answers.amended(news)

    def _trouble(self, stage: str, text: str) -> None:
        if stage == "stt":
            self._stt_trouble = text
        elif stage in ("handler", "tts"):
            self._answers.trouble = text
        else:
            self._out.refuse(Refusal(text, kind="server_error", code=None))

    # --- the handler ---

    def ask(self, turn: int, text: str) -> Ask | None:
        """What to answer in this turn; None: nothing. text: its words, if it was heard."""
        self._answers.asked(turn)
        response = self._answers.of(turn)
        if not self._speech.is_spoken(turn):
            if response is None:
                return None
            context = tuple(self._items) if response.context is None else response.context
            return ask_of(response.session, response.wish, context)
        session = response.session if response else self.session
        if not (session.answers and session.speaks and self._speech.wanted(turn)):
            return None
        own = self._speech.item_of(turn)
        said = Item(own or "", role="user", parts=[Part(text, audio=True)])
        before = tuple(item for item in self._items if item.id != own)
        return ask_of(session, Wish(), (*before, said), text=text)

    def wrote(self, turn: int, text: str) -> bool:
        """More of the text that a handler gives. False if nobody wants it any more."""
        return self._answers.wrote(turn, text)

    def called(self, turn: int, name: str, arguments: str, id: str = "") -> None:
        """A function that a handler wants the client to run. id: the handler's own."""
        self._answers.called(turn, Call(name, arguments, id or self._out.id("call")))

    def limited(self, turn: int) -> None:
        """A handler was stopped, or stopped, at the most tokens that were asked for."""
        self._answers.limited(turn)
