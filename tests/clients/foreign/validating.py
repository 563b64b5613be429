"""A service that accepts only what OpenAI's own OpenAPI document allows, and remembers what was wrong.

    python validating.py          prints its port; GET /requests tells [{"path", "fields", "wrong"}], and forgets them

It answers in the shapes of the same document, which are checked too: speech is a tone, a transcript always the same.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import subprocess
import sys
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema_rs
from document import official

DOCUMENT = official()
TEXT = "This is what I heard."
HZ = 24_000
TONE = b"".join(struct.pack("<h", round(8000 * math.sin(2 * math.pi * 440 * n / HZ))) for n in range(HZ))
ENCODERS = {
    "mp3": ("audio/mpeg", ["-f", "mp3"]),
    "opus": ("audio/ogg", ["-c:a", "libopus", "-f", "ogg"]),
    "aac": ("audio/aac", ["-f", "adts"]),
    "flac": ("audio/flac", ["-f", "flac"]),
    "wav": ("audio/wav", ["-f", "wav"]),
    "pcm": ("audio/pcm", ["-f", "s16le"]),
}
seen: list[dict[str, Any]] = []


def schema(name: str) -> Any:
    """The validator of a component."""
    root = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(root)


REQUESTS = {
    "/v1/audio/speech": "CreateSpeechRequest",
    "/v1/audio/transcriptions": "CreateTranscriptionRequest",
    "/v1/audio/translations": "CreateTranslationRequest",
}
VALIDATORS = {path: schema(name) for path, name in REQUESTS.items()}


def wrong(validator: Any, value: Any) -> list[str]:
    """What the document has against a value."""
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]


def form(kind: str, body: bytes, name: str) -> tuple[dict[str, Any], list[str]]:
    """The fields of a form in the types of a component, and what is wrong with their writing."""
    message = BytesParser(policy=HTTP).parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    properties = DOCUMENT["components"]["schemas"][name]["properties"]
    fields: dict[str, Any] = {}
    bad: list[str] = []
    if not message.is_multipart():
        return {}, [f"not a form: {kind}"]
    for part in message.iter_parts():
        key = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True) or b""
        if key == "file":
            if not part.get_filename():
                bad.append("file: has no name, so OpenAI takes it for text")
            if not content:
                bad.append("file: is empty")
            fields["file"] = "the bytes"
            continue
        value = content.decode()
        if listed := re.fullmatch(r"(\w+)\[\]", key):
            fields.setdefault(listed[1], []).append(value)
        elif nested := re.fullmatch(r"(\w+)\[(\w+)\]", key):
            fields.setdefault(nested[1], {})[nested[2]] = typed({}, value)
        elif key in fields:
            bad.append(f"{key}: comes twice")
        else:
            fields[key] = typed(properties.get(key, {}), value)
    return fields, bad


def typed(rule: dict[str, Any], value: str) -> Any:
    """A field of a form is text; the document says what it stands for."""
    kinds = {rule.get("type"), *(option.get("type") for option in rule.get("anyOf", ()))}
    if "string" in kinds:
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, bool | int | float | dict) else value


def sound(shape: str) -> bytes:
    """A second of a tone."""
    raw = ["ffmpeg", "-loglevel", "error", "-f", "s16le", "-ar", str(HZ), "-ac", "1", "-i", "-"]
    return subprocess.run([*raw, *ENCODERS[shape][1], "-"], input=TONE, capture_output=True, check=True).stdout


def transcript(fields: dict[str, Any]) -> tuple[str, bytes]:
    """Content type and body."""
    shape = fields.get("response_format", "json")
    if fields.get("stream"):
        delta = {"type": "transcript.text.delta", "delta": TEXT}
        done = {"type": "transcript.text.done", "text": TEXT}
        return "text/event-stream", b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (delta, done))
    if shape == "json":
        return "application/json", json.dumps({"text": TEXT, "usage": {"type": "duration", "seconds": 2}}).encode()
    if shape == "verbose_json":
        return "application/json", json.dumps(verbose(fields.get("timestamp_granularities", ["segment"]))).encode()
    times = {"srt": "1\n00:00:00,000 --> 00:00:01,500\n", "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n"}
    return "text/plain", (times.get(shape, "") + TEXT + "\n").encode()


def verbose(wanted: list[str]) -> dict[str, Any]:
    """With the times that were asked for."""
    words = [{"word": w, "start": 0.3 * n, "end": 0.3 * n + 0.25} for n, w in enumerate(TEXT.rstrip(".").split())]
    segment = {
        "id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": TEXT, "tokens": [1], "temperature": 0.0,
        "avg_logprob": -0.2, "compression_ratio": 0.8, "no_speech_prob": 0.01,
    }  # fmt: skip
    found: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": 2.0, "text": TEXT}
    if "segment" in wanted:
        found["segments"] = [segment]
    if "word" in wanted:
        found["words"] = words
    assert not wrong(schema("CreateTranscriptionResponseVerboseJson"), found)
    return found


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        """Whoever warms up a connection may ask anything."""
        self.answer(404, "application/json", b"")

    def do_GET(self) -> None:
        """What was asked."""
        if self.path != "/requests":
            self.answer(200, "application/json", b'{"object": "list", "data": []}')
            return
        self.answer(200, "application/json", json.dumps(seen).encode())
        seen.clear()

    def do_POST(self) -> None:
        """Checks and answers."""
        body = self.body()
        kind = self.headers.get("content-type", "")
        bad = [] if self.headers.get("authorization", "").startswith("Bearer ") else ["no bearer key"]
        if self.path not in REQUESTS:
            fields, bad = {}, [*bad, "no such path"]
        elif self.path == "/v1/audio/speech":
            bad += [] if kind.partition(";")[0] == "application/json" else [f"content type {kind}"]
            fields = json.loads(body)
        else:
            fields, writing = form(kind, body, REQUESTS[self.path])
            bad += writing
        bad += wrong(VALIDATORS[self.path], fields) if self.path in REQUESTS else []
        seen.append({"path": self.path, "fields": fields, "wrong": bad})
        if bad:
            error = {"message": "; ".join(bad), "type": "invalid_request_error", "param": None, "code": None}
            self.answer(400, "application/json", json.dumps({"error": error}).encode())
        elif self.path == "/v1/audio/speech":
            self.speak(fields)
        else:
            self.answer(200, *transcript(fields))

    def speak(self, fields: dict[str, Any]) -> None:
        """The tone."""
        shape = fields.get("response_format", "mp3")
        data = sound(shape)
        if fields.get("stream_format") != "sse":
            self.answer(200, ENCODERS[shape][0], data)
            return
        delta = {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        events = (delta, {"type": "speech.audio.done", "usage": usage})
        self.answer(200, "text/event-stream", b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events))

    def body(self) -> bytes:
        """Whole, chunked or not."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        whole = b""
        while n := int(self.rfile.readline().partition(b";")[0], 16):
            whole += self.rfile.read(n)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """One answer."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    server.daemon_threads = True
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
