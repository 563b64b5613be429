"""Machine: turns in the making and the runs that serve them. Here, and only here, stale results are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from voiceloop.core.audio import seconds
from voiceloop.core.events import Drop, Spent, Stage, Transcribed
from voiceloop.core.hearing import Closed
from voiceloop.core.judging import Glimpse, Verdict
from voiceloop.core.policy import Policy
from voiceloop.core.selfspeech import UNLIKE, Likeness


@dataclass(frozen=True, slots=True)
class Span:
    """Microphone samples [start, end), after those of the context. spoken: voiced ticks of it, where that matters."""

    context: int
    start: int
    end: int
    spoken: int = 0

    @property
    def ticks(self) -> int:
        """Of all that is transcribed."""
        return self.end - self.context

    def same_words(self, other: Span | None) -> bool:
        """Whether they differ in nothing but silence."""
        return other is not None and (self.start, self.spoken) == (other.start, other.spoken)


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work under way. It serves the words of a turn, or a reply; the other one is 0.

    probe: only a look at the words of a voice that is on trial. span: the sound that it works on.
    """

    run: int
    stage: Stage
    turn: int = 0
    reply: int = 0
    clause: int = 0
    probe: bool = False
    span: Span | None = None

    def newer(self, than: Span | None) -> bool:
        """Whether it has heard more than that."""
        return self.span is not None and (than is None or self.span.end > than.end)


@dataclass(slots=True)
class Trial:
    """A voice over a reply, before one, or soon after a decision: it is not known yet whether it wants the floor.

    since: where it began. rev: of the turn, if it counts. reopens: it goes on with a turn that was decided.
    before: voiced ticks of its segment that are judged already. span: sound of it whose words should be looked at;
    looked: the newest one whose words were asked for; known: that of the words that are known. whole: sound of the
    turn that it reopens, if it does. ended: it is silent. closed: its segment is over.
    """

    since: int
    rev: int
    reopens: bool = False
    before: int = 0
    span: Span | None = None
    looked: Span | None = None
    known: Span | None = None
    words: Transcribed | None = None
    whole: Span | None = None
    ended: bool = False
    closed: Closed | None = None
    verdict: Verdict | None = None

    @property
    def spoken(self) -> int:
        """Its voiced ticks."""
        return self.span.spoken - self.before if self.span else 0

    @property
    def pending(self) -> bool:
        """Whether it is not judged yet."""
        return self.verdict is None

    @property
    def dismissed(self) -> bool:
        """Whether it does not count."""
        return self.verdict is not None and not self.verdict.stop

    @property
    def open(self) -> bool:
        """Whether more words of it may change what it is taken for."""
        return self.verdict is None or (self.verdict.rash and (self.reopens or not self.verdict.stop))

    def again(self, at: int) -> None:
        """The voice goes on: what was made of it may be wrong. One that did not count is judged anew."""
        self.ended, self.whole = False, None
        if self.dismissed or (self.verdict and self.open):
            self.before += self.spoken
            self.since, self.verdict, self.words, self.looked, self.known = at, None, None, None, None

    @property
    def all_known(self) -> bool:
        """Whether the words that are known are those of all of its sound."""
        return self.known == self.span or (self.span is not None and self.span.same_words(self.known))

    def glimpse(self, at: int, *, held: bool, lost: bool, like: Likeness = UNLIKE) -> Glimpse:
        """What is known of it by now, at this position of the microphone clock. like: how like our own voice it is."""
        known = self.words
        return Glimpse(
            words=len(known.text.split()) if known else None,
            sense=known.sense if known else "none",
            spoken=self.spoken,
            age=at - self.since,
            known=self.known.spoken - self.before if self.known else 0,
            ended=self.ended,
            over=self.ended and (known is None or self.all_known or lost),
            settled=lost or self.known == self.span,
            like=like,
            held=held,
            lost=lost,
        )


@dataclass(slots=True)
class Costs:
    """What ran ahead of a turn, and in vain: calls and ticks of transcription, characters of handlers, samples."""

    tries: int = 0
    stt: int = 0
    chars: int = 0
    speech: int = 0


