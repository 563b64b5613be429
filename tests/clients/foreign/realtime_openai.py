"""openai (Python) realtime: a spoken turn, a function call, a barge-in with truncate.

REALTIME_URL=ws://... OPENAI_API_KEY=... python realtime_openai.py GO_FORWARD.wav TEN_OF_CLUBS.wav
"""

import asyncio
import base64
import json
import os
import sys
import time
import wave

from openai import AsyncOpenAI


def pcm(path):
    with wave.open(path) as f:
        return f.readframes(f.getnframes())


FWD, TEN = (pcm(p) for p in sys.argv[1:3])
SILENCE = bytes(48000)


async def speak(conn, data):
    for at in range(0, len(data), 4800):
        await conn.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 4800]).decode())
        await asyncio.sleep(0.1)


async def main():
    client = AsyncOpenAI(websocket_base_url=os.environ["REALTIME_URL"].removesuffix("/realtime"))
    seen = {}
    async with client.realtime.connect(model="gpt-realtime") as conn, asyncio.TaskGroup() as group:
        first = await conn.recv()
        assert first.type == "session.created", first
        await conn.session.update(
            session={
                "type": "realtime",
                "audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "server_vad"}}},
            }
        )
        group.create_task(speak(conn, FWD + SILENCE * 2))
        n = 0
        item = None
        start = None
        cut = False
        async for e in conn:
            type(e).model_validate(e.to_dict(mode="json"))  # the SDK itself looks at nothing; this raises
            if e.type == "error":
                seen.setdefault("errors", []).append(e.error.message)
            if e.type == "conversation.item.input_audio_transcription.completed":
                seen.setdefault("words", []).append(e.transcript)
            if e.type == "response.output_audio.delta":
                n += len(base64.b64decode(e.delta))
                item = e.item_id
                if start is None:
                    start = time.monotonic()
                    group.create_task(later(conn))
            if e.type == "input_audio_buffer.speech_started" and start and not cut:
                cut = True
                seen["heard_ms"] = int((time.monotonic() - start) * 1000)
                await conn.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=seen["heard_ms"])
            if e.type == "conversation.item.truncated":
                seen["truncated"] = e.audio_end_ms
                await conn.conversation.item.retrieve(item_id=e.item_id)
            if e.type == "conversation.item.retrieved":
                seen["kept"] = e.item.content[0].transcript
            if e.type == "response.done":
                seen.setdefault("done", []).append(
                    (e.response.status, e.response.status_details.reason if e.response.status_details else None)
                )
                if len(seen["done"]) == 2:
                    break
        # a function call
        await conn.session.update(
            session={
                "type": "realtime",
                "tools": [
                    {
                        "type": "function",
                        "name": "weather",
                        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                    }
                ],
            }
        )
        await conn.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How is the weather?"}]}
        )
        await conn.response.create()
        async for e in conn:
            type(e).model_validate(e.to_dict(mode="json"))
            if e.type == "error":
                seen.setdefault("errors", []).append(e.error.message)
            if e.type == "response.function_call_arguments.done":
                seen["call"] = (e.name, json.loads(e.arguments))
                call = e.call_id
            if e.type == "response.done":
                if e.response.output and e.response.output[0].type == "function_call":
                    await conn.conversation.item.create(
                        item={"type": "function_call_output", "call_id": call, "output": "sunny"}
                    )
                    await conn.response.create()
                else:
                    seen["after_call"] = e.response.output[0].content[0].transcript
                    break
    print(json.dumps(seen))


async def later(conn):
    await asyncio.sleep(4)
    await speak(conn, TEN + SILENCE * 2)


asyncio.run(main())
