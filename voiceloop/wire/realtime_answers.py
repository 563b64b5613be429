"""The assistant's half of a Realtime conversation: which response belongs to which turn and reply of our session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.wire.realtime import Refusal
from voiceloop.wire.realtime_items import Item, Items
from voiceloop.wire.realtime_outbox import Outbox, Recite
from voiceloop.wire.realtime_response import Call, Made, Outcome, Response, Wish
from voiceloop.wire.realtime_session import Choice, RealtimeSession, Tool

_MOST_ASIDE = 16
_REMEMBERED = 64
_OUTCOMES: dict[ev.Ending, Outcome] = {
    "completed": "completed",
    "empty": "completed",
    "failed": "failed",
    "interrupted": "cancelled",
    "withdrawn": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a handler is to answer. text: the user's newest words. context: all that was said, those words last.

    instructions: None: as configured. max_tokens: None: no limit.
    """

    text: str
    context: tuple[Item, ...]
    instructions: str | None
    tools: tuple[Tool, ...]
    choice: str
    max_tokens: int | None
    speaks: bool


@dataclass(slots=True)
class _Voice:
    """A reply of our session, and the response that it is. It may be heard for long after that is over.

    sent: its samples that the client has. whole: how many they will be, once that is known. said: its clauses so far.
    ended: nothing of it is heard any more.
    """

    response: Response
    sent: int = 0
    whole: int | None = None
    said: int = 0
    ended: bool = False


