"""LiveKit's OpenAI realtime plug-in: a spoken turn, a barge-in with truncate, a function call.

REALTIME_URL=ws://... OPENAI_API_KEY=... python realtime_livekit.py GO_FORWARD.wav TEN_OF_CLUBS.wav
"""

import asyncio
import json
import os
import sys
import time
import wave

import numpy as np
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai


def frames(path, pad=2.0):
    with wave.open(path) as f:
        rate = f.getframerate()
        pcm = np.frombuffer(f.readframes(f.getnframes()), np.int16)
    pcm = np.concatenate([pcm, np.zeros(int(rate * pad), np.int16)])
    n = rate // 50
    return [rtc.AudioFrame(pcm[a : a + n].tobytes(), rate, 1, n) for a in range(0, pcm.size - n + 1, n)]


seen = {"events": [], "generations": []}


@llm.function_tool
async def weather(city: str) -> str:
    """The weather."""
    return "sunny"


async def main():
    import aiohttp

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        model = openai.realtime.RealtimeModel(base_url=os.environ["OPENAI_BASE_URL"], http_session=http)
        session = model.session()
        current = {}

        async def collect(gen):
            out = {"text": "", "audio": 0, "calls": []}
            seen["generations"].append(out)

            async def text(stream):
                async for piece in stream:
                    out["text"] += str(piece)

            async def audio(stream):
                async for frame in stream:
                    current["start"] = current["start"] or time.monotonic()
                    out["audio"] += frame.samples_per_channel / frame.sample_rate

            async def messages():
                async for message in gen.message_stream:
                    current["id"], current["start"] = message.message_id, None
                    async with asyncio.TaskGroup() as both:
                        both.create_task(text(message.text_stream))
                        both.create_task(audio(message.audio_stream))

            async def calls():
                async for c in gen.function_stream:
                    out["calls"].append((c.name, c.arguments, c.call_id))
                    current["call"] = c

            async with asyncio.TaskGroup() as both:
                both.create_task(messages())
                both.create_task(calls())
            out["over"] = True

        session.on("generation_created", lambda e: group.create_task(collect(e)))

        def started(e):
            seen["events"].append("speech_started")
            if current.get("start"):
                ms = int((time.monotonic() - current["start"]) * 1000)
                seen["truncated"] = ms
                session.truncate(message_id=current["id"], modalities=["audio"], audio_end_ms=ms, audio_transcript="x")

        session.on("input_speech_started", started)
        session.on(
            "input_audio_transcription_completed", lambda e: seen["events"].append(e.transcript) if e.is_final else None
        )
        session.on("error", lambda e: seen["events"].append(f"error {e}"[:300]))

        async def speak(path):
            for f in frames(path):
                session.push_audio(f)
                await asyncio.sleep(0.02)

        async def until(f, s=30):
            t = time.monotonic()
            while not f():
                assert time.monotonic() - t < s, seen
                await asyncio.sleep(0.02)

        await speak(sys.argv[1])
        await until(lambda: current.get("start"))
        await asyncio.sleep(3)
        await speak(sys.argv[2])
        await until(lambda: len([g for g in seen["generations"] if g.get("over")]) >= 2)
        current.clear()
        await session.update_instructions("Be brief.")
        await session.update_tools([weather])
        ctx = session.chat_ctx.copy()
        ctx.add_message(role="user", content="How is the weather?")
        await session.update_chat_ctx(ctx)
        await session.generate_reply()
        await until(lambda: current.get("call"))
        await until(lambda: seen["generations"][-1].get("over"))
        ctx = session.chat_ctx.copy()
        c = current["call"]
        ctx.items.append(llm.FunctionCallOutput(call_id=c.call_id, name=c.name, output="sunny", is_error=False))
        await session.update_chat_ctx(ctx)
        n = len(seen["generations"])
        await session.generate_reply()
        await until(lambda: len(seen["generations"]) > n and seen["generations"][-1].get("over"))
        seen["ctx"] = [
            (i.type, getattr(i, "role", None), getattr(i, "text_content", None)) for i in session.chat_ctx.items
        ]
        await session.aclose()
        await model.aclose()
    print(json.dumps(seen))


asyncio.run(main())
