"""The rules between the machines, one function each. `turns.py` holds their table and applies them.

Each looks at the state and says what follows from it now; said once, it has changed the state so that it is silent the
next time.
"""

from __future__ import annotations

from voiceloop.core import events as ev
from voiceloop.core import selfspeech
from voiceloop.core.endpointing import patience
from voiceloop.core.hearing import Closed
from voiceloop.core.machines import Facts, Machines
from voiceloop.core.replies import ask, fill, finish, manner_of, note, public_answers, reply_failed, stop
from voiceloop.core.selfspeech import Likeness
from voiceloop.core.silence import Air, Sign
from voiceloop.core.work import Draft, Run

# --- the rules ---


def answer_decided(m: Machines) -> None:
    """A decided turn whose words are known is answered, or dropped if it is none."""
    if m.floor.settling:
        return
    for draft in m.work.settled():
        if because := _no_turn(m, draft):
            if draft.reopening:
                return  # it may go on
            like = likeness(m, draft, draft.words)
            ours: Facts = {"echo": like.sound, "our_words": like.words} if because == "own voice" else {}
            drop(m, draft, because, ours)
            continue
        if draft.reopening and _no_answer(draft):
            return
        understood(m, draft)
        draft.answered = True
        for older in public_answers(m):
            if manner_of(m, older) not in ("finish_reply", "ignore"):
                stop(m, older)
        reply = m.floor.get(draft.reply)
        if because := _no_answer(draft):
            if reply:
                stop(m, reply)
            drop(m, draft, because)
        elif reply:
            reply.public = True
        else:
            draft.reply = ask(m, draft, "answer")


def transcribe(m: Machines) -> None:
    """The words of a turn that pauses, or was decided without them, are looked for."""
    for draft, span in list(m.work.to_transcribe()):
        draft.costs.tries += 1
        run = m.work.begin("stt", turn=draft.turn, span=span)
        where = (draft.rev, span.context, span.start, span.end)
        over = draft.trial is not None and draft.trial.open
        m.out.append(ev.Transcribe(run, draft.turn, *where, draft.expect, over=over))


def score(m: Machines) -> None:
    """A turn that may end soon is listened to once more."""
    draft = m.work.get(m.hearing.open_turn)
    if draft is None or draft.lasted is None or draft.decided is not None or draft.score is not None:
        return
    words = draft.words
    if not words or not words.text or (words.p_stop is None and not draft.policy.score):
        return  # nobody can say more
    if draft.expect not in ("", "free"):
        return  # what it is expected to hold comes before how it sounds
    if "score" not in draft.failed and not m.work.busy(draft.turn, "score"):
        run = m.work.begin("score", turn=draft.turn)
        m.out.append(ev.Score(run, draft.turn, draft.rev, draft.lasted.context, draft.lasted.end))


def wait(m: Machines) -> None:
    """How long the open turn waits follows what is known of it."""
    draft = m.work.get(m.hearing.open_turn)
    if draft is None or draft.pending:
        return
    # A noise, a voice that does not count, or only a stop word: nothing is gained by waiting.
    if draft.span is None or draft.dismissed or draft.reopening:
        m.hearing.be_patient(draft.turn, wait=draft.policy.wait, ready=True)
        return
    finished = draft.score if draft.score is not None or draft.words is None else draft.words.finished
    more = draft.expect.startswith(("digits", "spelling")) and (finished is None or finished < 0.5)
    silence = patience(draft.policy, finished=finished, open_end=more, pace=m.pace)
    m.hearing.be_patient(draft.turn, wait=silence, ready=_ready(m, draft))


def answer_early(m: Machines) -> None:
    """The handler is asked before the turn is decided, as far as the policy reaches."""
    draft = None if m.floor.settling else m.work.to_answer_early()
    if draft and not (_no_turn(m, draft) or _no_answer(draft)):
        draft.reply = ask(m, draft, "answer", early=True)


