"""Pipecat's OpenAI realtime service in a pipeline: a spoken turn, a barge-in (it truncates by itself), a function call.

REALTIME_URL=ws://... OPENAI_API_KEY=... python realtime_pipecat.py GO_FORWARD.wav TEN_OF_CLUBS.wav
"""

import asyncio
import json
import os
import sys
import time
import wave

from loguru import logger
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    InputAudioRawFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService


def pcm(path):
    with wave.open(path) as f:
        return f.readframes(f.getnframes())


seen = {"words": [], "said": [], "audio": 0, "frames": {}, "errors": []}


class Sink(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        n = type(frame).__name__
        seen["frames"][n] = seen["frames"].get(n, 0) + 1
        if isinstance(frame, TTSAudioRawFrame):
            seen["audio"] += len(frame.audio) / 48000
        if isinstance(frame, TTSTextFrame):
            seen["said"].append(frame.text)
        await self.push_frame(frame, direction)


class Ear(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            seen["words"].append(frame.text)
        if isinstance(frame, ErrorFrame):
            seen["errors"].append(str(frame.error)[:200])
        await self.push_frame(frame, direction)


async def main():
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    tools = ToolsSchema(
        standard_tools=[
            FunctionSchema(
                name="weather", description="The weather", properties={"city": {"type": "string"}}, required=["city"]
            )
        ]
    )
    llm = OpenAIRealtimeLLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        base_url=os.environ["REALTIME_URL"],
        settings=OpenAIRealtimeLLMService.Settings(
            session_properties=events.SessionProperties(
                audio=events.AudioConfiguration(
                    input=events.AudioInput(
                        transcription=events.InputAudioTranscription(), turn_detection=events.TurnDetection()
                    )
                )
            )
        ),
    )
    sent = []
    original = llm.send_client_event

    async def send(e):
        sent.append(e.type)
        await original(e)

    llm.send_client_event = send

    async def weather(params):
        seen["call"] = dict(params.arguments)
        await params.result_callback("sunny")

    llm.register_function("weather", weather)
    context = LLMContext(messages=[{"role": "user", "content": "Say hello."}])
    if sys.argv[3] == "tool":
        context = LLMContext(messages=[{"role": "user", "content": "How is the weather?"}], tools=tools)
    pair = LLMContextAggregatorPair(context)
    task = PipelineTask(
        Pipeline([Ear(), pair.user(), llm, Sink(), pair.assistant()]),
        params=PipelineParams(audio_in_sample_rate=24000, audio_out_sample_rate=24000),
        enable_rtvi=False,
    )

    async def speak(data):
        for at in range(0, len(data), 960):
            await task.queue_frame(InputAudioRawFrame(audio=data[at : at + 960], sample_rate=24000, num_channels=1))
            await asyncio.sleep(0.02)

    async def until(f, s=25):
        t = time.monotonic()
        while not f():
            if time.monotonic() - t > s:
                seen["late"] = True
                return
            await asyncio.sleep(0.02)

    async def drive():
        await asyncio.sleep(1)
        await task.queue_frame(LLMRunFrame())
        if sys.argv[3] == "tool":
            await until(lambda: "sunny" in " ".join(seen["said"]))
        else:
            await until(lambda: seen["audio"] > 0.3)
            await asyncio.sleep(2)
            a = seen["audio"]
            await speak(pcm(sys.argv[1]) + bytes(96000))
            await until(lambda: seen["audio"] > a + 1)
            await asyncio.sleep(2)
            await speak(pcm(sys.argv[2]) + bytes(96000))
            await until(lambda: "Ten of" in " ".join(seen["said"]))
            await asyncio.sleep(1)
        seen["sent"] = {t: sent.count(t) for t in dict.fromkeys(sent)}
        seen["context"] = [m if isinstance(m, dict) else str(m) for m in context.get_messages()]
        await task.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(PipelineRunner(handle_sigint=False).run(task))
        group.create_task(drive())
    seen["frames"] = {k: v for k, v in seen["frames"].items() if "Interr" in k or "Function" in k or "Error" in k}
    print(json.dumps(seen, default=str))


asyncio.run(main())
