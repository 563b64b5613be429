"""The user's half of a Realtime conversation: what is heard becomes items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.wire.realtime import Refusal
from voiceloop.wire.realtime_items import Item, Items, Part
from voiceloop.wire.realtime_outbox import Outbox, Understand

_REMEMBERED = 1_000
"""Turns of which it is known what became of them."""

_LEAST_S = 0.1
_MOST_S = 300
"""Seconds that a client without turn detection may commit."""

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Buffer:
    """Audio of a client that takes its own turns, until it commits or clears it."""

    def __init__(self) -> None:
        self._pieces: list[Pcm] = []
        self.n = 0

    def add(self, pcm: Pcm, rate: int) -> None:
        """More of it. Raises Refusal when it is full."""
        if self.n + pcm.size > _MOST_S * rate:
            raise Refusal(
                f"The buffer holds {_MOST_S} seconds: commit or clear it.",
                param="audio",
                code="input_audio_buffer_full",
            )
        if pcm.size:
            self._pieces.append(pcm)
        self.n += pcm.size

    def take(self) -> Pcm:
        """All of it; it is empty afterwards."""
        pcm = np.concatenate([silence(0), *self._pieces])
        self._pieces, self.n = [], 0
        return pcm


@dataclass(slots=True)
class _Segment:
    """Speech that goes on, or of which the client is not told yet. end: where it ended.

    told: the client knows that it began. dropped: it is not to become an item.
    """

    item: str
    start: int
    end: int | None = None
    told: bool = False
    dropped: bool = False


class Speech:
    """Follows the segments and turns of our session. At most one segment of a turn is open."""

    def __init__(self, out: Outbox, items: Items) -> None:
        self._out = out
        self._items = items
        self._open: dict[int, _Segment] = {}
        self._turns: dict[int, str | None] = {}
        self._told_until = 0
        self.buffer = Buffer()
        self.appended_s = 0.0
        """Seconds of audio that came."""
        self.transcribes = False
        """Whether the client wants to be told the words."""

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks."""
        return any(not segment.dropped for segment in self._open.values())

    def is_spoken(self, turn: int) -> bool:
        """Whether a turn was heard, and not asked for."""
        return turn in self._turns

    def item_of(self, turn: int) -> str | None:
        """The item that a turn became."""
        return self._turns.get(turn)

    def wanted(self, turn: int) -> bool:
        """Whether the turn was not cleared away."""
        segment = self._open.get(turn)
        return not segment.dropped if segment else self._turns.get(turn) != ""

    # --- our session's news ---

    def started(self, news: ev.SpeechStarted, pre_roll: int, *, later: bool) -> None:
        """later: not to be told before `reveal`, because clients stop playing when they learn of it."""
        self._turns.setdefault(news.turn, None)
        while len(self._turns) > _REMEMBERED:
            del self._turns[next(iter(self._turns))]
        self.rejected(news.turn)
        self._told_until = max(news.start - pre_roll, self._told_until)
        self._open[news.turn] = _Segment(self._out.id("item"), self._told_until)
        if not later:
            self.reveal()

    def reveal(self) -> None:
        """Tells of all speech that was not told of yet."""
        for segment in self._open.values():
            if not segment.told and not segment.dropped:
                segment.told = True
                self._out.send(
                    "input_audio_buffer.speech_started", audio_start_ms=_ms(segment.start), item_id=segment.item
                )

    def stopped(self, news: ev.SpeechStopped, *, later: bool) -> None:
        """The segment becomes an item, whose words follow. later: as in `started`, if it was not told of."""
        if segment := self._open.get(news.turn):
            segment.end = news.end
            if not later:
                self.reveal()
            self.settle()

    def settle(self) -> None:
        """What has ended, and was told of, becomes items."""
        for turn, segment in [*self._open.items()]:
            if segment.end is None or not (segment.told or segment.dropped):
                continue
            del self._open[turn]
            self._stop(segment, segment.end)
            self._turns[turn] = "" if segment.dropped else segment.item
            if not segment.dropped:
                self._commit(segment.item, max(0.0, (segment.end - segment.start) / RATE))

    def rejected(self, turn: int) -> None:
        """It was nothing: who was told that it began is told that it is over."""
        if segment := self._open.pop(turn, None):
            self._stop(segment, segment.start)

    def reopened(self, turn: int) -> None:
        """The turn goes on: its words so far were not all, and will be said again with the rest."""
        if (item := self._turns.get(turn)) and self._items.get(item):
            self._items.remove(item)
            self._out.send("conversation.item.deleted", item_id=item)
        self._turns[turn] = None

    def heard(self, turn: int, text: str) -> None:
        """The words of a turn."""
        if turn in self._open:
            self.reveal()
            self.settle()
        if item := self._items.get(self._turns.get(turn) or ""):
            self.understood(item, text)

    def dropped(self, turn: int, trouble: str) -> None:
        """There are no words in a turn. trouble: why they could not be looked for; "" if they were."""
        if (segment := self._open.get(turn)) and segment.end is not None:
            del self._open[turn]  # nobody was told of it
        if item := self._items.get(self._turns.get(turn) or ""):
            self.understood(item, "", trouble)

    def understood(self, item: Item, text: str, trouble: str = "") -> None:
        """The words of an item, or why they are not known."""
        n = item.unheard
        if n is None:
            return
        item.parts[n].text = text
        if not self.transcribes:
            return
        where = {"item_id": item.id, "content_index": n}
        if trouble:
            error = {"type": "server_error", "code": "transcription_failed", "message": trouble, "param": None}
            self._out.send(f"{_TRANSCRIPTION}.failed", **where, error=error)
            return
        if text:
            self._out.send(f"{_TRANSCRIPTION}.delta", **where, delta=text)
        usage = {"type": "duration", "seconds": round(item.seconds, 3)}
        self._out.send(f"{_TRANSCRIPTION}.completed", **where, transcript=text, usage=usage)

    def idle(self) -> None:
        """Nobody said anything for a while, and the user is asked whether he is still there: an item without words."""
        start, end = _ms(self._told_until), max(_ms(self._told_until), round(self.appended_s * 1000))
        id = self._out.id("item")
        self._out.send("input_audio_buffer.timeout_triggered", audio_start_ms=start, audio_end_ms=end, item_id=id)
        self._commit(id, (end - start) / 1000).parts[0].text = ""

    # --- the client's ---

    def clear(self) -> None:
        """What was said and is no item yet will be none."""
        self.buffer.take()
        for segment in self._open.values():
            segment.dropped = True

    def commit(self, rate: int) -> None:
        """The buffer becomes an item. Raises Refusal."""
        if self.buffer.n < _LEAST_S * rate:
            raise Refusal(
                f"There are {1000 * self.buffer.n // rate} ms of audio in the buffer, and at least 100 are needed.",
                code="input_audio_buffer_commit_empty",
            )
        pcm = self.buffer.take()
        item = self._commit(self._out.id("item"), pcm.size / rate)
        self._out.order(Understand(item.id, pcm, rate))

    def _commit(self, id: str, seconds: float) -> Item:
        item = Item(id, role="user", parts=[Part(None, audio=True)], seconds=seconds)
        before = self._items.add(item)
        self._out.send("input_audio_buffer.committed", previous_item_id=before, item_id=id)
        self._out.item(item, before, done=False)
        self._out.item(item, before, done=True)
        return item

    def _stop(self, segment: _Segment, end: int) -> None:
        self._told_until = max(self._told_until, end)
        if segment.told:
            at = _ms(max(end, segment.start))
            self._out.send("input_audio_buffer.speech_stopped", audio_end_ms=at, item_id=segment.item)


def _ms(ticks: int) -> int:
    return round(1000 * ticks / RATE)
