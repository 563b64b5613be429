"""openai-agents (Python) realtime: a spoken turn, a function call, a barge-in (the SDK truncates by itself).

REALTIME_URL=ws://... OPENAI_API_KEY=... python realtime_agents.py GO_FORWARD.wav TEN_OF_CLUBS.wav
"""

import asyncio
import json
import os
import sys
import time
import wave

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner


def pcm(path):
    with wave.open(path) as f:
        return f.readframes(f.getnframes())


seen = {"types": {}}


@function_tool
def weather(city: str) -> str:
    """The weather."""
    seen["call"] = city
    return "sunny"


async def run(tools, work):
    agent = RealtimeAgent(name="a", instructions="Be brief.", tools=tools)
    runner = RealtimeRunner(
        agent,
        config={
            "model_settings": {
                "model_name": "gpt-realtime",
                "audio": {
                    "input": {
                        "transcription": {"model": "whisper-1"},
                        "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
                    }
                },
            }
        },
    )
    session = await runner.run(
        model_config={
            "api_key": os.environ["OPENAI_API_KEY"],
            "url": os.environ["REALTIME_URL"] + "?model=gpt-realtime",
        }
    )
    async with session, asyncio.TaskGroup() as group:
        state = {"audio": 0, "ends": 0}

        async def listen():
            async for e in session:
                seen["types"][e.type] = seen["types"].get(e.type, 0) + 1
                if e.type == "audio":
                    state["audio"] += len(e.audio.data)
                if e.type == "audio_end":
                    state["ends"] += 1
                if e.type == "error":
                    seen.setdefault("errors", []).append(str(e.error)[:300])
                if e.type == "history_updated":
                    state["history"] = e.history
                if e.type == "raw_model_event" and e.data.type == "raw_server_event":
                    d = e.data.data
                    if d["type"] == "response.done":
                        seen.setdefault("done", []).append(d["response"]["status"])
                    if d["type"] == "conversation.item.truncated":
                        seen["truncated"] = d["audio_end_ms"]
                    if d["type"] == "error":
                        seen.setdefault("errors", []).append(d["error"]["message"])

        task = group.create_task(listen())
        await work(session, state)
        await asyncio.sleep(0.5)
        task.cancel()
        seen.setdefault("history", []).append(
            [
                (
                    getattr(i, "role", i.type),
                    [getattr(c, "transcript", None) or getattr(c, "text", None) for c in getattr(i, "content", [])],
                )
                for i in session._history
            ]
        )


async def speak(session, data):
    for at in range(0, len(data), 4800):
        await session.send_audio(data[at : at + 4800])
        await asyncio.sleep(0.1)


async def until(f, s=30):
    t = time.monotonic()
    while not f():
        assert time.monotonic() - t < s, seen
        await asyncio.sleep(0.02)


async def talk(session, state):
    await speak(session, pcm(sys.argv[1]) + bytes(96000))
    await until(lambda: state["audio"])
    await asyncio.sleep(3)
    await speak(session, pcm(sys.argv[2]) + bytes(96000))
    await until(lambda: len(seen.get("done", [])) >= 2)


async def call(session, state):
    n = len(seen["done"])
    await session.send_message("How is the weather?")
    await until(lambda: len(seen["done"]) >= n + 2)


async def main():
    await run([], talk)
    await run([weather], call)
    print(json.dumps(seen))


asyncio.run(main())
