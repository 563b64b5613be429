"""Those who wait are woken in turn."""

from __future__ import annotations

import asyncio

from voiceloop.adapters.audio import turnstile
from voiceloop.adapters.audio.turnstile import Turnstile


async def test_a_few_with_each_pass_in_their_order() -> None:
    loop, gate = asyncio.get_running_loop(), Turnstile()
    waiting = [loop.create_future() for _ in range(3 * turnstile._EACH_PASS + 1)]
    woken: list[int] = []
    for n, waiter in enumerate(waiting):
        waiter.add_done_callback(lambda _, n=n: woken.append(n))
        gate.wake(waiter)
    steps = [0]
    while len(woken) < len(waiting):
        await asyncio.sleep(0)
        if len(woken) != steps[-1]:
            steps.append(len(woken))
    assert woken == sorted(woken)
    assert steps == [0, *(turnstile._EACH_PASS * k for k in (1, 2, 3)), len(waiting)]


async def test_who_has_gone_is_passed_over_and_it_works_again_afterwards() -> None:
    loop, gate = asyncio.get_running_loop(), Turnstile()
    for _ in range(2):
        one, gone, other = (loop.create_future() for _ in range(3))
        for waiter in (one, gone, other):
            gate.wake(waiter)
        gone.cancel()
        async with asyncio.timeout(1):
            await one
            await other
        await asyncio.sleep(0)
