"""What OpenAI's SDK for Python gets from a server, as JSON on standard output: {name: what came, or the error}.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python openai_sdk.py RECORDING

Sound is written into the current folder. tests/clients/test_python_sdk.py says what is right.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

TEXT = "The quick brown fox jumps over the lazy dog."
RECORDING = Path(sys.argv[1])
client = openai.OpenAI()


def speak(**other: Any) -> Any:
    """One whole answer."""
    return client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": TEXT, **other})


def write_down(**other: Any) -> Any:
    """One transcription of the recording."""
    return client.audio.transcriptions.create(**{"model": "whisper-1", "file": RECORDING, **other})


def plain(value: Any) -> Any:
    """As JSON can hold it."""
    return value.to_dict() if isinstance(value, openai.BaseModel) else value


def each_speech_format() -> dict[str, str]:
    """File names."""
    for form in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
        Path(f"whole.{form}").write_bytes(speak(response_format=form).read())
    return {form: f"whole.{form}" for form in ("mp3", "opus", "aac", "flac", "wav", "pcm")}


def each_text_format() -> dict[str, Any]:
    """What the SDK makes of each."""
    return {f: plain(write_down(response_format=f)) for f in ("json", "text", "srt", "verbose_json", "vtt")}


def streamed_speech() -> dict[str, Any]:
    """Four sentences while they come in."""
    request = {"model": "tts-1", "voice": "nova", "input": " ".join([TEXT] * 4), "response_format": "pcm"}
    with client.audio.speech.with_streaming_response.create(**request) as response:
        chunks = list(response.iter_bytes(chunk_size=4096))
        kind = response.headers["content-type"]
    Path("streamed.pcm").write_bytes(b"".join(chunks))
    return {"n_chunks": len(chunks), "content_type": kind, "file": "streamed.pcm"}


def speech_to_a_file() -> str:
    """The way the SDK recommends now."""
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="echo", input=TEXT) as response:
        response.stream_to_file("streamed.mp3")
    return "streamed.mp3"


def speech_events() -> dict[str, Any]:
    """Server-sent events."""
    request = {"model": "gpt-4o-mini-tts", "voice": "coral", "input": TEXT, "response_format": "wav"}
    with client.audio.speech.with_streaming_response.create(**request, stream_format="sse") as response:
        kind = response.headers["content-type"]
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    return {"content_type": kind, "events": events}


def voices() -> dict[str, int]:
    """Bytes for each name that the SDK knows, and for a custom one."""
    names: list[Any] = [
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    ]
    found = {name: len(speak(voice=name, input="Hi.", response_format="pcm").read()) for name in names}
    return {**found, "object": len(speak(voice={"id": "alloy"}, input="Hi.", response_format="pcm").read())}


def speeds() -> dict[str, int]:
    """Bytes of pcm at each speed."""
    return {str(speed): len(speak(speed=speed, response_format="pcm").read()) for speed in (0.5, 1.0, 2.0)}


def word_times() -> Any:
    """verbose_json with words."""
    return plain(write_down(response_format="verbose_json", timestamp_granularities=["word", "segment"]))


def all_parameters() -> Any:
    """Everything that the page and the SDK offer."""
    return plain(
        write_down(
            response_format="verbose_json",
            language="en",
            prompt="A speech by a president.",
            temperature=0.2,
            chunking_strategy="auto",
        )
    )


def streamed_text() -> list[Any]:
    """Events of a transcription."""
    return [plain(event) for event in write_down(model="gpt-4o-transcribe", stream=True)]


def uploads() -> dict[str, str]:
    """Texts of one recording, handed over in several ways."""
    data = RECORDING.read_bytes()
    with RECORDING.open("rb") as file:
        opened = write_down(file=file).text
    return {
        "opened": opened,
        "unnamed": write_down(file=io.BytesIO(data)).text,
        "misnamed": write_down(file=("x.mp3", data, "audio/mpeg")).text,
    }


def translated() -> Any:
    """English stays as it is, where the server can translate at all."""
    return plain(client.audio.translations.create(model="whisper-1", file=RECORDING))


def models() -> list[str]:
    """Names."""
    return [model.id for model in client.models.list()]


def one_model() -> Any:
    """By its name."""
    return plain(client.models.retrieve("tts-1"))


async def asynchronous() -> dict[str, Any]:
    """Both endpoints at once. The sound is written by `main`: a loop does not wait for files."""
    async with openai.AsyncOpenAI() as several:

        async def speech() -> bytes:
            request = several.audio.speech.with_streaming_response
            async with request.create(model="tts-1", voice="onyx", input=TEXT, response_format="wav") as response:
                return b"".join([chunk async for chunk in response.iter_bytes()])

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(speech()) for _ in range(2)]
            text = group.create_task(several.audio.transcriptions.create(model="whisper-1", file=RECORDING))
        return {"sounds": [task.result() for task in tasks], "text": text.result().text}


async def streamed_text_asynchronously() -> list[Any]:
    """Events."""
    async with openai.AsyncOpenAI() as several:
        events = await several.audio.transcriptions.create(model="whisper-1", file=RECORDING, stream=True)
        return [plain(event) async for event in events]


ERRORS: dict[str, Callable[[], Any]] = {
    "wrong key": lambda: client.with_options(api_key="sk-wrong").models.list(),
    "no such voice": lambda: speak(voice="nobody"),
    "no such format": lambda: speak(response_format="mp4"),
    "too fast": lambda: speak(speed=4.5),
    "too long": lambda: speak(input="a" * 4097),
    "nothing to say": lambda: speak(input=""),
    "no such model": lambda: client.models.retrieve("no-such-model"),
    "no such path": lambda: client.post("/audio/nothing", cast_to=object),
    "no sound": lambda: write_down(file=("notes.wav", b"these are words, not sound" * 100)),
    "empty file": lambda: write_down(file=("empty.wav", b"")),
    "too large": lambda: write_down(file=("large.wav", bytes(27_000_000))),
    "too hot": lambda: write_down(temperature=1.5),
    "words of json": lambda: write_down(response_format="json", timestamp_granularities=["word"]),
}


def refused(request: Callable[[], Any]) -> dict[str, Any]:
    """Which error the SDK raises, with all that it knows."""
    try:
        request()
    except openai.APIStatusError as exc:
        return {
            "classes": [kind.__name__ for kind in type(exc).__mro__],
            "status": exc.status_code,
            "message": exc.message,
            "request_id": exc.request_id,
            "type": exc.type,
            "param": exc.param,
            "code": exc.code,
            "body": exc.body,
        }
    except openai.APIConnectionError as exc:
        return {"classes": [kind.__name__ for kind in type(exc).__mro__], "message": repr(exc.__cause__)}
    return {"classes": [], "message": "nothing was raised"}


def main() -> None:
    """All of it."""
    found: dict[str, Any] = {"version": openai.__version__}
    whole = [
        each_speech_format, each_text_format, streamed_speech, speech_to_a_file, speech_events, voices, speeds,
        word_times, all_parameters, streamed_text, uploads, translated, models, one_model,
    ]  # fmt: skip
    for ask in whole:
        try:
            found[ask.__name__] = ask()
        except openai.OpenAIError as exc:
            found[ask.__name__] = {"error": f"{type(exc).__name__}: {exc}"}
    for wait in (asynchronous, streamed_text_asynchronously):
        try:
            found[wait.__name__] = asyncio.run(wait())
        except* openai.OpenAIError as group:
            found[wait.__name__] = {"error": repr(group.exceptions)}
    sounds = found["asynchronous"].pop("sounds", [])
    for number, sound in enumerate(sounds):
        Path(f"async{number}.wav").write_bytes(sound)
    found["asynchronous"]["files"] = [f"async{number}.wav" for number in range(len(sounds))]
    found["errors"] = {name: refused(request) for name, request in ERRORS.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
