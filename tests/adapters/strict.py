"""Requests as OpenAI's own schema wants them, checked strictly: the schemas CreateSpeechRequest,
CreateTranscriptionRequest and CreateTranslationRequest of its openapi.yml of 2026-05-31, and what their texts say about
models (which format and field goes with which). Unknown fields are forbidden there, so they are here.

    async with Service(strict(json_answer({"text": "x"}))) as service: ...
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from email.policy import HTTP

import soundfile

from .service import Request, Script, Wire, error

SPEECH = {"model", "input", "voice", "response_format", "speed", "instructions", "stream_format"}
TRANSCRIPTION = {
    *("file", "model", "language", "prompt", "response_format", "temperature", "stream"),
    *("include[]", "timestamp_granularities[]", "chunking_strategy", "known_speaker_names[]"),
    *(f"chunking_strategy[{key}]" for key in ("type", "prefix_padding_ms", "silence_duration_ms", "threshold")),
}
TRANSLATION = {"file", "model", "prompt", "response_format", "temperature"}
FORMATS = {"json", "text", "srt", "verbose_json", "vtt"}
MOST = 26_214_400


def strict(script: Script) -> Script:
    """The script for a request that is right; else 400 with what is wrong."""

    async def checked(request: Request, wire: Wire) -> None:
        wrong = problems(request)
        await (error("; ".join(wrong), 400) if wrong else script)(request, wire)

    return checked


def problems(request: Request) -> list[str]:
    """What is wrong with a request."""
    check: Callable[[Request], list[str]] | None = {
        "/v1/audio/speech": _speech,
        "/v1/audio/transcriptions": lambda r: _upload(r, TRANSCRIPTION, {*FORMATS, "diarized_json"}),
        "/v1/audio/translations": lambda r: _upload(r, TRANSLATION, FORMATS),
    }.get(request.path)
    if check is None or request.method != "POST":
        return [f"no such endpoint: {request.method} {request.path}"]
    return check(request)


def parts(request: Request) -> dict[str, list[bytes]]:
    """The values of a multipart form by name."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    found: dict[str, list[bytes]] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        found.setdefault(name, []).append(part.get_payload(decode=True))
        if part.get_filename():
            found["filename"] = [part.get_filename().encode()]
    return found


def _speech(request: Request) -> list[str]:
    if request.headers.get("content-type") != "application/json":
        return ["content-type is not application/json"]
    body = json.loads(request.body)
    wrong = [f"unknown field {name}" for name in body.keys() - SPEECH]
    wrong += [f"{name} is missing" for name in ("model", "input", "voice") if name not in body]
    text, voice, speed = body.get("input"), body.get("voice"), body.get("speed", 1)
    if not isinstance(text, str) or not 1 <= len(text) <= 4096:
        wrong.append("input is not a text of 1 to 4096 characters")
    if not isinstance(voice, str) and not (
        isinstance(voice, dict) and set(voice) == {"id"} and isinstance(voice["id"], str)
    ):
        wrong.append("voice is neither a name nor an id")
    if body.get("response_format", "mp3") not in {"mp3", "opus", "aac", "flac", "wav", "pcm"}:
        wrong.append("response_format")
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        wrong.append("speed")
    instructions = body.get("instructions", "")
    if not isinstance(instructions, str) or len(instructions) > 4096:
        wrong.append("instructions")
    if body.get("stream_format", "audio") not in {"audio", "sse"}:
        wrong.append("stream_format")
    if str(body.get("model")).startswith("tts-1"):
        wrong += ["sse is not for this model"] if body.get("stream_format") == "sse" else []
        wrong += ["instructions are not for this model"] if instructions else []
    return wrong


def _upload(request: Request, fields: set[str], formats: set[str]) -> list[str]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data; boundary="):
        return ["content-type is not multipart/form-data"]
    form = parts(request)
    wrong = [f"unknown field {name}" for name in form.keys() - fields - {"filename"}]
    wrong += [f"{name} is missing" for name in ("model", "file") if name not in form]
    wrong += [f"{name} comes twice" for name, values in form.items() if len(values) > 1 and not name.endswith("[]")]
    one = {name: values[0].decode() for name, values in form.items() if name != "file"}
    kind, model = one.get("response_format", "json"), one.get("model", "")
    if kind not in formats:
        wrong.append(f"response_format {kind}")
    if model.startswith("gpt-4o") and "diarize" not in model and kind != "json":
        wrong.append(f"response_format {kind} is not for {model}")
    return wrong + _file(form) + _values(one, form, kind, model)


def _file(form: Mapping[str, list[bytes]]) -> list[str]:
    (file,) = form.get("file", [b""])
    wrong = ["the file is too large"] if len(file) > MOST else []
    name = form.get("filename", [b""])[0].decode()
    if name.rpartition(".")[2] not in {"flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm"}:
        wrong.append(f"file name {name!r}")
    try:
        sound = soundfile.info(io.BytesIO(file))
    except soundfile.LibsndfileError:
        return [*wrong, "the file cannot be decoded"]
    return wrong if sound.duration >= 0.1 else [*wrong, "the sound is shorter than 0.1 s"]


def _values(one: Mapping[str, str], form: Mapping[str, list[bytes]], kind: str, model: str) -> list[str]:
    wrong: list[str] = []
    language = one.get("language", "en")
    if not (len(language) == 2 and language.isascii() and language.islower()):
        wrong.append(f"language {language!r} is not ISO 639-1")
    if not 0 <= float(one.get("temperature", "0")) <= 1:
        wrong.append("temperature")
    if one.get("stream", "false") not in {"true", "false"}:
        wrong.append("stream")
    times = {value.decode() for value in form.get("timestamp_granularities[]", [])}
    if times - {"word", "segment"} or (times and kind != "verbose_json"):
        wrong.append("timestamp_granularities")
    if include := form.get("include[]"):
        fits = kind == "json" and model.startswith("gpt-4o") and "diarize" not in model
        wrong += [] if include == [b"logprobs"] and fits else ["include"]
    if (
        one.get("chunking_strategy", "auto") != "auto"
        or one.get("chunking_strategy[type]", "server_vad") != "server_vad"
    ):
        wrong.append("chunking_strategy")
    return wrong