def synthesize(m: Machines) -> None:
    """The next clause that is due becomes speech: one at a time for each reply."""
    for reply in m.floor.to_synthesize():
        script = reply.script
        run = m.work.begin("tts", reply=reply.id, clause=script.asked)
        m.out.append(ev.Synthesize(run, reply.id, reply.turn, script.asked, script.ledger.clause(script.asked)))
        script.asked += 1


def release(m: Machines) -> None:
    """The next reply takes the floor when it is free and nobody speaks; an answer, when nobody has said more."""
    if m.has_floor or m.work.pending or m.watch.lost is not None:
        return
    past = frozenset(draft.turn for draft in m.work.unanswered if draft.decided is not None)
    more = any(draft.decided is not None and not draft.dismissed for draft in m.work.unanswered)
    if reply := m.floor.to_release(answers=not more):
        reply.state, reply.past = "playing", past
        if reply.wishes.expect:
            m.expect = reply.wishes.expect
        m.out += [ev.Release(reply.id), ev.ReplyStarted(reply.id, reply.turn)]


def tell(m: Machines) -> None:
    """The clause that is spoken now, or what is given as text, is made known."""
    for reply in m.floor.replies():
        while reply.script.told < reply.begun:
            m.out.append(ev.ReplySaid(reply.id, reply.script.told, reply.ledger.clause(reply.script.told)))
            reply.script.told += 1


def end(m: Machines) -> None:
    """A reply of which all is played, or that has nothing to play, ends."""
    for reply in m.floor.replies():
        if ending := reply.ending:
            finish(m, reply, ending)


# --- what inputs and rules have in common ---


def waiting(m: Machines) -> bool:
    """Whether the user waits for a reply of which nothing is heard yet."""
    return m.work.waiting() or m.floor.waiting()


def air(m: Machines) -> Air:
    """What kind of silence there is."""
    reply = m.floor.audible
    if m.has_floor or (reply and reply.kind != "filler") or m.watch.lost is not None:
        return "busy"
    if waiting(m):
        return "tool" if any(r.wishes.tool for r in public_answers(m)) else "thinking"
    return "busy" if reply or m.controls.muted or m.floor.replies() else "idle"


def give(m: Machines, sign: Sign) -> None:
    """A sign of life in a silence."""
    m.trace("silence", sign)
    if sign == "end":
        m.out.append(ev.End("idle"))
    elif sign == "reprompt":
        m.floor.add("say", m.policy).script.write(m.policy.reprompt, final=True)
    else:
        fill(m, m.policy.moment if sign == "moment" else m.policy.still)


def state(m: Machines) -> ev.State:
    """Who has the floor."""
    reply = m.floor.audible
    if m.has_floor:
        return "hearing"
    if reply and reply.ledger.total:
        return "speaking" if reply.state == "playing" else "paused"
    return "thinking" if reply or waiting(m) else "listening"


def understood(m: Machines, draft: Draft) -> None:
    """The words of a decided turn go on record."""
    text = draft.text or ""
    m.out.append(ev.Heard(draft.turn, draft.rev, text))
    if (reply := m.floor.audible) and draft.turn not in reply.past:  # it began before these words, and goes on
        note(m, reply, reply.cut_at)
    m.history.user(draft.turn, text)
    m.expect = ""
    m.silence.heard(draft.policy.reprompts)


def drop(m: Machines, draft: Draft, because: str, facts: Facts | None = None) -> None:
    """A decided turn gets no reply."""
    m.trace("dropped", because, turn=draft.turn, facts=facts)
    m.out.append(ev.TurnDropped(draft.turn, because))
    close_draft(m, draft)


def reject(m: Machines, draft: Draft) -> None:
    """The segment was no turn; what was made of it is dropped unseen."""
    go_on(m, draft, draft.rev)
    if draft.reopened:
        m.out.append(ev.TurnDropped(draft.turn, "closed"))
    close_draft(m, draft)


def go_on(m: Machines, draft: Draft, rev: int) -> None:
    """The person goes on, or was none; what ran ahead is dropped unseen, and counted."""
    costs, reply = draft.costs, m.floor.get(draft.reply)
    if draft.span and (draft.words or m.work.busy(draft.turn, "stt")):
        costs.stt += draft.span.ticks
    m.out += m.work.drop(turn=draft.turn)
    if reply:
        costs.chars += len(reply.ledger.said)
        costs.speech += reply.ledger.total
        stop(m, reply)
    draft.go_on(rev)


