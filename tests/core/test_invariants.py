"""The invariants of ARCHITECTURE.md that concern the core, each a named check on a stream of inputs and actions.

8 and 9 (tasks joined, close idempotent) are tests of the session. Each check is shown to catch a doctored stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from string import Formatter
from typing import TypeVar, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, ticks
from voiceloop.core.policy import BargeIn, Policy
from voiceloop.core.record import from_line, to_line
from voiceloop.core.turns import Turns
from voiceloop.journal.why import SENTENCES

STAGES = {ev.Transcribe: "stt", ev.Score: "score", ev.Answer: "handler", ev.Synthesize: "tts"}

Stream = Sequence[object]  # of tests/core/conftest.py's Step: now, at, event, actions
T = TypeVar("T", bound=ev.Action)

BRISK = Policy(max_turn=ticks(2), slow_after=ticks(1), max_reply_chars=300, max_says=3)
POLICIES = (
    BRISK,
    Policy(),
    replace(BRISK, barge_in="stop", run_ahead="none", ahead=0),
    replace(BRISK, barge_in="ignore", run_ahead="handler", moment=""),
    replace(BRISK, run_ahead="stt", wait=ticks(0.3), pre_roll=0, ahead=3),
    replace(BRISK, tries=1, wait=ticks(0.06), pause=ticks(0.2), min_speech=ticks(0.4), on=0.7),
    replace(BRISK, reopen=ticks(1), waits=((0.1, ticks(1)), (0.9, ticks(0.3))), late=ticks(0.8)),
    replace(
        BRISK, reopen=ticks(1), max_turn=ticks(9), duck=0.2, score=True, still="Still at it.", still_after=ticks(2)
    ),
    replace(BRISK, reopen=ticks(0.5), barge_in="finish_sentence", barge_in_thinking="finish_reply", run_ahead="stt"),
    replace(BRISK, barge_in="finish_reply", barge_in_tool="stop", reprompt_after=ticks(1), max_stt=ticks(2)),
    replace(BRISK, reopen=ticks(1), run_ahead="none", end_after=ticks(3)),
    replace(BRISK, reopen=ticks(1), push_to_talk=True, duck=0.3),
    replace(BRISK, push_to_talk=True, barge_in="ignore"),
)


def actions_of(stream: Stream) -> list[ev.Action]:
    return [action for step in stream for action in step.actions]


# --- the checks ---


def check_1_one_reply_is_audible(stream: Stream) -> None:
    """At most one reply is audible; out-of-band replies never are. What was lowered is raised again."""
    audible, held, silent, low = None, False, set[int](), False
    for step in stream:
        for action in step.actions:
            match action:
                case ev.Answer(reply=reply) if isinstance(step.event, ev.Respond) and step.event.out_of_band:
                    silent.add(reply)
                case ev.Synthesize(reply=reply):
                    assert reply not in silent, "an out-of-band reply is synthesized"
                case ev.Release(reply=reply):
                    assert audible is None, f"{reply} is released over {audible}"
                    assert reply not in silent, "an out-of-band reply is released"
                    audible, held = reply, False
                case ev.Hold(reply=reply):
                    assert (reply, False) == (audible, held), "what does not play is held"
                    held = True
                case ev.Resume(reply=reply):
                    assert (reply, True) == (audible, held), "what is not held is resumed"
                    held = False
                case ev.Gain(factor=factor):
                    assert low == (factor == 1.0), "lowered or raised twice"
                    assert low or audible is not None, "what is not audible is lowered"
                    low = factor < 1.0
                case ev.Hush(reply=reply):
                    assert reply == audible, "what is not audible is hushed"
                    audible = None
                case ev.ReplyEnded(reply=reply) if reply == audible:
                    audible = None
                case _:
                    pass
        assert audible is not None or not low, "nothing plays, and the volume stays low"


def check_2_one_terminal_each(stream: Stream) -> None:
    """Exactly one terminal event per reply; one that nobody knew of is forgotten instead."""
    begun, unseen, ended = set[int](), set[int](), list[int]()
    for step in stream:
        if isinstance(step.event, ev.Say):
            begun.add(step.event.reply)
        for action in step.actions:
            match action:
                case ev.Answer(reply=reply, speculative=speculative):
                    (unseen if speculative else begun).add(reply)
                case ev.Release(reply=reply) | ev.ReplyStarted(reply=reply) | ev.ReplySaid(reply=reply):
                    unseen.discard(reply)
                    begun.add(reply)
                case ev.ReplyEnded(reply=reply):
                    unseen.discard(reply)
                    begun.add(reply)
                    ended.append(reply)
                case ev.Forget(reply=reply):
                    unseen.discard(reply)
                case _:
                    pass
    assert not unseen, f"neither forgotten nor ended: {unseen}"
    assert sorted(ended) == sorted(begun), f"begun: {sorted(begun)}, ended: {sorted(ended)}"


def check_3_nothing_after_the_terminal(stream: Stream) -> None:
    """No audio or text of a reply after its terminal; a later exact count only amends what was heard."""
    ended, hushed, forgotten = set[int](), set[int](), set[int]()
    for action in actions_of(stream):
        reply = getattr(action, "reply", None)
        if reply is None:
            continue
        if isinstance(action, ev.Amend):
            assert reply in ended, f"amended before its end: {action}"
            continue
        assert reply not in ended, f"after the end of {reply}: {action}"
        if isinstance(action, ev.ReplyEnded):
            ended.add(reply)
            continue
        assert reply not in hushed | forgotten, f"after {reply} was stopped: {action}"
        if isinstance(action, ev.Hush):
            hushed.add(reply)
        if isinstance(action, ev.Forget):
            forgotten.add(reply)


def check_4_segments_open_and_close(stream: Stream) -> None:
    """speech-started if and only if a segment is a turn or a candidate; each is closed by stopped or rejected.

    A turn starts again only if it was decided and is not sure.
    """
    open_turn, decided, seen, typed, sure = None, set[int](), set[int](), set[int](), set[int]()
    for step in stream:
        stopped = None
        for action in step.actions:
            match action:
                case ev.SpeechStarted(turn=turn):
                    assert open_turn is None, f"{turn} starts inside {open_turn}"
                    assert turn not in seen or turn in decided - sure, f"{turn} starts twice"
                    seen.add(turn)
                    open_turn = turn
                case ev.SpeechStopped(turn=turn):
                    assert turn == open_turn, f"{turn} stops and was not open"
                    open_turn, stopped = None, turn
                case ev.SpeechRejected(turn=turn):
                    assert turn == open_turn, f"{turn} is rejected and was not open"
                    open_turn = None
                case ev.Decided(turn=turn):
                    assert turn == stopped, f"{turn} is decided and did not stop"
                    decided.add(turn)
                case ev.Sure(turn=turn):
                    sure.add(turn)
                case ev.Reopened(turn=turn):
                    assert turn in decided - sure, f"{turn} was not decided, or is sure"
                case ev.Transcribe(turn=turn):
                    assert turn in decided or turn == open_turn, f"words of {turn}, which is no candidate"
                case ev.Heard(turn=turn) | ev.TurnDropped(turn=turn):
                    if turn not in seen:
                        typed.add(turn)
                    assert turn in decided | typed, f"words of {turn}, which is not decided"
                case _:
                    pass
    assert open_turn is None, f"{open_turn} was never closed"


def check_5_a_turn_keeps_its_policy(stream: Stream) -> None:
    """A turn uses the policy that held when it began."""
    configured, policies, decided, expecting = POLICIES[0], dict[int, Policy](), set[int](), False
    for step in stream:
        if isinstance(step.event, ev.Configure):
            configured = step.event.policy
        expecting = expecting or getattr(step.event, "key", "") == "expect" or bool(getattr(step.event, "expect", ""))
        for action in step.actions:
            match action:
                case ev.SpeechStarted(turn=turn):
                    policies.setdefault(turn, configured)
                case ev.SpeechStopped(turn=turn, cause=cause):
                    decided.add(turn)
                    silent = cause == "silence"
                case ev.Decided(turn=turn, waited=waited):
                    p = policies[turn]
                    shortest = min([p.wait, *(n for _, n in p.waits)])
                    longest = max([round(1.5 * p.wait), *(round(1.5 * n) for _, n in p.waits), p.pause, p.late])
                    longest = max(longest, p.open_wait) if expecting else longest
                    assert not silent or waited >= shortest, f"{turn} did not wait"
                    assert not silent or waited <= longest + p.guard_most + 2 * FRAME, "waited too long"
                case ev.Transcribe(turn=turn, context=context, start=start, end=end):
                    p = policies[turn]
                    assert start - context <= p.pre_roll, f"pre-roll of another policy in {turn}"
                    assert end - start <= p.max_turn, f"{turn} is longer than its policy allows"
                    assert turn in decided or p.reaches("stt"), f"{turn} is transcribed early"
                case ev.Answer(turn=turn, speculative=True):
                    assert policies[turn].reaches("handler"), f"{turn} is answered early"
                case _:
                    pass


def check_6_samples_belong_to_one_segment(stream: Stream) -> None:
    """Each microphone sample belongs to one segment; pre-roll is context, and of no other segment."""
    spans = dict[int, tuple[int, int, int]]()
    stopped, exact = 0, True
    for action in actions_of(stream):
        if isinstance(action, ev.SpeechStopped):
            stopped, exact = action.end, True
        if isinstance(action, ev.SpeechRejected):
            exact = False
        if isinstance(action, ev.SpeechStarted):
            follows = action.start == stopped if action.continues and exact else action.start >= stopped
            assert follows, f"a gap: {action}"
        if isinstance(action, ev.Transcribe):
            assert 0 <= action.context <= action.start < action.end, f"not a segment: {action}"
            if not action.probe:
                spans[action.turn] = (action.context, action.start, action.end)
    before = 0
    for turn in sorted(spans):
        context, _, end = spans[turn]
        assert context >= before, f"{turn} has samples of the segment before"
        before = end


def check_7_commands_take_effect(stream: Stream) -> None:
    """Control events are never dropped: each has its effect at once, or its reply in the end."""
    open_turn, audible, decided, words, typed = None, None, set[int](), set[int](), 0
    down = False
    for step in stream:
        was_open, was_audible = open_turn, audible
        for action in step.actions:
            match action:
                case ev.SpeechStarted(turn=turn):
                    open_turn = turn
                case ev.SpeechStopped() | ev.SpeechRejected():
                    open_turn = None
                case ev.Decided(turn=turn):
                    decided.add(turn)
                case ev.Heard(turn=turn) | ev.TurnDropped(turn=turn):
                    words.add(turn)
                case ev.Release(reply=reply):
                    audible = reply
                case ev.Hush() | ev.ReplyEnded():
                    audible = None
                case _:
                    pass
        match step.event:
            case ev.Interrupt():
                assert was_audible is None or ev.Hush(was_audible) in step.actions, "an interruption was dropped"
            case ev.PushToTalk() if step.event.down != down:
                down = step.event.down
                assert ev.Pressed(down) in step.actions, "a key was dropped"
                assert down or open_turn is None, "a turn goes on without its key"
            case ev.Mute(on=on):
                assert ev.Listen(not on) in step.actions, "a mute was dropped"
            case ev.Commit() | ev.Close():
                closed = [a for a in step.actions if isinstance(a, ev.SpeechStopped | ev.SpeechRejected)]
                assert was_open is None or [a.turn for a in closed] == [was_open], "a commit was dropped"
            case ev.Respond(out_of_band=True):
                assert any(isinstance(a, ev.Answer) for a in step.actions), "a request was dropped"
            case ev.Respond():
                typed += 1
            case _:
                pass
    assert not decided - words, f"decided, and nothing came of it: {decided - words}"
    assert len(words - decided) == typed, "a typed turn was dropped"


def check_10_replay_gives_the_same_bytes(stream: Stream) -> None:
    """Replaying the recorded inputs gives the same actions, byte for byte."""
    core = Turns(POLICIES[0])
    for line, actions in recorded(stream):
        now, at, event = from_line(line)
        again = [to_line(now, at, action) for action in core.feed(event, now=now)]
        assert again == actions, f"another answer to {line}"
        assert (core.at, to_line(now, at, event)) == (at, line), "another line"


def recorded(stream: Stream) -> list[tuple[str, list[str]]]:
    return [(to_line(s.now, s.at, s.event), [to_line(s.now, s.at, action) for action in s.actions]) for s in stream]


CHECKS = (
    check_1_one_reply_is_audible,
    check_2_one_terminal_each,
    check_3_nothing_after_the_terminal,
    check_4_segments_open_and_close,
    check_5_a_turn_keeps_its_policy,
    check_6_samples_belong_to_one_segment,
    check_7_commands_take_effect,
    check_10_replay_gives_the_same_bytes,
)


# --- random scripts ---

DELTAS = (
    "",
    "Yes. ",
    "One, two and three. Four five six. Seven",
    " **bold** and so on, for quite a while: ",
    "x" * 350,
)
WORDS = (
    ("hello", "words", 0.9),
    ("", "none", None),
    ("   ", "none", 0.2),
    ("what time is it", "words", 0.5),
    ("mm-hm", "backchannel", 0.7),
    ("stop", "stop", 0.9),
    ("wait", "wait", None),
    ("you", "invented", 0.1),
    ("it is ten it is late", "words", 0.6),
)
STATES = (("tool", "search"), ("tool", ""), ("expect", "digits:4"), ("sure", ""), ("sure", "now"), ("barge_in", "stop"))

ECHOES = (0.0, 0.0, 0.3, 0.5, 0.8, 1.0)
"""How like our own voice it sounds."""

moves = st.one_of(
    st.tuples(st.just("serve"), st.integers(1, 4), st.sampled_from((4000, 16000, 64000))),
    st.tuples(st.just("serve"), st.integers(1, 4), st.sampled_from((4000, 16000, 64000))),
    st.tuples(st.just("sentence"), st.sampled_from((2, 12, 45)), st.sampled_from(ECHOES)),
    st.tuples(st.just("sentence"), st.sampled_from((2, 12, 45)), st.just(0.0)),
    st.tuples(st.just("speak"), st.sampled_from((1, 3, 5, 8, 20, 60, 130)), st.sampled_from(ECHOES)),
    st.tuples(st.just("quiet"), st.sampled_from((1, 4, 7, 15, 36, 45, 90))),
    st.tuples(st.just("murmur"), st.sampled_from((0.2, 0.4, 0.55, 0.75)), st.sampled_from(ECHOES)),
    st.tuples(st.just("result"), st.integers(0, 5), st.integers(0, 11)),
    st.tuples(st.just("result"), st.integers(0, 5), st.integers(0, 11)),
    st.tuples(st.just("fail"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("stale"), st.integers(0, 20), st.integers(0, 3)),
    st.tuples(st.just("exact"), st.integers(0, 12), st.integers(-2, 2)),
    st.tuples(
        st.just("command"), st.sampled_from(("say", "empty", "respond", "blank", "aside", "interrupt", "commit"))
    ),
    st.tuples(st.just("wish"), st.sampled_from((None, *get_args(BargeIn))), st.sampled_from(("", "digits:4"))),
    st.tuples(st.just("mute"), st.booleans()),
    st.tuples(st.just("key"), st.booleans()),
    st.tuples(st.just("configure"), st.integers(0, len(POLICIES) - 1)),
    st.tuples(st.just("late"), st.integers(0, 40)),
    st.tuples(st.just("device"), st.booleans(), st.booleans()),
    st.tuples(st.just("away"), st.integers(0, 40)),
)
scripts = st.tuples(
    st.tuples(st.just("configure"), st.integers(0, len(POLICIES) - 1)), st.lists(moves, max_size=60)
).map(lambda script: [script[0], *script[1]])
"""They begin with any policy, so that one failure is not hidden behind those of the first."""


class Player:
    """Acts a script out on a world."""

    def __init__(self, world) -> None:
        self.world = world

    def act(self, script) -> None:
        for name, *args in script:
            getattr(self, name)(*args)
        check_history(self.world)

    def speak(self, n: int, echo: float) -> None:
        self.world.speak(n * FRAME / 16000, echo=echo)

    def quiet(self, n: int) -> None:
        self.world.quiet(n * FRAME / 16000)

    def sentence(self, pause: int, echo: float) -> None:
        self.speak(20, echo)
        self.quiet(6 + pause)

    def serve(self, rounds: int, size: int) -> None:
        """All engines do what they should."""
        world = self.world
        for _ in range(rounds):
            for run, order in list(world.runs.items()):
                if run in world.runs:
                    match order:
                        case ev.Transcribe():
                            world.feed(ev.Transcribed(run, "what time is it"))
                        case ev.Score():
                            world.feed(ev.Scored(run, 0.8))
                        case ev.Answer():
                            world.feed(ev.ReplyText(run, "It is ten. It is late. Time to go to bed.", final=True))
                        case ev.Synthesize():
                            so_far = world.sizes.get(order.reply, {}).get(order.clause, 0)
                            world.feed(ev.Prepared(run, max(size, so_far), final=True))
            world.frame()

    def murmur(self, p: float, echo: float) -> None:
        for i in range(8):
            self.world.frame(p if i % 2 else 0.02, echo=echo)

    def result(self, which: int, what: int) -> None:
        world = self.world
        if not world.runs:
            return
        run, order = list(world.runs.items())[which % len(world.runs)]
        match order:
            case ev.Transcribe():
                text, sense, finished = WORDS[what % len(WORDS)]
                world.feed(ev.Transcribed(run, text, sense, finished))
            case ev.Score():
                world.feed(ev.Scored(run, what / 11))
            case ev.Answer() if what >= 9:
                world.feed(ev.HandlerState(run, *STATES[which % len(STATES)]))
            case ev.Answer():
                world.feed(ev.ReplyText(run, DELTAS[what % len(DELTAS)], final=what >= 6))
            case ev.Synthesize():
                size = world.sizes.get(order.reply, {}).get(order.clause, 0)
                world.feed(ev.Prepared(run, size + (0, 0, 100, 7000, 16000, 40000)[what % 6], final=what >= 6))

    def fail(self, which: int, retryable: bool) -> None:
        world = self.world
        if world.runs:
            run, order = list(world.runs.items())[which % len(world.runs)]
            world.feed(ev.Failed(run, STAGES[type(order)], "It broke.", retryable))

    def stale(self, which: int, kind: int) -> None:
        """Late, twice, out of order: nothing follows from it."""
        world = self.world
        if world.stale:
            run = world.stale[-1 - which % len(world.stale)]
            late = (
                ev.Transcribed(run, "stale"),
                ev.ReplyText(run, "Stale. ", final=True),
                ev.Prepared(run, 99, final=False),
                ev.Failed(run, "stt", "Stale."),
            )
            assert world.feed(late[kind]) == []

    def wish(self, barge_in: str | None, expect: str) -> None:
        """An announcement that may be interrupted in its own way, and after which something is expected."""
        self.world.say("Your number, please. It has four digits.", barge_in=barge_in, expect=expect)

    def exact(self, which: int, off: int) -> None:
        """The port counts once more, perhaps of a reply of long ago."""
        ended = [a.reply for a in actions_of(self.world.steps) if isinstance(a, ev.ReplyEnded)]
        if ended:
            reply = ended[-1 - which % len(ended)]
            n = max(0, self.world.played.get(reply, 0) + off * 900)
            self.world.feed(ev.Flushed(reply, n, exact=True) if off else ev.Played(reply, n))

    def command(self, name: str) -> None:
        world = self.world
        match name:
            case "say":
                world.say("Attention please. The train is late.")
            case "empty":
                world.say(" ... ")
            case "respond":
                world.feed(ev.Respond("typed"))
            case "blank":
                world.feed(ev.Respond("  "))
            case "aside":
                world.feed(ev.Respond("aside", out_of_band=True))
            case "interrupt":
                world.feed(ev.Interrupt())
            case _:
                world.feed(ev.Commit())

    def mute(self, on: bool) -> None:
        self.world.feed(ev.Mute(on))

    def key(self, down: bool) -> None:
        self.world.feed(ev.PushToTalk(down))

    def configure(self, which: int) -> None:
        self.world.feed(ev.Configure(POLICIES[which]))

    def late(self, n: int) -> None:
        """The clock goes on without a frame, as when the device stutters."""
        self.world.now += n * 1600
        self.world.feed(ev.Tick())

    def device(self, back: bool, late: bool = False) -> None:
        """The device is lost, or back. late: what is said meanwhile may come before it is back."""
        self.world.feed(ev.PortBack("USB Audio") if back else ev.PortLost("Gone.", late))

    def away(self, n: int) -> None:
        """It is lost for a while: no frame comes, and nothing is played."""
        self.device(back=False)
        self.late(n)
        self.device(back=True)


def check_history(world) -> None:
    """What was said is in the history, in its order, and nothing else."""
    heard = dict[int, str]()
    for a in actions_of(world.steps):
        if isinstance(a, ev.Heard):
            assert a.turn not in heard, f"{a} was heard before"
            heard[a.turn] = a.text
        if isinstance(a, ev.Reopened):
            heard.pop(a.turn, None)
    assert [text for role, text in world.history() if role == "user"] == list(heard.values())
    assert list(heard) == sorted(heard)
    fates = dict[int, str]()
    for a in actions_of(world.steps):
        if isinstance(a, ev.ReplyEnded | ev.Amend):
            fates[a.reply] = a.heard
    said = [item for item in world.core.history.view() if item.role == "assistant"]
    assert all(fates.get(item.reply, item.text) == item.text for item in said)


def check_nobody_is_talked_over(stream: Stream) -> None:
    """No reply begins or goes on while a person speaks, who did not just go on after the longest turn.

    No answer begins while a newer turn has ended and is not understood, nor after the answer to a newer one.
    A reply that is to finish its sentence does so when the device is back, too.
    """
    speaking, pending, answered, turns, reopened = False, set[int](), 0, dict[int, int](), set[int]()
    ignored = set[int | None]()  # what is taken for nothing, be it only so far, holds no answer
    wished, configured = set[int](), False  # replies that finish their sentence by themselves, and whether all do
    for event, action in ((step.event, action) for step in stream for action in step.actions or [None]):
        match event:
            case ev.Configure(policy=policy):
                configured = policy.barge_in == "finish_sentence"
            case ev.Say(reply=reply, barge_in="finish_sentence"):
                wished.add(reply)
            case _:
                pass
        match action:
            case ev.Answer(reply=reply, turn=turn):
                turns[reply] = turn
            case ev.Decided(turn=turn):
                pending |= {turn} - ignored
            case ev.Heard(turn=turn) | ev.TurnDropped(turn=turn):
                pending.discard(turn)
            case ev.ReplyStarted(reply=reply) if reply in turns:
                assert not pending, f"{reply} begins while {pending} are not understood"
                assert turns[reply] > answered or turns[reply] in reopened, f"{reply} comes too late"
                answered = turns[reply]
            case ev.Reopened(turn=turn):
                reopened.add(turn)
            case ev.SpeechStarted(continues=continues):
                speaking = not continues
            case ev.Trace(because="went on", turn=turn):
                speaking = True
                ignored.discard(turn)
            case ev.Trace(what="ignored", turn=turn):
                speaking = False
                ignored.add(turn)
                pending.discard(turn or 0)
            case ev.SpeechStopped() | ev.SpeechRejected() | ev.Trace(what="kept"):
                speaking = False
            case ev.Release() | ev.Resume():
                finishes = isinstance(event, ev.PortBack) and (action.reply in wished or configured)
                assert not speaking or finishes, f"over a person: {action}"
            case _:
                pass


def check_answers_know_what_was_heard(stream: Stream) -> None:
    """The handler is not asked between Hush and the end of that reply."""
    hushed = set[int]()
    for action in actions_of(stream):
        match action:
            case ev.Hush(reply=reply):
                hushed.add(reply)
            case ev.ReplyEnded(reply=reply):
                hushed.discard(reply)
            case ev.Answer():
                assert not hushed, "asked while it is not known what was heard"
            case _:
                pass


def check_clauses_are_told_in_order(stream: Stream) -> None:
    """Each clause is made known once, in order, as far as it is heard; a reply that was heard to its end, wholly."""
    told, texts = dict[int, list[str]](), dict[tuple[int, int], str]()
    for action in actions_of(stream):
        match action:
            case ev.Synthesize(reply=reply, clause=clause, text=text):
                texts[reply, clause] = text
            case ev.ReplySaid(reply=reply, clause=clause, text=text):
                assert clause == len(told.setdefault(reply, [])), f"out of order: {action}"
                assert texts.get((reply, clause), text) == text, f"another text: {action}"
                told[reply].append(text)
            case ev.ReplyEnded(reply=reply, ending="completed", said=said):
                assert " ".join(told.get(reply, [])) == said, f"not all of it was told: {action}"
            case _:
                pass


def check_it_ends_in_listening(stream: Stream) -> None:
    """When nothing is left to do, the state says so."""
    states = [a.state for a in actions_of(stream) if isinstance(a, ev.StateChanged)]
    assert states[-1:] in ([], ["listening"])
    assert all(a != b for a, b in pairwise(states)), "a state that did not change"


def check_every_decision_can_be_told(stream: Stream) -> None:
    """`voiceloop why` has a sentence for it, and the facts that the sentence names are there."""
    for action in actions_of(stream):
        if isinstance(action, ev.Trace):
            assert (action.what, action.because) in SENTENCES, f"no words for {action}"
            sentence = SENTENCES[action.what, action.because]
            named = {name for _, name, _, _ in Formatter().parse(sentence) if name}
            assert all(action.facts.get(name) is not None for name in named), f"without its facts: {action}"


def check_nothing_is_played_to_nobody(stream: Stream) -> None:
    """While there is no device, nothing begins or goes on; what had the floor is held."""
    lost, playing = False, None
    for step in stream:
        lost = (lost or isinstance(step.event, ev.PortLost)) and not isinstance(step.event, ev.PortBack)
        for action in step.actions:
            match action:
                case ev.Release(reply=reply) | ev.Resume(reply=reply):
                    assert not lost, f"played to nobody: {action}"
                    playing = reply
                case ev.Hold() | ev.Hush() | ev.ReplyEnded():
                    playing = None
                case _:
                    pass
        assert not lost or playing is None, f"{playing} plays on without a device"


EXTRA = (
    check_nothing_is_played_to_nobody,
    check_every_decision_can_be_told,
    check_clauses_are_told_in_order,
    check_it_ends_in_listening,
    check_nobody_is_talked_over,
    check_answers_know_what_was_heard,
)


@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=scripts)
def test_closing_at_any_moment_gives_everything_its_last_word(script, world) -> None:
    it = world(POLICIES[0])
    Player(it).act(script)
    it.feed(ev.Close())
    assert it.core.idle
    assert it.runs == {}
    check_history(it)
    for check in (*CHECKS, *EXTRA):
        check(it.steps)


@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=scripts)
def test_random_scripts_keep_the_invariants_and_come_to_rest(script, world) -> None:
    it = world(POLICIES[0])
    Player(it).act(script)
    it.feed(ev.PortBack("USB Audio"))
    it.feed(ev.PushToTalk(False))
    it.finish()
    assert it.runs == {}
    check_history(it)
    for check in (*CHECKS, *EXTRA):
        check(it.steps)


# --- each check catches a doctored stream ---


@pytest.fixture
def honest(world) -> list:
    """A short conversation in which everything happens once."""
    it = world(POLICIES[0])
    it.ask(reply="Hi there. " * 3, seconds=2)
    it.speak(0.6)
    it.quiet(0.2)
    it.words("and now")
    it.text("It is now.")
    it.quiet(0.6)
    it.say("Attention please.")
    it.feed(ev.Mute(True))
    it.feed(ev.PushToTalk(True))
    it.feed(ev.PushToTalk(False))
    it.feed(ev.Respond("aside", out_of_band=True))
    it.finish()
    it.speak(0.3)
    it.feed(ev.Commit())
    it.feed(ev.Flushed(1, 3 * FRAME, exact=True))
    it.feed(ev.Close())
    for check in (*CHECKS, *EXTRA):
        check(it.steps)
    return it.steps


def find(stream: Stream, kind: type[T], nth: int = 0) -> tuple[int, T]:
    """The step of an action, and the action."""
    return [(i, a) for i, s in enumerate(stream) for a in s.actions if isinstance(a, kind)][nth]


def after(stream: Stream, step: int, *actions: ev.Action) -> list:
    """More actions at the end of a step."""
    return [replace(s, actions=[*s.actions, *actions]) if i == step else s for i, s in enumerate(stream)]


def without(stream: Stream, kind: type[ev.Action]) -> list:
    """No such actions."""
    return [replace(s, actions=[a for a in s.actions if not isinstance(a, kind)]) for s in stream]


def changed(stream: Stream, kind: type[ev.Action], nth: int = 0, **changes: object) -> list:
    """One action says something else."""
    step, action = find(stream, kind, nth)
    put = [replace(a, **changes) if a is action else a for a in stream[step].actions]
    return [replace(s, actions=put) if i == step else s for i, s in enumerate(stream)]


def aside(stream: Stream) -> int:
    """The reply that is out of band."""
    return next(s.actions[0].reply for s in stream if isinstance(s.event, ev.Respond))


Doctor = Callable[[Stream], Stream]

DOCTORED: list[tuple[Callable[[Stream], None], str, Doctor]] = [
    (check_1_one_reply_is_audible, "two at once", lambda s: after(s, find(s, ev.Release)[0], ev.Release(77))),
    (check_1_one_reply_is_audible, "aside aloud", lambda s: after(s, len(s) - 1, ev.Release(aside(s)))),
    (
        check_1_one_reply_is_audible,
        "aside spoken",
        lambda s: after(s, len(s) - 1, ev.Synthesize(99, aside(s), None, 0, "")),
    ),
    (check_1_one_reply_is_audible, "held twice", lambda s: after(s, find(s, ev.Hold)[0], ev.Hold(1))),
    (check_1_one_reply_is_audible, "resumed in play", lambda s: after(s, find(s, ev.Release)[0], ev.Resume(1))),
    (check_1_one_reply_is_audible, "hushed twice", lambda s: after(s, find(s, ev.Hush)[0], ev.Hush(1))),
    (check_2_one_terminal_each, "none", lambda s: without(s, ev.ReplyEnded)),
    (check_2_one_terminal_each, "two", lambda s: after(s, len(s) - 1, find(s, ev.ReplyEnded)[1])),
    (check_2_one_terminal_each, "unseen", lambda s: after(s, len(s) - 1, ev.Answer(99, 99, 99, 0, "", True))),
    (check_2_one_terminal_each, "said", lambda s: [*s, replace(s[0], event=ev.Say(-99, "lost"), actions=[])]),
    (check_3_nothing_after_the_terminal, "text", lambda s: after(s, len(s) - 1, ev.ReplySaid(1, 9, "more"))),
    (check_3_nothing_after_the_terminal, "hushed", lambda s: after(s, find(s, ev.Hush)[0], ev.Resume(1))),
    (check_3_nothing_after_the_terminal, "audio", lambda s: after(s, len(s) - 1, ev.Synthesize(99, 1, 1, 9, "more"))),
    (check_3_nothing_after_the_terminal, "amended", lambda s: after(s, find(s, ev.Release)[0], ev.Amend(1, "more"))),
    (check_4_segments_open_and_close, "not closed", lambda s: without(s, ev.SpeechStopped)),
    (check_4_segments_open_and_close, "not opened", lambda s: without(s, ev.SpeechStarted)),
    (check_4_segments_open_and_close, "not decided", lambda s: without(s, ev.Decided)),
    (check_4_segments_open_and_close, "never ends", lambda s: after(s, len(s) - 1, ev.SpeechStarted(99, 9))),
    (check_4_segments_open_and_close, "twice", lambda s: after(s, len(s) - 1, ev.SpeechStarted(1, 9))),
    (check_4_segments_open_and_close, "rejected", lambda s: after(s, len(s) - 1, ev.SpeechRejected(99, "odd"))),
    (check_5_a_turn_keeps_its_policy, "hasty", lambda s: changed(s, ev.Decided, waited=3200)),
    (check_5_a_turn_keeps_its_policy, "slow", lambda s: changed(s, ev.Decided, waited=32000)),
    (check_5_a_turn_keeps_its_policy, "pre-roll", lambda s: changed(s, ev.Transcribe, 1, context=0)),
    (check_5_a_turn_keeps_its_policy, "too long", lambda s: changed(s, ev.Transcribe, end=99999)),
    (check_6_samples_belong_to_one_segment, "twice", lambda s: changed(s, ev.Transcribe, -1, context=0)),
    (check_6_samples_belong_to_one_segment, "nothing", lambda s: changed(s, ev.Transcribe, end=0)),
    (check_6_samples_belong_to_one_segment, "gap", lambda s: changed(s, ev.SpeechStarted, 1, continues=True)),
    (check_7_commands_take_effect, "mute", lambda s: without(s, ev.Listen)),
    (check_7_commands_take_effect, "key", lambda s: without(s, ev.Pressed)),
    (check_7_commands_take_effect, "commit", lambda s: without(s, ev.SpeechStopped)),
    (check_7_commands_take_effect, "words", lambda s: without(s, ev.Heard)),
    (check_7_commands_take_effect, "aside", lambda s: without(s, ev.Answer)),
    (check_7_commands_take_effect, "typed", lambda s: [*s, replace(s[0], event=ev.Respond("lost"), actions=[])]),
    (
        check_7_commands_take_effect,
        "interrupt",
        lambda s: [*before_end(s), replace(s[0], event=ev.Interrupt())],
    ),
    (check_10_replay_gives_the_same_bytes, "another", lambda s: changed(s, ev.Heard, text="something else")),
    (check_10_replay_gives_the_same_bytes, "missing", lambda s: without(s, ev.StateChanged)),
    (check_10_replay_gives_the_same_bytes, "clock", lambda s: [replace(s[0], at=1), *s[1:]]),
    (check_nobody_is_talked_over, "released", lambda s: after(s, find(s, ev.Hold)[0], ev.Release(77))),
    (check_nobody_is_talked_over, "too late", lambda s: after(s, len(s) - 1, ev.ReplyStarted(1, 1))),
    (check_nobody_is_talked_over, "early", lambda s: after(s[:-1], find(s, ev.Hold)[0], ev.Decided(0, 0, 0, True))),
    (
        check_answers_know_what_was_heard,
        "asked",
        lambda s: after(s, find(s, ev.Hush)[0], ev.Answer(99, 99, 99, 0, "", False)),
    ),
    (check_clauses_are_told_in_order, "none", lambda s: without(s, ev.ReplySaid)),
    (check_clauses_are_told_in_order, "another", lambda s: changed(s, ev.ReplySaid, clause=4)),
    (check_clauses_are_told_in_order, "text", lambda s: changed(s, ev.ReplySaid, text="another")),
    (
        check_nothing_is_played_to_nobody,
        "released",
        lambda s: [replace(s[0], event=ev.PortLost(""), actions=[ev.DeviceLost("")]), *s],
    ),
    (
        check_nothing_is_played_to_nobody,
        "not held",
        lambda s: [*before_end(s), replace(s[0], event=ev.PortLost(""), actions=[])],
    ),
    (check_it_ends_in_listening, "thinking", lambda s: after(s, len(s) - 1, ev.StateChanged("thinking"))),
    (check_every_decision_can_be_told, "odd", lambda s: changed(s, ev.Trace, because="full moon")),
    (check_every_decision_can_be_told, "facts", lambda s: changed(s, ev.Trace, facts={})),
    (check_it_ends_in_listening, "again", lambda s: after(s, 0, ev.StateChanged("hearing"))),
]


def before_end(stream: Stream) -> list:
    """The stream up to where a reply has just been released."""
    return list(stream[: find(stream, ev.Release)[0] + 1])


@pytest.mark.parametrize(("check", "name", "doctor"), DOCTORED, ids=[f"{c.__name__}-{n}" for c, n, _ in DOCTORED])
def test_a_check_catches_a_doctored_stream(check, name, doctor, honest) -> None:
    with pytest.raises(AssertionError):
        check(doctor(honest))


def test_every_check_has_a_doctored_stream() -> None:
    assert {check for check, _, _ in DOCTORED} == {*CHECKS, *EXTRA}
