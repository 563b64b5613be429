"""What a recording knows of the services it was made with: their answers, and how long they took."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.journal.reader import Recording, Step

UNKNOWN_WORDS = "Unknown words"
UNKNOWN_ANSWER = "Unknown answer."
"""What stands, and is spoken, where the recording has nothing to tell."""

_SAME = 0.9
"""Share of two stretches of sound that is in both, from which their words are taken to be the same. Shorter cuts
lose a word, and recognizers invent one for it."""

_TYPICAL_S, _LETTER_S = 2.0, 0.06
"""Length of a reply, and of a letter, where nothing was ever said."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it was asked for, what came when, and whether that was all of it. Times are ticks since then."""

    order: ev.Transcribe | ev.Answer | ev.Synthesize
    came: list[tuple[int, ev.Result]] = field(default_factory=lambda: list[tuple[int, ev.Result]]())

    @property
    def done(self) -> bool:
        """Whether it was not dropped meanwhile."""
        if not self.came:
            return False
        last = self.came[-1][1]
        return last.final if isinstance(last, ev.ReplyText | ev.Prepared) else True


class Memory:
    """Looks things up in a recording."""

    def __init__(self, recording: Recording) -> None:
        calls = list(_calls(recording.steps))
        self.recording = recording
        self._heard = [call for call in calls if isinstance(call.order, ev.Transcribe) and call.done]
        self._answers: dict[str, Call] = {}
        self._spoken: dict[str, Call] = {}
        for call in calls:
            if isinstance(call.order, ev.Answer):
                _keep(self._answers, spelled(call.order.text), call)
            elif isinstance(call.order, ev.Synthesize):
                _keep(self._spoken, call.order.text, call)
        self._lengths = {text: _length(call) for text, call in self._spoken.items() if call.done and _length(call)}

    # --- the world ---

    def frames(self) -> list[tuple[int, Pcm]]:
        """(tick, samples) of each microphone frame of which there is sound."""
        mic = self.recording.mic
        voices = [step for step in self.recording.steps if isinstance(step.event, ev.Voice) and step.at <= mic.size]
        return [
            (step.now, mic[step.at - step.event.n : step.at]) for step in voices if isinstance(step.event, ev.Voice)
        ]

    def commands(self) -> list[tuple[int, ev.Command | ev.PortLost | ev.PortBack]]:
        """What the host asked for, what became of the devices, and when."""
        asked = [(step.now, step.event) for step in self.recording.steps if not isinstance(step.event, ev.Close)]
        return [(now, what) for now, what in asked if isinstance(what, ev.Command | ev.PortLost | ev.PortBack)]

    def lag(self) -> int:
        """Ticks from the moment a reply is released and there, until its first sound, beyond the frame that it takes
        anyway."""
        there: dict[int, int] = {}
        begun: dict[int, int] = {}
        replies: dict[int, int] = {}
        waits: list[int] = []
        for step in self.recording.steps:
            for action in step.actions:
                if isinstance(action, ev.ReplyStarted):
                    begun[action.reply] = step.now
                elif isinstance(action, ev.Synthesize):
                    replies[action.run] = action.reply
            match step.event:
                case ev.Prepared(run=run, n=n) if n > 0 and run in replies:
                    there.setdefault(replies[run], step.now)
                case ev.Played(reply=reply, n=n) if n > 0 and reply in begun and reply in there:
                    waits.append(step.now - max(begun.pop(reply), there[reply]))
                case _:
                    pass
        return max(0, round(median(waits)) - FRAME) if waits else 0

    # --- recognition ---

    def recognition(self, n: int) -> int:
        """Ticks that recognition of n samples takes: those of the recorded call that comes nearest in length."""
        nearest = min(self._heard, key=lambda call: abs(_samples(call) - n), default=None)
        return nearest.came[-1][0] if nearest else 0

    def words(self, start: int, end: int) -> ev.Transcribed | None:
        """What was found in microphone samples [start, end), or in nearly the same."""
        best = max(self._heard, key=lambda call: _shared(call, start, end), default=None)
        if best is None or _shared(best, start, end) < _SAME:
            return None
        found = best.came[-1][1]
        return found if isinstance(found, ev.Transcribed) else None

    # --- answers ---

    def answer(self, text: str) -> Call | None:
        """What the handler answered to the same words."""
        return self._answers.get(spelled(text))

    def thinking(self) -> int:
        """Ticks until the first text of an answer, as a rule."""
        return _typical(call.came[0][0] for call in self._answers.values() if call.came)

    # --- speech ---

    def speech(self, text: str) -> Call | None:
        """How the same clause was spoken."""
        return self._spoken.get(text)

    def speaking(self) -> int:
        """Ticks until the first sound of a clause, as a rule."""
        return _typical(call.came[0][0] for call in self._spoken.values() if call.came)

    def length(self, text: str) -> int:
        """Samples of a clause that was never spoken: by its letters, or as long as replies are as a rule."""
        rate = self.recording.out_rate
        if not self._lengths:
            return round((_TYPICAL_S if text == UNKNOWN_ANSWER else len(text) * _LETTER_S) * rate)
        if text == UNKNOWN_ANSWER:
            return round(median(self._lengths.values()))
        return round(median(n / len(known) for known, n in self._lengths.items()) * len(text))


def spelled(text: str) -> str:
    """Words alone: two recognitions of the same differ in commas."""
    return " ".join(re.findall(r"[\w']+", text.casefold()))


def _calls(steps: Sequence[Step]) -> Iterable[Call]:
    """All calls, and what came of them: results of dropped ones do not count, as they did not for the core."""
    since: dict[int, tuple[int, Call]] = {}
    for step in steps:
        match step.event:
            case ev.Transcribed(run=run) | ev.ReplyText(run=run) | ev.Prepared(run=run) | ev.Failed(run=run) if (
                run in since
            ):
                began, call = since[run]
                call.came.append((step.now - began, step.event))
            case _:
                pass
        for action in step.actions:
            match action:
                case ev.Transcribe(run=run) | ev.Answer(run=run) | ev.Synthesize(run=run):
                    call = Call(action)
                    since[run] = (step.now, call)
                    yield call
                case ev.Drop(run=run):
                    since.pop(run, None)
                case _:
                    pass


def _keep(known: dict[str, Call], key: str, call: Call) -> None:
    """The first that came to its end, else the one that came farthest."""
    before = known.get(key)
    if call.came and (before is None or (not before.done and len(call.came) > len(before.came))):
        known[key] = call


def _length(call: Call) -> int:
    return max((result.n for _, result in call.came if isinstance(result, ev.Prepared)), default=0)


def _samples(call: Call) -> int:
    order = call.order
    return order.end - order.context if isinstance(order, ev.Transcribe) else 0


def _shared(call: Call, start: int, end: int) -> float:
    order = call.order
    if not isinstance(order, ev.Transcribe):
        return 0.0
    both = min(end, order.end) - max(start, order.start)
    either = max(end, order.end) - min(start, order.start)
    return both / either if either > 0 else 0.0


def _typical(ticks: Iterable[int]) -> int:
    known = list(ticks)
    return round(median(known)) if known else round(0.1 * RATE)
