"""One run of Silero's network for the windows of several sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.vad.silero import INPUT, Network, SileroVad, network
from voiceloop.core.audio import RATE, Pcm

EVERY_S = 0.01
"""From one run to the next at least: in between windows gather. A window alone costs 0.09 to 0.18 ms, as warm as the
caches are, one of eight 0.05 to 0.06 (onnxruntime 1.31, one thread)."""

_BEHIND_S = 0.015
"""Windows are 20 or 40 ms apart: whose next one comes sooner has more of them, and is not to wait for each."""

_MOST = 64


class Together:
    """Gathers the windows of `SharingSilero`s on one event loop. Nobody who is alone waits."""

    def __init__(self) -> None:
        self._network: Network | None = None
        self._windows = np.zeros((_MOST, INPUT), np.float32)
        self._waiting: list[tuple[NDArray[np.float32], asyncio.Future[float]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rate = np.array(RATE, np.int64)
        self._due = 0.0

    def now(self) -> float:
        """Time of the loop."""
        self._loop = self._loop or asyncio.get_running_loop()
        return self._loop.time()

    def alone(self, now: float) -> bool:
        """Whether nobody has asked for EVERY_S: who does now need not wait, and runs the network himself."""
        if self._waiting or now < self._due:
            return False
        self._due = now + EVERY_S
        return True

    def put(self, window: NDArray[np.float32], state: NDArray[np.float32]) -> asyncio.Future[float]:
        """The probability of a window, within EVERY_S; or what the network raises. Not before `alone` was asked.

        window: float32 (INPUT,), copied. state: float32 (2, 1, 128), what the network remembers before it, and once the
        future is done, behind it.
        """
        assert self._loop is not None
        if len(self._waiting) == _MOST:
            self._run()
        if not self._waiting:
            self._loop.call_at(self._due, self._run)
        found: asyncio.Future[float] = self._loop.create_future()
        self._windows[len(self._waiting)] = window
        self._waiting.append((state, found))
        return found

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting or self._loop is None:
            return  # so many came that they did not wait for the time
        self._due = self._loop.time() + EVERY_S
        self._network = self._network or network()
        states = np.concatenate([state for state, _ in waiting], axis=1)
        try:
            inputs = {"input": self._windows[: len(waiting)], "state": states, "sr": self._rate}
            p, after = self._network.run(None, inputs)
        except Exception as exc:  # noqa: BLE001  it is raised where the window came from
            for _, found in waiting:
                if not found.done():
                    found.set_exception(exc)
            return
        for row, (state, found) in enumerate(waiting):
            state[:, 0] = after[:, row]
            if not found.done():  # its session may have ended meanwhile
                found.set_result(float(p[row, 0]))


class SharingSilero(SileroVad):
    """A `SharingVad`: `judge` is the same as `probability`, and the two may take turns."""

    def __init__(self, together: Together) -> None:
        super().__init__()
        self._together = together
        self._asked = 0.0

    def judge(self, frame: Pcm) -> float | Awaitable[float]:
        """See `ports.SharingVad`."""
        if (rest := self._fill_up(frame)) is None:
            return self._p
        now, later = self._together.now(), None
        if now - self._asked < _BEHIND_S or self._together.alone(now):
            self._run()
        else:
            later = self._together.put(self._samples, self._states[self._turn])
        self._asked = now
        self._begin(rest)
        return self._p if later is None else self._judged(later)

    async def _judged(self, later: Awaitable[float]) -> float:
        self._p = await later
        return self._p
