"""Random clients of `/v1/realtime` on virtual time: whatever they do, the order holds and the session lives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from tests.server.test_realtime_talk import STORY, TOOL, Client, connected
from voiceloop.core.audio import Pcm
from voiceloop.ports import TurnView
from voiceloop.testing import FakeSynthesizer, FakeTranscriber

pytestmark = pytest.mark.virtual

WORDS = ["a story", "hello there", "", "mm-hm", "stop", "wait", "yes", "and then we went home"]
DETECTIONS = [
    None,
    {"type": "server_vad", "silence_duration_ms": 300},
    {"type": "server_vad", "create_response": False},
    {"type": "server_vad", "interrupt_response": False},
    {"type": "server_vad", "idle_timeout_ms": 2000},
    {"type": "semantic_vad", "eagerness": "high"},
]


class Moody:
    """Says little or much, calls functions, or fails."""

    early = True

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def warm_up(self) -> None: ...
    async def aclose(self) -> None: ...

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        await asyncio.sleep(self._chance.choice([0, 0.1, 1.5]))
        match self._chance.randrange(5):
            case 0:
                turn.call("weather")
            case 1:
                yield "Let me see."
                turn.call("weather")
            case 2:
                for word in STORY.split(" "):
                    yield word + " "
            case _:
                yield f"You said {turn.text}."


async def step(client: Client, chance: random.Random) -> None:
    items = [event["item"]["id"] for event in client.of("conversation.item.added")] or ["none"]
    loud, quiet = chance.choice([0.1, 0.4, 1.0, 2.0]), chance.choice([-0.1, -0.4, -0.8, -1.5, -3.0])
    match chance.randrange(14):
        case 0 | 1 | 2:
            await client.talk(loud, quiet)
        case 3:
            await client.talk(loud, quiet, loud, quiet, at_once=True)
        case 4:
            client.text("hello")
        case 5:
            client.say("response.create")
        case 6:
            client.say(
                "response.create",
                response={"conversation": "none", "output_modalities": [chance.choice(["text", "audio"])]},
            )
        case 7:
            client.say("response.cancel")
        case 8:
            where = chance.choice(items)
            client.say(
                "conversation.item.truncate", item_id=where, content_index=0, audio_end_ms=chance.randrange(4000)
            )
        case 9:
            client.update(
                audio={"input": {"turn_detection": chance.choice(DETECTIONS), "transcription": {"model": "x"}}}
            )
        case 10:
            client.say(chance.choice(["input_audio_buffer.commit", "input_audio_buffer.clear"]))
        case 11:
            client.update(output_modalities=chance.choice([["text"], ["audio"]]), tools=chance.choice([[], [TOOL]]))
        case 12:
            client.say(
                chance.choice(["conversation.item.delete", "conversation.item.retrieve"]), item_id=chance.choice(items)
            )
        case _:
            await asyncio.sleep(chance.choice([0, 0.1, 3]))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", range(40))
async def test_anybody(seed: int, fast: bool) -> None:
    chance = random.Random(seed)

    def listen(pcm: Pcm) -> str:
        return chance.choice(WORDS)

    ears = FakeTranscriber(listen=listen, delay_s=chance.choice([0.0, 0.2, 1.0]))
    voice = FakeSynthesizer(rate=24_000, letter_s=chance.choice([0.02, 0.06]))
    async with connected(handler=Moody(chance), transcriber=ears, synthesizer=voice, fast=fast) as client:
        # A voice that does not interrupt by the session's wish is told of while the reply goes on.
        client.order.interrupts = False
        for _ in range(25):
            await step(client, chance)
        client.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        await client.talk(-4.0)
        await asyncio.sleep(40)
        assert client.closed is None
        client.order.over()