def close_draft(m: Machines, draft: Draft) -> None:
    """Nothing more happens to the turn."""
    m.out += m.work.drop(turn=draft.turn)
    m.work.close(draft.turn)
    if draft.costs.stt or draft.costs.chars or draft.costs.speech:
        m.out.append(draft.spent())


def end_of_turn(m: Machines, draft: Draft, fact: Closed) -> None:
    """The turn has ended."""
    draft.decided = m.now
    reply = m.floor.get(draft.reply)
    ready = reply is not None and reply.ledger.total > 0
    known = draft.words
    m.trace(
        "ended",
        fact.cause,
        turn=draft.turn,
        quiet_s=fact.waited,
        wait_s=fact.wait,
        finished=known.finished if known else None,
        score=draft.score,
        ready="yes" if ready else "no",
        pace=round(m.pace, 2),
    )
    m.out.append(ev.SpeechStopped(fact.turn, fact.end, fact.cause))
    m.out.append(ev.Decided(fact.turn, fact.rev, fact.waited, ready))


def _ready(m: Machines, draft: Draft) -> bool:
    """Whether all is done that can be done before the turn is decided."""
    if draft.words is None:
        return not draft.early("stt")
    if _no_turn(m, draft) or _no_answer(draft) or not draft.early("handler"):
        return True
    reply = m.floor.get(draft.reply)
    if reply is None or not (reply.ledger.clauses or reply.script.complete or reply.wishes.sure):
        return False
    return reply.ledger.total > 0 or not draft.policy.reaches("speech") or not reply.ledger.clauses


def likeness(m: Machines, draft: Draft, words: ev.Transcribed | None) -> Likeness:
    """How like our own voice the newest voice of a turn is."""
    return selfspeech.likeness(m.hearing.voiced(draft.turn), words.text if words else None, m.floor.lately())


def _no_turn(m: Machines, draft: Draft) -> str:
    """Why a decided turn is none, or nothing."""
    if draft.trial and draft.trial.verdict and draft.trial.dismissed and not draft.trial.reopens:
        return draft.trial.verdict.because
    if draft.words and draft.words.sense == "invented":
        return "no speech"
    like = likeness(m, draft, draft.words)
    if draft.text and like.own and like.sound >= selfspeech.OWN:
        return "own voice"
    if not draft.text:
        return "failed" if "stt" in draft.failed else "no words"
    return ""


def _no_answer(draft: Draft) -> str:
    """Why a turn with words gets no answer, or nothing."""
    if draft.silenced:
        return "interrupted"
    if draft.trial and draft.words and draft.words.sense in ("stop", "wait"):
        return f"{draft.words.sense} word"
    return ""


def close(m: Machines) -> None:
    """Everything open gets its last word."""
    m.controls.down = False
    for draft in m.work.drafts:
        m.out += m.work.drop(turn=draft.turn)
        if not draft.answered:
            if draft.text:
                understood(m, draft)
            m.out.append(ev.TurnDropped(draft.turn, "closed"))
        close_draft(m, draft)
    for reply in m.floor.replies():
        stop(m, reply)


def words_failed(m: Machines, draft: Draft, event: ev.Failed) -> None:
    """Speech to text failed: tried again when the turn is decided; then the user is told."""
    draft.failed.add("stt")
    if draft.decided is not None:
        draft.words = ev.Transcribed(event.run, "", "none")
        m.out.append(ev.Notice("stt", event.message))
        if not draft.silenced:
            fill(m, draft.policy.sorry_stt)


def failed(m: Machines, run: Run, event: ev.Failed) -> None:
    """A run came to nothing."""
    if run.reply:
        reply_failed(m, m.floor[run.reply], event, run.stage)
    elif run.probe or run.stage == "score":
        m.work[run.turn].failed.add(run.stage)
    else:
        words_failed(m, m.work[run.turn], event)
