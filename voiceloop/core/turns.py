"""Routes inputs to the machines and holds the table of the rules between them (rules.py says each in code).

An input changes the machine it belongs to; then the rules are applied, in this order, until none has more to say.

| when                                                     | then                                                    |
|----------------------------------------------------------|---------------------------------------------------------|
| a voice begins while a reply is heard or awaited, or     | it is on trial; what plays is held (or lowered, or, at  |
| soon after a decision                                    | once, stopped)                                          |
| a key is pressed, and the voice follows                  | what plays is held at once, and then stopped            |
| a voice on trial has spoken for a while, may be over, or | its words are looked at, up to two looks at a time      |
| is silent                                                |                                                         |
| they, or its length, say what it is, or its sound that   | it is dismissed, or the reply stops; and if it goes on  |
| it is our own                                            | with a turn that was decided, that is reopened          |
| a dismissed voice has other words when all are known     | it is judged again                                      |
| there is no device                                       | what plays is held, and nothing is released             |
| a reply is held and nothing is on trial                  | resume it                                               |
| a decided turn has words                                 | older answers not begun are withdrawn; its own, asked   |
|                                                          | early or now, becomes public                            |
| a decided turn has none                                  | it is dropped                                           |
| nobody went on with a decided turn for a while           | it is sure                                              |
| a turn pauses, or is decided without words               | transcribe; ask the end-of-turn model                   |
| words are known, the turn is not decided                 | ask the handler early, as far as the policy reaches     |
| a clause is due                                          | synthesize it: the first one early, the next ahead      |
| what is known of the open turn changes                   | so does the silence that ends it                        |
| the floor is free, nobody speaks, a public reply waits   | release it; an answer, only if no newer turn has ended  |
| a clause is about to be heard                            | make it known                                           |
| all of a reply is played, or there is nothing to play    | it ends                                                 |

Beside them: speech that goes on in an undecided turn drops what ran ahead, unseen, and raises rev; dead air gets a sign
of life; a voice of which no more frames come is silent; nothing is asked between `Hush` and `Flushed`, because the
handler is to know what was heard.
"""

from __future__ import annotations

from collections.abc import Sequence

from voiceloop.core import away, controls, replies, rules, trials
from voiceloop.core import events as ev
from voiceloop.core.hearing import Fact, Hearing
from voiceloop.core.judging import Verdict
from voiceloop.core.machines import Machines
from voiceloop.core.policy import Policy

_RULES = (
    away.hold,
    trials.hold,
    trials.decide,
    trials.look,
    trials.resume,
    rules.answer_decided,
    trials.be_sure,
    rules.transcribe,
    rules.score,
    rules.answer_early,
    rules.synthesize,
    rules.wait,
    rules.release,
    rules.tell,
    rules.end,
)


class Turns:
    """The core as one object: `feed` an input, carry out the actions in order, in the same step."""

    def __init__(self, policy: Policy) -> None:
        self._m = Machines(policy, Hearing(policy))
        self.history = self._m.history
        """What was said so far."""
        floor = self._m.floor
        self.words, self.clauses, self.whole = floor.words, floor.clauses, floor.whole
        """Of replies that go on, as `Floor` says."""
        self._state: ev.State = "listening"
        self._wake: int | None = 0  # the silence before the first word counts too

    @property
    def at(self) -> int:
        """The microphone clock."""
        return self._m.hearing.at

    @property
    def idle(self) -> bool:
        """Whether nothing is heard, made or said."""
        m = self._m
        return m.hearing.open_turn is None and not m.work.drafts and not m.floor.replies()

    def feed(self, event: ev.Input, *, now: int) -> list[ev.Action]:
        """What to do about one input. now: the session's clock, ticks."""
        m = self._m
        m.out, m.now = [], now
        if isinstance(event, ev.Voice):
            m.watch.frame = now
            facts = self._listen(event)
            if not facts and not m.work.pending and (self._wake is None or now < self._wake):
                return m.out  # a frame that tells nothing new changes nothing that a rule looks at
            trials.hear(m, facts)
        else:
            self._route(event)
        self._settle()
        if sign := m.silence.step(now, rules.air(m), m.policy):
            rules.give(m, sign)
            self._settle()
        self._report()
        return m.out

    def _settle(self) -> None:
        m, known = self._m, -1
        while known != len(m.out):
            known = len(m.out)
            for rule in _RULES:
                rule(m)
            trials.hear(m, m.hearing.due(m.heed))

    def _listen(self, frame: ev.Voice) -> Sequence[Fact]:
        m = self._m
        heard = None if m.floor.empty else m.floor.audible or next(iter(replies.public_answers(m)), None)
        deaf = heard is not None and replies.manner_of(m, heard) == "ignore"
        return m.hearing.voice(frame, deaf=deaf, reopen=m.work.reopenable, heed=m.heed)

    def _route(self, event: ev.Result | ev.Report | ev.Command) -> None:
        m = self._m
        match event:
            case ev.Played(reply=id, n=n):
                if reply := m.floor.get(id):
                    reply.played = max(reply.played, n)
            case ev.Flushed():
                replies.flushed(m, event)
            case ev.PortLost():
                away.lose(m, event)
            case ev.PortBack():
                away.find(m, event)
            case ev.Tick():
                trials.hear(m, m.hearing.stall() if m.watch.stalled(m.now, m.policy) else [])
            case ev.Transcribed() | ev.Scored() | ev.ReplyText() | ev.HandlerState() | ev.Prepared() | ev.Failed():
                self._result(event)
            case _:
                self._command(event)

    def _command(self, event: ev.Command) -> None:
        m = self._m
        match event:
            case ev.Say():
                replies.say(m, event)
            case ev.Respond():
                controls.respond(m, event)
            case ev.Interrupt(reply=reply):
                replies.interrupt(m, reply)
            case ev.Mute(on=on):
                controls.mute(m, on=on)
            case ev.PushToTalk(down=down):
                controls.press(m, down=down)
            case ev.Commit():
                trials.no_more(m, Verdict(True, "commit"))
                trials.hear(m, m.hearing.commit())
            case ev.Configure(policy=policy):
                m.hearing.configure(policy)
            case _:
                trials.no_more(m, Verdict(False, "closed"))
                trials.hear(m, m.hearing.close())
                rules.close(m)

    def _result(self, event: ev.Result) -> None:
        m = self._m
        final = event.final if isinstance(event, ev.ReplyText | ev.Prepared) else not isinstance(event, ev.HandlerState)
        if (run := m.work.accept(event.run, final=final)) is None:
            return
        match event:
            case ev.Transcribed() | ev.Scored():
                trials.learn(m, m.work[run.turn], run, event)
            case ev.ReplyText(text=text):
                replies.write(m, m.floor[run.reply], text, final=final)
            case ev.HandlerState():
                replies.wish(m.floor[run.reply], event)
            case ev.Prepared(n=n):
                m.floor.prepared(m.floor[run.reply], run.clause, n, final=final)
            case _:
                rules.failed(m, run, event)

    def _report(self) -> None:
        m = self._m
        if (state := rules.state(m)) != self._state:
            self._state = state
            m.out.append(ev.StateChanged(state))
        stalls = m.watch.due(m.now, m.policy, matters=not m.watch.late and m.hearing.open_turn is not None)
        dues = (m.silence.due(m.policy), m.work.sure_at, stalls)
        if (due := min((due for due in dues if due is not None), default=None)) != self._wake:
            self._wake = due
            if due is not None:
                m.out.append(ev.Wake(due))