@dataclass(slots=True)
class Draft:
    """A turn that is not sure yet.

    span: its sound; None while the person speaks. words: None until known. lasted: its sound and some
    of the silence behind it. score: what that says.
    decided: the session clock at which it ended. answered: its reply is public; it may still be reopened.
    silenced: the words count, but nobody wants an answer. reopened: it was decided before. failed: stages that
    failed for this rev.

    Why so long: nearly every rule asks for several of these at once, and all of them begin and end with the turn.
    """

    turn: int
    policy: Policy
    expect: str = ""
    rev: int = 0
    span: Span | None = None
    words: Transcribed | None = None
    lasted: Span | None = None
    score: float | None = None
    decided: int | None = None
    answered: bool = False
    sure: bool = False
    reply: int | None = None
    silenced: bool = False
    reopened: bool = False
    trial: Trial | None = None
    failed: set[Stage] = field(default_factory=lambda: set[Stage]())
    costs: Costs = field(default_factory=Costs)

    @property
    def text(self) -> str | None:
        """Its words, once they are known."""
        return self.words.text if self.words else None

    @property
    def pending(self) -> bool:
        """Whether a voice is on trial that may become part of it."""
        return self.trial is not None and self.trial.pending

    @property
    def reopening(self) -> bool:
        """Whether somebody speaks, or has spoken, of whom it is not known for good whether he goes on with it."""
        return self.trial is not None and self.trial.reopens

    @property
    def dismissed(self) -> bool:
        """Whether the voice that would have been a part of it, or all of it, does not count."""
        return self.trial is not None and self.trial.dismissed

    @property
    def affordable(self) -> bool:
        """Whether more may be tried before it is decided: in the end only where it may indeed be over."""
        costs, p = self.costs, self.policy
        return (
            costs.tries < (p.tries if self.lasted is None else 2 * p.tries)
            and costs.stt < p.max_stt
            and costs.chars < p.max_chars
        )

    def early(self, stage: Literal["stt", "handler"]) -> bool:
        """Whether that stage may run before the turn is decided."""
        return self.policy.reaches(stage) and self.affordable and stage not in self.failed

    def go_on(self, rev: int) -> None:
        """The person went on; what is known of the words is stale."""
        self.rev, self.span, self.words, self.reply = rev, None, None, None
        self.lasted, self.score = None, None
        self.decided, self.answered, self.silenced = None, False, False
        self.failed.clear()

    def spent(self) -> Spent:
        """Its costs as news."""
        c = self.costs
        return Spent(self.turn, c.tries, round(seconds(c.stt), 3), c.chars, c.speech)


_LOOKS = 2
"""At a time: one that was begun before a word ended must not delay the one that has all of it."""


