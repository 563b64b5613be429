"""The rules between the machines, one function each. `turns.py` holds their table and applies them.

Each looks at the state and says what follows from it now; said once, it has changed the state so that it is silent the
next time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from voiceloop.core import events as ev
from voiceloop.core.floor import Floor, Kind, Reply
from voiceloop.core.hearing import Closed, Hearing
from voiceloop.core.history import History
from voiceloop.core.policy import Policy
from voiceloop.core.silence import Silence
from voiceloop.core.work import Draft, Work


@dataclass
class Machines:
    """The four machines, the history they write, the policy of the newest turn, and the actions of this step."""

    policy: Policy
    hearing: Hearing
    work: Work = field(default_factory=Work)
    floor: Floor = field(default_factory=Floor)
    silence: Silence = field(default_factory=Silence)
    history: History = field(default_factory=History)
    out: list[ev.Action] = field(default_factory=lambda: list[ev.Action]())


# --- the rules ---


def barge_in(m: Machines) -> None:
    """A person over a reply: it is held at once, stopped when there are words, resumed when there were none."""
    reply = m.floor.audible
    if reply is None:
        return
    newer = [draft for draft in m.work.drafts if draft.turn not in reply.past]
    if any(draft.text for draft in newer):
        stop(m, reply)
    elif m.hearing.speaking and reply.state == "playing" and reply.policy.barge_in != "ignore":
        if reply.policy.barge_in == "stop":
            stop(m, reply)
        else:
            reply.state = "paused"
            m.out.append(ev.Hold(reply.id))
    elif reply.state == "paused" and not newer:
        reply.state = "playing"
        m.out.append(ev.Resume(reply.id))


def answer_decided(m: Machines) -> None:
    """A decided turn whose words are known is answered, or dropped if there are none."""
    if m.floor.settling:
        return
    for draft in m.work.settled():
        m.work.close(draft.turn)
        if not draft.text:
            m.out.append(ev.TurnDropped(draft.turn, "failed" if "stt" in draft.failed else "no words"))
            continue
        understood(m, draft)
        for older in m.floor.replies():
            if older.kind == "answer" and older.public and older.state == "waiting":
                stop(m, older)
        reply = m.floor.get(draft.reply)
        if draft.silenced:
            m.out.append(ev.TurnDropped(draft.turn, "interrupted"))
        elif reply:
            reply.public = True
        else:
            ask(m, draft, "answer")


def transcribe(m: Machines) -> None:
    """The words of a turn that pauses, or was decided without them, are looked for."""
    for draft, end in m.work.to_transcribe():
        run = m.work.begin("stt", turn=draft.turn)
        m.out.append(ev.Transcribe(run, draft.turn, draft.rev, draft.context, draft.start, end))


def answer_early(m: Machines) -> None:
    """The handler is asked before the turn is decided, as far as the policy reaches."""
    if not m.floor.settling and (draft := m.work.to_answer_early()):
        draft.reply = ask(m, draft, "answer", early=True)


def synthesize(m: Machines) -> None:
    """The next clause that is due becomes speech: one at a time for each reply."""
    for reply in m.floor.to_synthesize():
        run = m.work.begin("tts", reply=reply.id, clause=reply.asked)
        m.out.append(ev.Synthesize(run, reply.id, reply.turn, reply.asked, reply.ledger.clause(reply.asked)))
        reply.asked += 1


def release(m: Machines) -> None:
    """The next reply takes the floor when it is free and nobody speaks; an answer, when nobody has said more."""
    if m.hearing.speaking:
        return
    past = frozenset(draft.turn for draft in m.work.drafts if draft.decided)
    if reply := m.floor.to_release(answers=not past):
        reply.state, reply.past = "playing", past
        m.out += [ev.Release(reply.id), ev.ReplyStarted(reply.id, reply.turn)]


def tell(m: Machines) -> None:
    """The clause that is spoken now, or what is given as text, is made known."""
    for reply in m.floor.replies():
        while reply.told < reply.begun:
            m.out.append(ev.ReplySaid(reply.id, reply.told, reply.ledger.clause(reply.told)))
            reply.told += 1


def end(m: Machines) -> None:
    """A reply of which all is played, or that has nothing to play, ends."""
    for reply in m.floor.replies():
        if ending := reply.ending:
            finish(m, reply, ending)


# --- what inputs and rules have in common ---


def waiting(m: Machines) -> bool:
    """Whether the user waits for a reply of which nothing is heard yet."""
    return m.work.waiting() or m.floor.waiting()


def dead_air(m: Machines) -> bool:
    """Whether the user waits and hears nothing but, perhaps, a sign of life."""
    reply = m.floor.audible
    return waiting(m) and not m.hearing.speaking and (reply is None or reply.kind == "filler")


def state(m: Machines) -> ev.State:
    """Who has the floor."""
    reply = m.floor.audible
    if m.hearing.speaking:
        return "hearing"
    if reply and reply.ledger.total:
        return "paused" if reply.state == "paused" else "speaking"
    return "thinking" if reply or waiting(m) else "listening"


def understood(m: Machines, draft: Draft) -> None:
    """The words of a decided turn go on record."""
    text = draft.text or ""
    m.out.append(ev.Heard(draft.turn, draft.rev, text))
    m.history.user(draft.turn, text)


def ask(m: Machines, draft: Draft, kind: Kind, *, early: bool = False) -> int:
    """Asks the handler about a turn; the id of the reply to come."""
    reply = m.floor.add(kind, draft.policy, turn=draft.turn, public=not early)
    run = m.work.begin("handler", reply=reply.id)
    m.out.append(ev.Answer(run, reply.id, draft.turn, draft.rev, draft.text or "", early))
    return reply.id


def say(m: Machines, event: ev.Say) -> None:
    """Queues an announcement; one too many is dropped, and said so."""
    new = m.floor.add_said(event.reply, m.policy)
    if m.floor.count("say") > m.policy.max_says:
        m.out.append(ev.Notice("session", "Too many announcements are waiting; the newest one was dropped."))
        stop(m, new)
    else:
        new.script.write(event.text, final=True)


def fill(m: Machines, text: str) -> None:
    """A sentence of our own, soon; but not a queue of them."""
    if not m.floor.count("filler"):
        m.floor.add("filler", m.policy).script.end_with(text)


def write(m: Machines, reply: Reply, text: str, *, final: bool) -> None:
    """More text from the handler; when there is no room for it, no more is wanted."""
    reply.script.write(text, final=final)
    if reply.script.overlong:
        m.out += m.work.drop(reply=reply.id, stage="handler")


def stop(m: Machines, reply: Reply) -> None:
    """Ends a reply in this step: what is audible of it stops first, then its runs are dropped."""
    if reply.audible:
        reply.state = "hushed"
        m.out.append(ev.Hush(reply.id))
        m.out += m.work.drop(reply=reply.id)
    elif reply.state == "waiting":
        m.out += m.work.drop(reply=reply.id)
        m.out.append(ev.Forget(reply.id))
        if reply.public:
            finish(m, reply, "withdrawn")
        else:
            m.floor.end(reply)


def reject(m: Machines, draft: Draft) -> None:
    """The segment was no turn; what was made of it is dropped unseen."""
    m.out += m.work.drop(turn=draft.turn)
    if reply := m.floor.get(draft.reply):
        stop(m, reply)
    m.work.close(draft.turn)


def go_on(m: Machines, draft: Draft, rev: int) -> None:
    """The person goes on; what ran ahead is dropped unseen."""
    m.out += m.work.drop(turn=draft.turn)
    if reply := m.floor.get(draft.reply):
        stop(m, reply)
    draft.go_on(rev)


def decide(m: Machines, draft: Draft, fact: Closed) -> None:
    """The turn has ended."""
    draft.pause(fact.context, fact.start, fact.end)
    draft.decided = True
    reply = m.floor.get(draft.reply)
    ready = reply is not None and reply.ledger.total > 0
    m.out.append(ev.SpeechStopped(fact.turn, fact.end, fact.cause))
    m.out.append(ev.Decided(fact.turn, fact.rev, fact.waited, ready))


def interrupt(m: Machines) -> None:
    """Nothing that is said, or was about to be, is wanted any more."""
    for draft in m.work.drafts:
        draft.silenced = draft.decided
    for reply in m.floor.replies():
        stop(m, reply)


def close(m: Machines) -> None:
    """Everything open gets its last word."""
    for draft in m.work.drafts:
        m.out += m.work.drop(turn=draft.turn)
        m.work.close(draft.turn)
        if draft.text:
            understood(m, draft)
        m.out.append(ev.TurnDropped(draft.turn, "closed"))
    for reply in m.floor.replies():
        stop(m, reply)


def flushed(m: Machines, event: ev.Flushed) -> None:
    """The port stopped a reply: it ends with what was heard; a later exact count amends that."""
    if (reply := m.floor.get(event.reply)) and reply.state == "hushed":
        reply.played = event.n if event.exact else max(reply.played, event.n)
        finish(m, reply, "interrupted")
    elif (reply := m.floor.ended(event.reply)) and event.exact and event.n != reply.played:
        before = m.floor.heard(reply), reply.cut_at
        reply.played = event.n
        heard, cut_at = after = m.floor.heard(reply), reply.cut_at
        if after != before:
            m.out.append(ev.Amend(reply.id, heard, cut_at))
            m.history.amend(reply.id, heard, cut_at)


def words_failed(m: Machines, draft: Draft, event: ev.Failed) -> None:
    """Speech to text failed: tried again when the turn is decided; then the user is told."""
    draft.failed.add("stt")
    if draft.decided:
        draft.text = ""
        m.out.append(ev.Notice("stt", event.message))
        if not draft.silenced:
            fill(m, draft.policy.sorry_stt)


def reply_failed(m: Machines, reply: Reply, event: ev.Failed, stage: ev.Stage) -> None:
    """The handler or the voice failed: unseen, it is tried again when the turn is decided; else the user is told."""
    if not reply.public:
        stop(m, reply)
        draft = m.work.asked(reply.id)
        draft.reply = None
        draft.failed.add("handler")
        return
    m.out.append(ev.Notice(stage, event.message))
    reply.failed = True
    if stage == "tts":
        m.out += m.work.drop(reply=reply.id)
        reply.ledger.cut()
        reply.asked = reply.ledger.clauses
        reply.script.complete = True
    else:
        reply.script.end_with(reply.policy.sorry_handler)


def finish(m: Machines, reply: Reply, ending: ev.Ending) -> None:
    """The terminal event of a reply, and what is remembered of it."""
    heard, said = m.floor.heard(reply), reply.ledger.said
    cut_at = reply.cut_at if ending == "interrupted" else None
    if reply.kind in ("answer", "say") and (heard or ending == "interrupted"):
        m.history.assistant(reply.id, reply.turn, heard, said=said, cut_at=cut_at)
    if reply.script.overlong:
        who = "session" if reply.turn is None else "handler"
        m.out.append(ev.Notice(who, "The reply was too long; the rest of it was dropped."))
    if ending == "empty":
        _explain(m, reply)
    m.out.append(ev.ReplyEnded(reply.id, reply.turn, ending, said, heard, cut_at))
    m.floor.end(reply)


def _explain(m: Machines, reply: Reply) -> None:
    if reply.ledger.clauses:
        m.out.append(ev.Notice("tts", "Speech synthesis made no sound of the reply."))
    elif reply.kind == "answer":
        m.out.append(ev.Notice("handler", "The handler gave no answer."))
