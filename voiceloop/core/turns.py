"""Routes inputs to the machines and holds the table of the rules between them (rules.py says each in code).

An input changes the machine it belongs to; then the rules are applied, in this order, until none has more to say.

| when                                                     | then                                                    |
|----------------------------------------------------------|---------------------------------------------------------|
| a person speaks while a reply plays                      | hold it, or (`flush`) stop it                           |
| words of a turn are known that had not ended when the    | stop it: hush and cancel in one step                    |
| audible reply began                                      |                                                         |
| a reply is held and no such turn is left                 | resume it                                               |
| a decided turn has words                                 | older answers not begun are withdrawn; its own, asked   |
|                                                          | early or now, becomes public                            |
| a decided turn has none                                  | it is dropped                                           |
| a turn pauses, or is decided without words               | transcribe                                              |
| words are known, the turn is not decided                 | ask the handler early, as far as the policy reaches     |
| a clause is due                                          | synthesize it: the first one early, the next ahead      |
| the floor is free, nobody speaks, a public reply waits   | release it; an answer, only if no newer turn has ended  |
| a clause is about to be heard                            | make it known                                           |
| all of a reply is played, or there is nothing to play    | it ends                                                 |

Beside them: speech that goes on in an undecided turn drops what ran ahead, unseen, and raises rev; a decided turn that
has waited long without a sound gets a sign of life; nothing is asked between `Hush` and `Flushed`, because the handler
is to know what was heard.
"""

from __future__ import annotations

from collections.abc import Sequence

from voiceloop.core import events as ev
from voiceloop.core import rules
from voiceloop.core.hearing import Fact, Hearing, Opened, Paused, Rejected, Resumed
from voiceloop.core.history import History
from voiceloop.core.policy import Policy
from voiceloop.core.rules import Machines
from voiceloop.core.work import Draft

_RULES = (
    rules.barge_in,
    rules.answer_decided,
    rules.transcribe,
    rules.answer_early,
    rules.synthesize,
    rules.release,
    rules.tell,
    rules.end,
)


class Turns:
    """The core as one object: `feed` an input, carry out the actions in order, in the same step."""

    def __init__(self, policy: Policy) -> None:
        self._m = Machines(policy, Hearing(policy))
        self._state: ev.State = "listening"
        self._wake: int | None = None

    @property
    def at(self) -> int:
        """The microphone clock."""
        return self._m.hearing.at

    @property
    def history(self) -> History:
        """What was said so far."""
        return self._m.history

    @property
    def idle(self) -> bool:
        """Whether nothing is heard, made or said."""
        m = self._m
        return m.hearing.open_turn is None and not m.work.drafts and not m.floor.replies()

    def feed(self, event: ev.Input, *, now: int) -> list[ev.Action]:
        """What to do about one input. now: the session's clock, ticks."""
        self._m.out = []
        if isinstance(event, ev.Voice):
            facts = self._listen(event)
            if not facts and (self._wake is None or now < self._wake):
                return self._m.out  # a frame that tells nothing new changes nothing that a rule looks at
            self._hear(facts)
        else:
            self._route(event)
        self._settle()
        if self._silent_too_long(now):
            rules.fill(self._m, self._m.policy.moment)
            self._settle()
        self._report()
        return self._m.out

    def _settle(self) -> None:
        known = -1
        while known != len(self._m.out):
            known = len(self._m.out)
            for rule in _RULES:
                rule(self._m)

    def _listen(self, frame: ev.Voice) -> Sequence[Fact]:
        reply = self._m.floor.audible
        return self._m.hearing.voice(frame, deaf=reply is not None and reply.policy.barge_in == "ignore")

    def _route(self, event: ev.Result | ev.Report | ev.Command) -> None:
        m = self._m
        match event:
            case ev.Transcribed() | ev.ReplyText() | ev.Prepared() | ev.Failed():
                self._result(event)
            case ev.Played(reply=id, n=n):
                if reply := m.floor.get(id):
                    reply.played = max(reply.played, n)
            case ev.Flushed():
                rules.flushed(m, event)
            case ev.Tick():
                pass
            case _:
                self._command(event)

    def _command(self, event: ev.Command) -> None:
        m = self._m
        match event:
            case ev.Say():
                rules.say(m, event)
            case ev.Respond(text=text, out_of_band=True):
                rules.ask(m, Draft(m.hearing.new_turn(), m.hearing.policy, text=text), "text")
            case ev.Respond(text=text):
                m.policy = m.hearing.policy
                m.work.open(m.hearing.new_turn(), m.policy, text=text.strip())
            case ev.Interrupt():
                rules.interrupt(m)
            case ev.Mute(on=on):
                m.out.append(ev.Listen(not on))
            case ev.Commit():
                self._hear(m.hearing.commit())
            case ev.Configure(policy=policy):
                m.hearing.configure(policy)
            case _:
                self._hear(m.hearing.close())
                rules.close(m)

    def _hear(self, facts: Sequence[Fact]) -> None:
        m = self._m
        for fact in facts:
            match fact:
                case Opened(turn=turn, start=start, policy=policy):
                    m.policy = policy
                    m.work.open(turn, policy)
                    m.out.append(ev.SpeechStarted(turn, start, fact.continues))
                case Rejected(turn=turn, reason=reason):
                    rules.reject(m, m.work[turn])
                    m.out.append(ev.SpeechRejected(turn, reason))
                case Paused(turn=turn):
                    m.work[turn].pause(fact.context, fact.start, fact.end)
                case Resumed(turn=turn, rev=rev):
                    rules.go_on(m, m.work[turn], rev)
                case _:
                    rules.decide(m, m.work[fact.turn], fact)

    def _result(self, event: ev.Result) -> None:
        m = self._m
        final = event.final if isinstance(event, ev.ReplyText | ev.Prepared) else True
        if (run := m.work.accept(event.run, final=final)) is None:
            return
        match event:
            case ev.Transcribed(text=text):
                m.work[run.turn].text = text.strip()
            case ev.ReplyText(text=text):
                rules.write(m, m.floor[run.reply], text, final=final)
            case ev.Prepared(n=n):
                m.floor.prepared(m.floor[run.reply], run.clause, n, final=final)
            case _:
                if run.stage == "stt":
                    rules.words_failed(m, m.work[run.turn], event)
                else:
                    rules.reply_failed(m, m.floor[run.reply], event, run.stage)

    def _silent_too_long(self, now: int) -> bool:
        m = self._m
        waiting = bool(m.policy.moment) and rules.dead_air(m)
        return m.silence.step(now, waiting=waiting, after=m.policy.slow_after)

    def _report(self) -> None:
        m = self._m
        if (state := rules.state(m)) != self._state:
            self._state = state
            m.out.append(ev.StateChanged(state))
        if (due := m.silence.due(m.policy.slow_after)) != self._wake:
            self._wake = due
            if due is not None:
                m.out.append(ev.Wake(due))
