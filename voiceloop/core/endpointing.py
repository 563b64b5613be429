"""How long to wait before a turn is taken as ended. Pure policies; time is an argument."""

from __future__ import annotations

from voiceloop.core.policy import Policy


def ended(policy: Policy, *, quiet: int, doubt: int) -> bool:
    """Whether a turn ends after `quiet` ticks of silence.

    doubt: ticks since a frame last reached the onset threshold. Such a frame is a last chance that the person goes
    on: it delays the end by `guard_most` at most.
    """
    if quiet < policy.wait:
        return False
    return doubt >= policy.guard or quiet >= policy.wait + policy.guard_most