class Answers:
    """Turns that are to be answered, and the responses they get.

    A response is over when all of it is sent, and the client plays it from its buffer: what becomes of it then, its
    reply tells. Responses wait in line: in `_due` until no other is under way, in `_unheard` until all words before
    them are known, in `_asked` until our session has given a turn to what it was asked.
    """

    def __init__(self, out: Outbox, items: Items) -> None:
        self._out = out
        self._items = items
        self._due: deque[Response] = deque()
        self._asked: deque[Response] = deque()
        self._newest = 0
        self._unheard: list[Response] = []
        self._turns: dict[int, Response] = {}
        self._replies: dict[int, _Voice] = {}
        self._under_way: list[Response] = []
        self._made: dict[int, Made] = {}
        self._endings: dict[str, Callable[[], None]] = {}
        self.trouble = ""
        """Why the next reply fails, if it does."""

    # --- what is under way ---

    @property
    def active(self) -> Response | None:
        """The response that is a part of the conversation and under way."""
        return next((r for r in self._live() if not r.aside), None)

    @property
    def sending(self) -> bool:
        """Whether the client gets audio of one, and will get more."""
        return any(r.sent for r in self._live())

    @property
    def playing(self) -> int | None:
        """The reply that the client may be playing."""
        return next((n for n, voice in self._replies.items() if voice.sent and not voice.ended), None)

    def of(self, turn: int) -> Response | None:
        """The response to a turn, if it is not over."""
        return self._turns.get(turn)

    def _live(self) -> list[Response]:
        self._under_way = [r for r in self._under_way if r.stage == "created"]
        return self._under_way

    def _create(self, response: Response) -> None:
        self._under_way.append(response)
        response.create()

    # --- asking ---

    def owe(self, session: RealtimeSession, turn: int) -> None:
        """A turn that was heard is to be answered."""
        response = Response(self._out, self._items, session, Wish())
        if response.speaks:
            self.dropped(turn)
            self._turns[turn] = response
        self._due.append(response)

    def settle(self) -> None:
        """The next response is created, if none is under way."""
        while self._due and self.active is None:
            response = self._due.popleft()
            if response.stage != "due":
                continue
            self._create(response)
            if ending := self._endings.pop(response.id, None):
                ending()
            elif not response.speaks:
                self._ask(response)

    def create(self, session: RealtimeSession, wish: Wish, context: tuple[Item, ...] | None) -> None:
        """The client wants one now. Raises Refusal."""
        response = Response(self._out, self._items, session, wish, context)
        if not response.aside and (other := self.active):
            raise Refusal(
                f"The response {other.id} is under way: wait for its end, or cancel it.",
                code="conversation_already_has_active_response",
            )
        if response.aside and len(self._live()) >= _MOST_ASIDE:
            raise Refusal("Too many responses are under way.", code="too_many_responses")
        self._create(response)
        if _words_known(self._items if context is None else context):
            self._ask(response)
        else:
            self._unheard.append(response)

    def understood(self) -> None:
        """More words are known: responses that waited for them go on."""
        waiting, self._unheard = self._unheard, []
        for response in waiting:
            if response.stage == "over":
                continue
            if _words_known(self._items if response.context is None else response.context):
                self._ask(response)
            else:
                self._unheard.append(response)

    def _ask(self, response: Response) -> None:
        text = _newest_words(self._items if response.context is None else response.context).strip() or "…"
        self._asked.append(response)
        aside = response.aside or not response.speaks
        if not aside and (playing := self.playing) is not None and self._replies[playing].response.stage == "over":
            # The client has all of it, and plays what comes now behind it: to wait until then would be to lose time.
            self._out.order(ev.Played(playing, self._replies[playing].sent))
        self._out.order(ev.Respond(text, out_of_band=aside))

    # --- what our session made of it ---

    def given(self, turn: int) -> None:
        """A turn that was not spoken, as told by whatever news of it: turns are given in the order of asking."""
        if turn > self._newest:
            self._newest = turn
            if self._asked:
                self._turns[turn] = self._asked.popleft()

    def started(self, news: ev.ReplyStarted) -> None:
        """A reply is about to be heard."""
        if response := self._turns.get(-1 if news.turn is None else news.turn):
            if response.stage == "due":
                for other in self._live():
                    if not other.aside:  # it is not spoken: nobody waits for it any more
                        other.end("cancelled", Made())
                self._create(response)
            if response.stage == "created":
                response.begin()
            self._begun(news.reply, response)

    def announced(self, session: RealtimeSession, reply: int) -> None:
        """A reply is about to be heard that nobody asked for. While another is made, it is no part of the talk."""
        wish = Wish(conversation="none") if self.active else Wish()
        response = Response(self._out, self._items, session, wish)
        self._begun(reply, response)
        self._create(response)
        response.begin()

    def _begun(self, reply: int, response: Response) -> None:
        self._replies[reply] = _Voice(response)
        _forget(self._replies)

    def said(self, news: ev.ReplySaid) -> None:
        """A clause of which the sound is sent now."""
        voice = self._replies.get(news.reply)
        if voice and voice.response.stage == "created" and news.clause >= voice.said:
            voice.response.say(f" {news.text}" if voice.said else news.text)
            voice.said = news.clause + 1

    def sound(self, reply: int, pcm: Pcm, n: int) -> bool:
        """Audio of it, and how many samples of ours it stands for. False if nobody wants it any more."""
        voice = self._replies.get(reply)
        if voice is None or voice.response.stage != "created":
            return False
        if pcm.size:
            voice.response.sound(pcm)
        voice.sent += n
        self._sent(voice)
        return True

    def rate(self, reply: int) -> int | None:
        """Of the audio of a reply, Hz."""
        return voice.response.rate if (voice := self._replies.get(reply)) else None

    def whole(self, reply: int, n: int) -> None:
        """There is nothing of it left to be made: that many samples of ours are all."""
        if voice := self._replies.get(reply):
            voice.whole = n
            self._sent(voice)

    def _sent(self, voice: _Voice) -> None:
        response = voice.response
        if response.stage == "created" and voice.whole is not None and voice.sent >= voice.whole:
            turn = next((turn for turn, r in self._turns.items() if r is response), 0)
            response.end("completed", self._made.pop(turn, Made()))

    def ended(self, news: ev.ReplyEnded) -> None:
        """A reply is over, and so is its response."""
        voice = self._replies.get(news.reply)
        response = voice.response if voice else None
        if news.turn is not None:
            response = self._turns.pop(news.turn, response)
        made = self._made.pop(news.turn or 0, Made())
        trouble, self.trouble = self.trouble, ""
        if voice:
            voice.ended = True
            if voice.response.stage == "over" and news.ending == "interrupted":
                voice.response.cut(news.heard)
        if response is None or response.stage == "over":
            return
        if response.beside and made.text and news.ending == "completed":
            self._endings[response.id] = partial(response.end, "completed", made)
            self._out.order(Recite(response.id, made.text, response.session.audio.output))
            return
        heard = news.heard if response.speaks else None
        outcome, error = _OUTCOMES[news.ending], trouble or "The handler failed."
        if response.stage == "created":
            response.end(outcome, made, heard=heard, error=error)
        elif outcome == "cancelled":
            response.stage = "over"  # nobody knows of it
        else:
            self._endings[response.id] = partial(response.end, outcome, made, heard=heard, error=error)
            self.settle()

    def dropped(self, turn: int) -> None:
        """A turn gets no reply."""
        if (response := self._turns.pop(turn, None)) is None:
            return
        if response.stage == "created":
            response.end("cancelled", Made())
        response.stage = "over"

    def amended(self, news: ev.Amend) -> None:
        """This is what was really heard of a reply."""
        if voice := self._replies.get(news.reply):
            voice.response.cut(news.heard)

    # --- what is spoken beside the talk ---

    def recites(self, id: str, pcm: Pcm, text: str) -> bool:
        """More audio of a response, and the words that begin with it. False if nobody wants it any more."""
        response = self._aside(id)
        if response is None:
            return False
        if text:
            response.say(f" {text}" if response.item else text)
        if pcm.size:
            response.sound(pcm)
        return True

    def recited(self, id: str, trouble: str) -> None:
        """That was all of it. trouble: why it is not more."""
        ending = self._endings.pop(id, None)
        if (response := self._aside(id)) and ending:
            response.end("failed", Made(), error=trouble) if trouble else ending()

    def _aside(self, id: str) -> Response | None:
        return next((r for r in self._live() if r.id == id and r.beside), None)

    # --- what the client wants of them ---

    def cancel(self, id: str | None) -> None:
        """Stops one, also if it is over and still played. Raises Refusal if there is none."""
        found = self.active if id is None else next((r for r in self._live() if r.id == id), None)
        if found is None:
            playing = self.playing
            if playing is None or id not in (None, self._replies[playing].response.id):
                raise Refusal("There is no such response to be cancelled.", code="response_cancel_not_active")
            self._out.order(ev.Interrupt(playing))
            return
        found.reason = "client_cancelled"
        if found.speaks and not found.aside and found not in self._unheard:
            self._out.order(ev.Interrupt())  # its end follows as news
        else:
            found.end("cancelled", Made())

    def truncate(self, item: Item, ms: float, rate: int) -> int:
        """Of an item, only so much was heard; what is left of it is not to be. rate: of our samples, Hz. Returns the
        milliseconds, at most what was sent."""
        found = next(((n, voice) for n, voice in self._replies.items() if voice.response.item is item), None)
        if found is None:
            return 0
        reply, voice = found
        at = round(min(ms, voice.response.sent_ms))
        if not voice.ended:
            voice.response.reason = "client_cancelled"
            self._out.order(ev.Interrupt(reply))
        self._out.order(ev.Flushed(reply, at * rate // 1000, exact=True))
        item.seconds = at / 1000
        return at

    # --- the handler ---

    def asked(self, turn: int) -> None:
        """A handler is asked about a turn; what it gave before does not count."""
        self._made[turn] = Made()
        _forget(self._made)

    def wrote(self, turn: int, text: str) -> bool:
        """Text of a reply that has not the floor. False if nobody wants it any more."""
        response = self._turns.get(turn)
        if response is None or (response.speaks and not response.aside):
            return True
        if response.aside and response.speaks:
            self._made.setdefault(turn, Made()).text += text
        elif response.stage == "created" and text:
            response.say(text)
        return response.stage == "created"

    def called(self, turn: int, call: Call) -> None:
        """A function is to be run by the client."""
        self._made.setdefault(turn, Made()).calls.append(call)

    def limited(self, turn: int) -> None:
        """A reply was stopped because it became too long."""
        self._made.setdefault(turn, Made()).limited = True


def _forget(found: dict[int, Any]) -> None:
    while len(found) > _REMEMBERED:
        del found[next(iter(found))]


def _words_known(context: Iterable[Item]) -> bool:
    return all(item.role != "user" or item.unheard is None for item in context)


def _newest_words(context: Items | tuple[Item, ...]) -> str:
    return next((item.text for item in reversed([*context]) if item.role == "user" and item.text), "")


def ask_of(session: RealtimeSession, wish: Wish, context: tuple[Item, ...], *, text: str | None = None) -> Ask:
    """What a handler is told. text: the newest words, if they are not the last ones of the user in the context."""
    choice = wish.tool_choice or session.tool_choice
    most = wish.max_output_tokens or session.max_output_tokens
    tools = tuple(session.tools if wish.tools is None else wish.tools)
    return Ask(
        text=_newest_words(context) if text is None else text,
        context=context,
        instructions=session.instructions if wish.instructions is None else wish.instructions,
        tools=tools,
        choice=choice.name if isinstance(choice, Choice) else choice,
        max_tokens=None if most == "inf" else most,
        speaks="audio" in (wish.output_modalities or session.output_modalities),
    )
