"""Pipecat's services for OpenAI at their default settings, in real pipelines, as JSON on standard output.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python pipecat_service.py RECORDING TEXT

The speech is written into the current folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from importlib.metadata import version
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.workers.runner import WorkerRunner


class Sink(FrameProcessor):
    """Keeps what comes out at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Keeps it and passes it on."""
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)


async def through(service: FrameProcessor, *frames: Frame, in_hz: int = 16_000) -> list[Frame]:
    """What a pipeline of one service makes of frames, and the errors that go up it. in_hz: of the microphone."""
    sink = Sink()
    worker = PipelineWorker(Pipeline([service, sink]), params=PipelineParams(audio_in_sample_rate=in_hz))

    @worker.event_handler("on_pipeline_error")
    async def failed(_: PipelineWorker, frame: ErrorFrame) -> None:
        sink.frames.append(frame)

    await worker.queue_frames([*frames, EndFrame()])
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    return sink.frames


async def main() -> None:
    """Speech, then text."""
    found: dict[str, Any] = {"version": version("pipecat-ai")}
    spoken = await through(OpenAITTSService(), TTSSpeakFrame(sys.argv[2]))
    audio = [frame for frame in spoken if isinstance(frame, TTSAudioRawFrame)]
    rates = sorted({(frame.sample_rate, frame.num_channels) for frame in audio})
    with wave.open("pipecat.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"".join(frame.audio for frame in audio))
    errors = [frame.error for frame in spoken if isinstance(frame, ErrorFrame)]
    found["tts"] = {"rates": rates, "file": "pipecat.wav", "n_frames": len(audio), "errors": errors}
    with wave.open(sys.argv[1]) as file:
        rate = file.getframerate()
        pcm = file.readframes(file.getnframes())
    step = rate // 50 * 2
    pieces = [InputAudioRawFrame(pcm[at : at + step], rate, 1) for at in range(0, len(pcm), step)]
    stt = OpenAISTTService()
    heard = await through(stt, VADUserStartedSpeakingFrame(), *pieces, VADUserStoppedSpeakingFrame(), in_hz=rate)
    found["stt"] = {
        "texts": [frame.text for frame in heard if isinstance(frame, TranscriptionFrame)],
        "errors": [frame.error for frame in heard if isinstance(frame, ErrorFrame)],
    }
    json.dump(found, sys.stdout)


logger.remove()
logger.add(sys.stderr, level="WARNING")
asyncio.run(main())
