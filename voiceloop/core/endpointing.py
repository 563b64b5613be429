"""How long to wait before a turn is taken as ended. Small pure policies; time is an argument."""

from __future__ import annotations

from collections.abc import Sequence

from voiceloop.core.policy import Policy

_LONGEST_PACE = 1.5
_REOPENED = 1.2
_CLEAN = 0.97


def patience(policy: Policy, *, finished: float | None, open_end: bool, pace: float) -> int:
    """Silence in ticks that ends a turn, by what is known of it.

    finished: probability that the speaker has nothing to add. open_end: more is expected of the turn than was said so
    far. pace: how much more time than others this speaker takes, 1 or more.
    """
    if open_end:
        return policy.open_wait
    if finished is None or not policy.waits:
        return round(policy.wait * pace)
    return round(_interpolate(policy.waits, finished) * pace)


def in_no_hurry(policy: Policy, wait: int, *, ready: bool) -> int:
    """The silence that ends a turn: until `policy.late` nothing is gained by ending one that is not ready.

    ready: whether all is done that can be done before it ends.
    """
    return wait if ready else max(wait, policy.late)


def ended(policy: Policy, *, late: int, doubt: int) -> bool:
    """Whether a turn ends that might have ended `late` ticks ago.

    doubt: ticks since a frame last reached the onset threshold. Such a frame is a last chance that the person goes
    on: it delays the end by `guard_most` at most.
    """
    return doubt >= policy.guard or late >= policy.guard_most


def next_pace(pace: float, *, reopened: bool) -> float:
    """How much more time a speaker gets from now on: more after each turn that was cut off, slowly less after others.

    The lengths of a speaker's earlier pauses say nothing of the next one (AUC .48, shared/ENGINES.md), but his turns
    that had to be reopened are mistakes made with him.
    """
    return min(_LONGEST_PACE, pace * _REOPENED) if reopened else max(1.0, pace * _CLEAN)


def _interpolate(pairs: Sequence[tuple[float, int]], x: float) -> float:
    before = pairs[0]
    for pair in pairs:
        if x < pair[0]:
            share = (x - before[0]) / (pair[0] - before[0]) if pair is not before else 0.0
            return before[1] + share * (pair[1] - before[1])
        before = pair
    return before[1]
