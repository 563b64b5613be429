"""Runs a recorded session again with other settings."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from voiceloop import build
from voiceloop.config import Config, assign, restored
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.policy import Policy
from voiceloop.journal.reader import Recording, Step
from voiceloop.ports import Transcriber
from voiceloop.session.session import Session
from voiceloop.whatif.engines import Elsewhere, Orders, RecordedEars, RecordedHandler, RecordedVoice
from voiceloop.whatif.memory import Memory
from voiceloop.whatif.outcome import Pair, pairs, turns

_REPLAYED = ("handler.", "tts.", "service.", "audio.", "offline")
"""Settings of what is not run again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would have been. steps: of the second run. notes: what to know before believing it, a sentence each."""

    pairs: list[Pair]
    steps: list[Step]
    notes: tuple[str, ...]


async def run(recording: Recording, settings: Sequence[str]) -> Outcome:
    """The recorded session with some settings changed, as `turn.wait_s=0.9`. Needs a `VirtualLoop`.

    Raises ConfigError for settings that make no sense.
    """
    before = restored(recording.facts.get("config", {}), recording.name)
    after = assign(before, settings)
    memory, orders = Memory(recording), Orders()
    policy = _changed(recording.policy, build.policy(before), build.policy(after))
    names: dict[str, str] = recording.facts.get("engines", {})
    remote = build.is_remote("stt", names.get("stt", "")) and after.stt == before.stt
    with Elsewhere() as elsewhere, _embedded(after, elsewhere) as (engine, name):
        ears = RecordedEars(memory, orders, engine, elsewhere, recorded=remote or engine is None)
        handler = RecordedHandler(memory, early=bool(recording.facts.get("early", True)))
        engines = build.Engines(ears, RecordedVoice(memory), handler, None, {"stt": name, "tts": "", "handler": ""})
        port = build.recorded_port(memory.frames(), recording.out_rate, lag=memory.lag())
        async with build.assemble(after, port=port, shared=engines) as assembled:
            session = Session(replace(assembled.parts, policy=policy, taps=(orders,)))
            async with asyncio.TaskGroup() as group:
                host = group.create_task(_host(session, orders, memory, recording.policy, policy))
                await session.run()
                host.cancel()
    then = turns(recording.steps)
    now = turns(orders.steps)
    in_vain = [key for setting in settings if (key := setting.partition("=")[0]).startswith(_REPLAYED)]
    notes = _notes(ears, remote, names, assembled.names, recording)
    notes += tuple(f"{key} changes nothing here: answers, voice and sound are the recorded ones." for key in in_vain)
    return Outcome(pairs(then, now), orders.steps, notes)


@contextmanager
def _embedded(config: Config, elsewhere: Elsewhere) -> Generator[tuple[Transcriber | None, str], None, None]:
    """The transcriber that can run here, and its name."""
    opened = build.embedded_transcriber(config)
    found = elsewhere.do(opened.__aenter__())
    try:
        yield found
    finally:
        elsewhere.do(opened.__aexit__(None, None, None))


async def _host(session: Session, orders: Orders, memory: Memory, recorded: Policy, policy: Policy) -> None:
    """Says again what the host said, when it did."""
    loop = asyncio.get_running_loop()
    await orders.started.wait()
    start = loop.time()
    for now, command in memory.commands():
        await asyncio.sleep(max(0.0, start + now / RATE - loop.time()))
        if isinstance(command, ev.Configure):
            command = ev.Configure(_changed(command.policy, recorded, policy))
        session.feed(command)


def _changed(policy: Policy, before: Policy, after: Policy) -> Policy:
    """The policy, with what differs between the two others as in the latter."""
    names = [f.name for f in fields(Policy)]
    return replace(policy, **{n: getattr(after, n) for n in names if getattr(before, n) != getattr(after, n)})


def _notes(
    ears: RecordedEars, remote: bool, then: dict[str, str], now: dict[str, str], recording: Recording
) -> tuple[str, ...]:
    found: list[str] = []
    if remote:
        found.append(f"Words are those that {then['stt']} found then, where it heard the same sound.")
    elif not now["stt"]:
        found.append("No embedded speech recognition is installed, so words are those of the recording.")
    elif then.get("stt") != now["stt"]:
        found.append(f"Words were found by {now['stt']}; then by {then.get('stt', 'another engine')}.")
    if then.get("vad") != now["vad"]:
        found.append(f"Voice activity was found by {now['vad']}; then by {then.get('vad', 'another engine')}.")
    if ears.unknown:
        found.append(f"Nobody knows the words of {ears.unknown} stretches of sound that were not recognized then.")
    if not recording.whole:
        found.append(f"The recording was not finished; its first {recording.seconds:.1f} s are played.")
    return tuple(found)
