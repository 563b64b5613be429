"""Windows of several sessions in one run of the network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.vad import together as module
from voiceloop.adapters.vad.gated import GatedVad
from voiceloop.adapters.vad.silero import Network, SileroVad, network
from voiceloop.adapters.vad.together import SharingSilero, Together
from voiceloop.adapters.vad.webrtc import WebrtcVad
from voiceloop.core.audio import FRAME, Pcm
from voiceloop.ports import SharingVad
from voiceloop.testing import VirtualLoop

DATA = Path(__file__).parents[1] / "data"
NAMES = ("jfk.flac", "lj_LJ002-0020.flac", "sb_spk1_snt5.flac")


def on_virtual_time(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


def frames(name: str, n: int = 100) -> list[Pcm]:
    pcm, _ = soundfile.read(DATA / name, dtype="int16")
    return list(np.resize(pcm, n * FRAME).reshape(-1, FRAME))  # a short one over and over


class Counting:
    """The network, and how many windows each run had."""

    def __init__(self, inner: Network) -> None:
        self._inner = inner
        self.runs: list[int] = []

    def run(self, names: None, inputs: dict[str, Any]) -> Any:
        self.runs.append(len(inputs["input"]))
        return self._inner.run(names, inputs)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    found = Counting(network())
    monkeypatch.setattr(module, "network", lambda: found)
    return found


async def judged(vad: SharingVad, sound: list[Pcm], first_s: float = 0.0) -> list[float]:
    """In real time."""
    found: list[float] = []
    start = asyncio.get_running_loop().time() + first_s
    for n, frame in enumerate(sound):
        await asyncio.sleep(start + n * 0.02 - asyncio.get_running_loop().time())
        p = vad.judge(frame)
        found.append(await p if isinstance(p, Awaitable) else p)
    return found


async def several(vads: Sequence[SharingVad], sounds: Sequence[list[Pcm]]) -> list[list[float]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judged(vad, sound)) for vad, sound in zip(vads, sounds, strict=True)]
    return [task.result() for task in tasks]


def alone(sound: list[Pcm]) -> list[float]:
    vad = SileroVad()
    return [vad.probability(frame) for frame in sound]


def test_they_judge_as_each_alone(counting: Counting) -> None:
    async def scene() -> None:
        shared = Together()
        vads = [SharingSilero(shared) for _ in NAMES]
        together = await several(vads, [frames(name) for name in NAMES])
        for name, found in zip(NAMES, together, strict=True):
            np.testing.assert_allclose(found, alone(frames(name)), atol=2e-3)

    on_virtual_time(scene())
    assert set(counting.runs) == {2, 3}, "all share a run, or all but one who did not wait for it"


def test_a_gate_before_it_changes_nothing(counting: Counting) -> None:
    async def scene() -> None:
        shared = Together()
        gated = [GatedVad(WebrtcVad(0), SharingSilero(shared)) for _ in NAMES]
        together = await several(gated, [frames(name) for name in NAMES])
        for name, found in zip(NAMES, together, strict=True):
            plain = GatedVad(WebrtcVad(0), SileroVad())
            np.testing.assert_allclose(found, [plain.probability(f) for f in frames(name)], atol=2e-3)

    on_virtual_time(scene())
    assert max(counting.runs) > 1


def test_who_is_alone_does_not_wait() -> None:
    async def scene() -> None:
        vad = SharingSilero(Together())
        for frame in frames("jfk.flac", 20):
            await asyncio.sleep(0.02)
            assert isinstance(vad.judge(frame), float)

    on_virtual_time(scene())


def test_who_has_to_catch_up_does_not_wait_for_each_window() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        shared = Together()
        async with asyncio.TaskGroup() as group:
            for n, name in enumerate(NAMES):
                group.create_task(judged(SharingSilero(shared), frames(name), n / 999))
            await asyncio.sleep(0.5)
            vad, start = SharingSilero(shared), loop.time()
            found = [await p if isinstance(p := vad.judge(frame), Awaitable) else p for frame in frames("jfk.flac")]
            assert loop.time() - start <= 2 * module.EVERY_S
        np.testing.assert_allclose(found, alone(frames("jfk.flac")), atol=2e-3)

    on_virtual_time(scene())


def test_a_session_that_ends_does_not_disturb_the_others(counting: Counting) -> None:
    async def scene() -> None:
        shared = Together()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judged(SharingSilero(shared), frames(NAMES[0]))) for _ in range(4)]
            await asyncio.sleep(0.02 * 7 + 0.005)
            tasks[2].cancel()
        assert tasks.pop(2).cancelled()
        for task in tasks:
            np.testing.assert_allclose(task.result(), alone(frames(NAMES[0])), atol=2e-3)

    on_virtual_time(scene())
    assert counting.runs[0] == 3


def test_more_than_fit_are_run_at_once(counting: Counting) -> None:
    async def scene() -> None:
        shared = Together()
        vads = [SharingSilero(shared) for _ in range(2 * module._MOST + 10)]
        found = await several(vads, [frames(NAMES[0], 10)] * len(vads))
        assert all(np.allclose(each, found[0], atol=2e-3) for each in found)

    on_virtual_time(scene())
    assert max(counting.runs) == module._MOST


def test_a_network_that_fails_is_told_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def run(self, names: None, inputs: object) -> object:
            raise RuntimeError("broken")

    monkeypatch.setattr(module, "network", Broken)
    told: list[str] = []

    async def one(shared: Together) -> None:
        vad = SharingSilero(shared)
        try:
            await judged(vad, frames(NAMES[0], 20))
        except RuntimeError as exc:
            told.append(str(exc))

    async def scene() -> None:
        shared = Together()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(shared)) for _ in range(4)]
            await asyncio.sleep(0.025)
            tasks[1].cancel()

    on_virtual_time(scene())
    assert told == ["broken"] * 2, "of four one was alone, and one had gone"
