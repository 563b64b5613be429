"""LiveKit's plug-in for OpenAI at its default settings, as JSON on standard output.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python livekit_plugin.py RECORDING TEXT

The speech is written into the current folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from importlib.metadata import version
from typing import Any

import numpy as np
from livekit import rtc
from livekit.plugins import openai


def frames(path: str) -> list[rtc.AudioFrame]:
    """A WAV in frames of 20 ms, as a room would give them."""
    with wave.open(path) as file:
        rate = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    n = rate // 50
    return [rtc.AudioFrame(pcm[at : at + n].tobytes(), rate, 1, n) for at in range(0, pcm.size - n + 1, n)]


async def main() -> None:
    """Speech, then text."""
    found: dict[str, Any] = {"version": version("livekit-plugins-openai")}
    tts = openai.TTS()
    chunks = [audio.frame async for audio in tts.synthesize(sys.argv[2])]
    await tts.aclose()
    rates = {(frame.sample_rate, frame.num_channels) for frame in chunks}
    with wave.open("livekit.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(chunks[0].sample_rate)
        file.writeframes(b"".join(bytes(frame.data) for frame in chunks))
    found["tts"] = {"model": tts.model, "rates": sorted(rates), "file": "livekit.wav", "n_frames": len(chunks)}
    stt = openai.STT()
    event = await stt.recognize(frames(sys.argv[1]))
    await stt.aclose()
    heard = event.alternatives[0]
    found["stt"] = {"model": stt.model, "text": heard.text, "language": str(heard.language)}
    json.dump(found, sys.stdout)


asyncio.run(main())