class Work:
    """Drafts in the order of their turns, and live runs by id."""

    def __init__(self) -> None:
        self._last = 0
        self._runs: dict[int, Run] = {}
        self._drafts: dict[int, Draft] = {}

    # --- runs ---

    def begin(
        self,
        stage: Stage,
        *,
        turn: int = 0,
        reply: int = 0,
        clause: int = 0,
        probe: bool = False,
        span: Span | None = None,
    ) -> int:
        """A new run; its id."""
        self._last += 1
        self._runs[self._last] = Run(self._last, stage, turn, reply, clause, probe, span)
        return self._last

    def accept(self, run: int, *, final: bool) -> Run | None:
        """The run that a result belongs to, or None if the result is stale. final: the run ends with it."""
        return self._runs.pop(run, None) if final else self._runs.get(run)

    def drop(
        self, *, turn: int = 0, reply: int = 0, stage: Stage | None = None, probe: bool | None = None
    ) -> list[Drop]:
        """Ends the runs that serve this turn's words, or this reply; of a stage, or looks only, if so said."""
        gone = [
            r.run
            for r in self._runs.values()
            if (r.turn, r.reply) == (turn, reply) and stage in (None, r.stage) and probe in (None, r.probe)
        ]
        return [Drop(self._runs.pop(run).run) for run in gone]

    def drop_looks(self, turn: int, span: Span | None) -> list[Drop]:
        """Ends the looks at a voice on trial that have not heard all of this."""
        gone = [
            r.run for r in self._runs.values() if r.turn == turn and r.probe and not (span and span.same_words(r.span))
        ]
        return [Drop(self._runs.pop(run).run) for run in gone]

    def busy(self, turn: int, stage: Stage, *, probe: bool | None = None) -> bool:
        """Whether a run of that stage serves the words of a turn; of looks only, or of no look, if so said."""
        return any(r.turn == turn and r.stage == stage and probe in (None, r.probe) for r in self._runs.values())

    # --- drafts ---

    def open(self, turn: int, policy: Policy, *, expect: str = "") -> Draft:
        """A turn began."""
        draft = self._drafts[turn] = Draft(turn, policy, expect)
        return draft

    def __getitem__(self, turn: int) -> Draft:
        """The draft of a turn that is one."""
        return self._drafts[turn]

    def get(self, turn: int | None) -> Draft | None:
        """The draft of a turn, if it is one."""
        return self._drafts.get(turn) if turn is not None else None

    def close(self, turn: int) -> None:
        """The turn is no draft any more: it was dropped, or it is answered and sure."""
        del self._drafts[turn]

    @property
    def drafts(self) -> list[Draft]:
        """All drafts, oldest first."""
        return list(self._drafts.values())

    @property
    def unanswered(self) -> list[Draft]:
        """Those that are not answered yet."""
        return [draft for draft in self._drafts.values() if not draft.answered]

    @property
    def pending(self) -> list[tuple[Draft, Trial]]:
        """Voices on trial, and the turns that they may become part of."""
        return [(d, d.trial) for d in self._drafts.values() if d.trial and d.trial.pending]

    @property
    def reopenable(self) -> int | None:
        """The turn that goes on if somebody speaks now: the newest that was decided, if it is not sure."""
        return next((d.turn for d in reversed(self._drafts.values()) if d.decided is not None and not d.sure), None)

    @property
    def sure_at(self) -> int | None:
        """The session clock at which the next turn becomes sure."""
        dues = (
            d.decided + d.policy.reopen
            for d in self._drafts.values()
            if d.decided is not None and not d.sure and not d.reopening
        )
        return min(dues, default=None)

    def waiting(self) -> bool:
        """Whether a decided turn, of which an answer is wanted, waits for its words."""
        return any(d.decided is not None and not d.answered and not d.silenced for d in self._drafts.values())

    def asked(self, reply: int) -> Draft:
        """The draft that was answered early by this reply."""
        return next(draft for draft in self._drafts.values() if draft.reply == reply)

    def settled(self) -> Iterator[Draft]:
        """Drafts that are decided and whose words are known, up to the first one of which this is not true."""
        for draft in self.drafts:
            trial = draft.trial
            if not draft.answered:
                if draft.decided is None or draft.words is None or (trial and (trial.pending or trial.closed)):
                    return
                yield draft
            if trial and trial.reopens and trial.open:
                return

    def to_look(self) -> Iterator[tuple[Draft, Trial, Span]]:
        """Voices on trial whose words so far should be looked at now.

        Whether one reopens its turn has to be known when its segment is over, whatever it costs.
        """
        for draft in self._drafts.values():
            trial = draft.trial
            if trial is None or not trial.open or trial.span is None or trial.span == trial.looked:
                continue
            if not trial.ended and trial.span.same_words(trial.looked):
                continue
            wanted = draft.early("stt") or (trial.closed and "stt" not in draft.failed)
            if wanted and (trial.reopens or draft.span is None) and self._looks(draft.turn) < _LOOKS:
                yield draft, trial, trial.span

    def _looks(self, turn: int) -> int:
        return sum(run.turn == turn and run.stage == "stt" for run in self._runs.values())

    def to_transcribe(self) -> Iterator[tuple[Draft, Span]]:
        """Drafts whose words should be looked for now, and where they are."""
        for draft in self.unanswered:
            on_trial = draft.pending and draft.reopening
            wanted = draft.decided is not None or draft.early("stt")
            if (
                draft.span
                and draft.words is None
                and wanted
                and not on_trial
                and not self.busy(draft.turn, "stt", probe=False)
            ):
                yield draft, draft.span

    def to_answer_early(self) -> Draft | None:
        """The draft that a handler may be asked about before it is decided: the oldest, for its history is whole."""
        draft = next(iter(self.unanswered), None)
        if draft is None or draft.decided is not None or not draft.text or draft.reply is not None:
            return None
        on_trial = draft.trial is not None and not (draft.trial.verdict and draft.trial.verdict.stop)
        return draft if draft.span and not on_trial and draft.early("handler") else None
