"""The assistant's half of a Realtime conversation: which response belongs to which turn and reply of our session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.wire.realtime import Refusal
from voiceloop.wire.realtime_items import Item, Items
from voiceloop.wire.realtime_outbox import Outbox
from voiceloop.wire.realtime_response import Call, Made, Outcome, Response, Wish
from voiceloop.wire.realtime_session import Choice, RealtimeSession, Tool

_MOST_ASIDE = 16
_REMEMBERED = 64


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


class Answers:
    """Turns that are to be answered, and the responses they get.

    Responses wait in line: in `_due` until no other is under way, in `_unheard` until all words before them are known,
    in `_asked` until our session has given a turn to what it was asked.
    """

    def __init__(self, out: Outbox, items: Items) -> None:
        self._out = out
        self._items = items
        self._due: deque[Response] = deque()
        self._asked: deque[Response] = deque()
        self._newest = 0
        self._unheard: list[Response] = []
        self._turns: dict[int, Response] = {}
        self._replies: dict[int, Response] = {}
        self._under_way: list[Response] = []
        self._made: dict[int, Made] = {}
        self._endings: dict[str, Callable[[], None]] = {}
        self.trouble = ""
        """Why the next reply fails, if it does."""

    # --- what is under way ---

    @property
    def active(self) -> Response | None:
        """The response that is a part of the conversation, or is spoken, and under way."""
        return next((r for r in self._live() if not r.aside or r.speaks), None)

    @property
    def playing(self) -> bool:
        """Whether the client may be playing one."""
        return any(r.stage == "created" and r.sent for r in self._live())

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
        aside = response.aside and not response.speaks
        if not aside and (other := self.active):
            raise Refusal(
                f"The response {other.id} is under way: wait for its end, or cancel it.",
                code="conversation_already_has_active_response",
            )
        if aside and len(self._live()) >= _MOST_ASIDE:
            raise Refusal("Too many responses are under way.", code="too_many_responses")
        self._create(response)
        if self._words_known(context):
            self._ask(response)
        else:
            self._unheard.append(response)

    def understood(self) -> None:
        """More words are known: responses that waited for them go on."""
        waiting, self._unheard = self._unheard, []
        for response in waiting:
            if response.stage == "over":
                continue
            if self._words_known(response.context):
                self._ask(response)
            else:
                self._unheard.append(response)

    def _words_known(self, context: tuple[Item, ...] | None) -> bool:
        return all(i.role != "user" or i.unheard is None for i in (self._items if context is None else context))

    def _ask(self, response: Response) -> None:
        text = _newest_words(self._items if response.context is None else response.context).strip() or "…"
        self._asked.append(response)
        self._out.order(ev.Respond(text, out_of_band=not response.speaks))

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
            self._replies[news.reply] = response
            while len(self._replies) > _REMEMBERED:
                del self._replies[next(iter(self._replies))]

    def announced(self, session: RealtimeSession, reply: int) -> None:
        """A reply is about to be heard that nobody asked for. While another is made, it is no part of the talk."""
        wish = Wish(conversation="none") if self.active else Wish()
        response = self._replies[reply] = Response(self._out, self._items, session, wish)
        self._create(response)
        response.begin()

    def said(self, news: ev.ReplySaid) -> None:
        """A clause of it is heard now."""
        if (response := self._replies.get(news.reply)) and response.stage == "created":
            response.say(f" {news.text}" if news.clause else news.text)

    def sound(self, reply: int, pcm: Pcm) -> bool:
        """Audio of it. False if nobody wants it any more."""
        response = self._replies.get(reply)
        if response is None or response.stage != "created":
            return False
        response.sound(pcm)
        return True

    def ended(self, news: ev.ReplyEnded) -> None:
        """A reply is over, and so is its response."""
        response = self._replies.get(news.reply)
        if news.turn is not None:
            response = self._turns.pop(news.turn, response)
        made = self._made.pop(news.turn or 0, Made())
        trouble, self.trouble = self.trouble, ""
        if response is None or response.stage == "over":
            return
        heard = news.heard if response.speaks else None
        outcome: Outcome
        match news.ending:
            case "completed" | "empty":
                outcome, error = "completed", ""
            case "failed":
                outcome, error = "failed", trouble or "The handler failed."
            case _:
                outcome, error = "cancelled", ""
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
        if (response := self._replies.get(news.reply)) and response.item:
            response.item.parts[0].text = news.heard

    # --- what the client wants of them ---

    def cancel(self, id: str | None) -> None:
        """Stops one. Raises Refusal if there is none."""
        found = self.active if id is None else next((r for r in self._live() if r.id == id), None)
        if found is None:
            raise Refusal("There is no such response to be cancelled.", code="response_cancel_not_active")
        found.reason = "client_cancelled"
        if found.speaks and found not in self._unheard:
            self._out.order(ev.Interrupt())  # its end follows as news
        else:
            found.end("cancelled", Made())

    def reply_of(self, item: Item) -> tuple[int, Response] | None:
        """The reply that an item was, if it was not long ago."""
        return next(((reply, r) for reply, r in self._replies.items() if r.item is item), None)

    # --- the handler ---

    def asked(self, turn: int) -> None:
        """A handler is asked about a turn; what it gave before does not count."""
        self._made[turn] = Made()
        while len(self._made) > _REMEMBERED:
            del self._made[next(iter(self._made))]

    def wrote(self, turn: int, text: str) -> bool:
        """Text of a reply that is not spoken. False if nobody wants it any more."""
        response = self._turns.get(turn)
        if response is None or response.speaks:
            return True
        if response.stage == "created" and text:
            response.say(text)
        return response.stage == "created"

    def called(self, turn: int, call: Call) -> None:
        """A function is to be run by the client."""
        self._made.setdefault(turn, Made()).calls.append(call)

    def limited(self, turn: int) -> None:
        """A reply was stopped because it became too long."""
        self._made.setdefault(turn, Made()).limited = True


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
