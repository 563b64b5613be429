"""`POST /v1/audio/transcriptions` and translations: forms of every kind, and every form of answer."""

import io
import json
import tempfile
import wave
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.serving import Script, app_of, bench, client, error_of, uploads
from voiceloop import build
from voiceloop.core.audio import RATE, Pcm
from voiceloop.errors import ProviderError
from voiceloop.ports import Transcript
from voiceloop.server.bench import PIECE_S
from voiceloop.server.orders import Facts, Heard, Recording, Said
from voiceloop.server.uploads import MAX_FILE, MAX_REST
from voiceloop.testing import FakeTranscriber, script
from voiceloop.wire.speech_errors import Refusal

PATH = "/v1/audio/transcriptions"
HEARD = (
    Said("Hello", 0.5, 0.9, -0.25, [Said("Hello", 0.5, 0.9)]),
    Said("there.", 1.0, 1.5, None, [Said("there.", 1.0, 1.5)]),
    Heard(2.25, "en"),
)
TRANSLATES = Facts("fake", "fake", [], True)


def wav(pcm: Pcm, rate: int = RATE) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return data.getvalue()


async def transcribe(work, folder: Path, *, file: bytes = b"sound", path: str = PATH, **fields) -> httpx.Response:
    async with client(app_of(work, folder)) as http:
        answer = await http.post(path, data={"model": "whisper-1", **fields}, files={"file": ("x.wav", file)})
    assert uploads(folder) == []
    return answer


async def test_json(tmp_path: Path) -> None:
    answer = await transcribe(Script(*HEARD), tmp_path)
    assert answer.json() == {"text": "Hello there.", "usage": {"type": "duration", "seconds": 3}}


async def test_everything_reaches_the_engine(tmp_path: Path) -> None:
    work = Script(*HEARD)
    await transcribe(
        work,
        tmp_path,
        language="en",
        prompt="kittens",
        temperature="0.4",
        response_format="verbose_json",
        **{"timestamp_granularities[]": ["word"]},
    )
    [order] = work.orders
    assert isinstance(order, Recording)
    assert Path(order.path).parent == tmp_path
    assert (order.task, order.language, order.prompt, order.temperature, order.words) == (
        "transcribe",
        "en",
        "kittens",
        0.4,
        True,
    )


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_the_file_is_there_while_it_is_worked_on(tmp_path: Path) -> None:
    class Reader(Script):
        async def run(self, order):
            self.read = content(order.path)
            yield Heard(0.0, None)

    work = Reader()
    data = bytes(range(256)) * 4000
    assert (await transcribe(work, tmp_path, file=data)).status_code == 200
    assert work.read == data


async def test_verbose_json(tmp_path: Path) -> None:
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    answer = (await transcribe(Script(*HEARD), tmp_path, **fields)).json()
    assert (answer["task"], answer["language"], answer["duration"]) == ("transcribe", "english", 2.25)
    assert [segment["text"] for segment in answer["segments"]] == ["Hello", "there."]
    assert [word["start"] for word in answer["words"]] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("text", "Hello there.\n"),
        ("srt", "1\n00:00:00,500 --> 00:00:01,500\nHello there.\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHello there.\n\n"),
    ],
)
async def test_text(tmp_path: Path, form: str, body: str) -> None:
    heard = (Said("Hello there.", 0.5, 1.5, None, [Said("Hello", 0.5, 0.9), Said("there.", 1.0, 1.5)]), HEARD[-1])
    answer = await transcribe(Script(*heard), tmp_path, response_format=form)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == body


async def test_events(tmp_path: Path) -> None:
    answer = await transcribe(Script(*HEARD), tmp_path, stream="true")
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event["delta"] for event in events[:2]) == events[2]["text"] == "Hello there."


async def test_an_error_among_events_is_an_event(tmp_path: Path) -> None:
    work = Script(HEARD[0], Refusal(503, "Gone.", code="worker_unavailable"))
    events = [
        json.loads(line[6:]) for line in (await transcribe(work, tmp_path, stream="true")).text.split("\n\n") if line
    ]
    assert [event["type"] for event in events] == ["transcript.text.delta", "error"]


async def test_an_error_before_the_first_event_is_an_answer(tmp_path: Path) -> None:
    answer = await transcribe(Script(Refusal(503, "Gone.", code="worker_unavailable")), tmp_path, stream="true")
    assert error_of(answer) == (503, None, "worker_unavailable")


async def test_translations(tmp_path: Path) -> None:
    work = Script(*HEARD, facts=TRANSLATES)
    answer = await transcribe(work, tmp_path, path="/v1/audio/translations", response_format="verbose_json")
    assert (answer.json()["task"], answer.json()["language"]) == ("translate", "english")
    assert [order.task for order in work.orders if isinstance(order, Recording)] == ["translate"]
    refused = await transcribe(Script(*HEARD), tmp_path, path="/v1/audio/translations")
    assert error_of(refused) == (400, "model", "unsupported")


# --- forms ---


def form(*parts: tuple[str, bytes], boundary: str = "x", end: bool = True) -> bytes:
    """A form as others write it: the first word of each part is its Content-Disposition."""
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts)
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


def part(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


UPLOAD = (part("file", '; filename="upload"') + "\r\nContent-Type: application/octet-stream", b"sound")
MODEL = (part("model"), b"whisper-1")


async def post(folder: Path, content: bytes | AsyncIterator[bytes], kind: str = "multipart/form-data; boundary=x"):
    async with client(app_of(Script(*HEARD), folder)) as http:
        answer = await http.post(PATH, content=content, headers={"content-type": kind})
    assert uploads(folder) == []
    return answer


async def stream(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize(
    "parts",
    [
        (UPLOAD, MODEL),
        (MODEL, UPLOAD),
        (MODEL, (part("file"), b"no name, no type")),
        (MODEL, (part("file", '; filename="a;b.webm"') + "\r\nContent-Type: video/webm", b"x")),
        (MODEL, (part("other", '; filename="more.txt"'), b"tolerated"), UPLOAD),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_forms_of_any_order_and_in_any_pieces(tmp_path: Path, parts, size: int) -> None:
    assert (await post(tmp_path, stream(form(*parts), size))).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (form(MODEL), 400, "file"),
        (form((part("file"), b""), MODEL), 400, "file"),
        (form(UPLOAD, UPLOAD, MODEL), 400, "file"),
        (form(UPLOAD), 400, "model"),
        (form(UPLOAD, MODEL, end=False), 400, None),
        (form(UPLOAD, MODEL)[:60], 400, None),
        (b"", 400, None),
        (b"rubbish", 400, None),
        (form(UPLOAD, (part("model"), b"\xff")), 400, "model"),
        (form(UPLOAD, MODEL, (part("prompt"), b"x" * (MAX_REST + 1))), 413, "prompt"),
        (form(*[(part("a"), b"")] * 101), 400, None),
        (form(("X-Long: " + "x" * 100_000, b"")), 400, None),
    ],
)
async def test_forms_that_are_wrong(tmp_path: Path, body: bytes, status: int, param: str | None) -> None:
    assert error_of(await post(tmp_path, body))[:2] == (status, param)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 415),
        ("audio/wav", 415),
        ("", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=" + "y" * 300, 400),
    ],
)
async def test_what_is_no_form(tmp_path: Path, kind: str, status: int) -> None:
    assert error_of(await post(tmp_path, form(UPLOAD, MODEL), kind))[0] == status


def large(n: int) -> Iterable[tuple[str, bytes]]:
    return (MODEL, (part("file", '; filename="x"'), bytes(n)))


async def test_the_largest_file(tmp_path: Path) -> None:
    assert (await post(tmp_path, form(*large(MAX_FILE)))).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_that_is_larger(tmp_path: Path, chunked: bool) -> None:
    body = form(*large(MAX_FILE + 1))
    answer = await post(tmp_path, stream(body, 65536) if chunked else body)
    assert error_of(answer) == (413, "file", "payload_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_length_that_is_too_large_is_enough(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(1000)

    async with client(app_of(Script(*HEARD), tmp_path)) as http:
        headers = {"content-type": "multipart/form-data; boundary=x", "content-length": "99999999999"}
        assert error_of(await http.post(PATH, content=body(), headers=headers))[0] == 413


# --- with the real work ---

SPEECH = wav(script(-0.5, 2.0, -0.5))


async def test_a_real_recording(tmp_path: Path) -> None:
    engine = FakeTranscriber(["Hello there."], delay_s=0)
    answer = await transcribe(bench(engine), tmp_path, file=SPEECH, response_format="verbose_json")
    assert (answer.json()["text"], answer.json()["duration"]) == ("Hello there.", 3.0)
    [segment] = answer.json()["segments"]
    assert segment["start"] == pytest.approx(0.5, abs=0.1)
    assert segment["end"] == pytest.approx(2.5, abs=0.1)


async def test_pieces_are_short(tmp_path: Path) -> None:
    engine = FakeTranscriber(delay_s=0)
    assert (await transcribe(bench(engine), tmp_path, file=wav(script(47.0)))).status_code == 200
    assert len(engine.heard) >= 3
    assert max(engine.heard) <= PIECE_S
    assert sum(engine.heard) == pytest.approx(47.0, abs=0.5)


@pytest.mark.parametrize("data", [b"no sound at all" * 100, b"\x00" * 5000, SPEECH[:44], b"RIFF"])
async def test_what_is_no_recording(tmp_path: Path, data: bytes) -> None:
    answer = await transcribe(bench(), tmp_path, file=data)
    assert error_of(answer) == (400, "file", "invalid_file")
    assert str(tmp_path) not in answer.text
    assert "upload-" not in answer.text


def video() -> bytes:
    """A film without sound."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            film.mux(stream.encode(picture))
        film.mux(stream.encode())
    return data.getvalue()


async def test_a_film_without_sound(tmp_path: Path) -> None:
    answer = await transcribe(bench(), tmp_path, file=video())
    assert error_of(answer) == (400, "file", "invalid_file")
    assert "sound" in answer.json()["error"]["message"]


async def test_a_recording_without_speech(tmp_path: Path) -> None:
    engine = FakeTranscriber(delay_s=0)
    answer = await transcribe(bench(engine), tmp_path, file=wav(np.zeros(5 * RATE, np.int16)))
    assert (answer.json()["text"], answer.json()["usage"]["seconds"], engine.heard) == ("", 5, [])


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
async def test_what_the_server_speaks_it_hears(tmp_path: Path, form: str) -> None:
    encoder = build.encoder(form, RATE)
    file = encoder.feed(script(-0.5, 2.0, -0.5)) + encoder.finish()  # streamed: it does not know its length
    answer = await transcribe(bench(FakeTranscriber(["Hello."], delay_s=0)), tmp_path, file=file)
    assert answer.json() == {"text": "Hello.", "usage": {"type": "duration", "seconds": pytest.approx(3, abs=1)}}


async def test_a_recording_that_is_too_long_by_its_head(tmp_path: Path) -> None:
    answer = await transcribe(bench(max_s=2.0), tmp_path, file=SPEECH)
    assert error_of(answer) == (400, "file", "file_too_long")


async def test_a_recording_that_turns_out_too_long(tmp_path: Path) -> None:
    streamed = bytearray(wav(np.zeros(10 * RATE, np.int16)))
    streamed[4:8] = streamed[40:44] = b"\xff\xff\xff\xff"
    answer = await transcribe(bench(max_s=2.0), tmp_path, file=bytes(streamed))
    assert error_of(answer) == (400, "file", "file_too_long")


async def test_an_engine_that_fails(tmp_path: Path) -> None:
    engine = FakeTranscriber([ProviderError("Gone.", stage="stt", retryable=True)], delay_s=0)
    assert error_of(await transcribe(bench(engine), tmp_path, file=SPEECH)) == (503, None, "engine_error")


class Both(FakeTranscriber):
    """Times its words, and translates."""

    def __init__(self) -> None:
        super().__init__(delay_s=0)
        self.asked: list[tuple[str, str | None, float]] = []

    async def transcribe_timed(self, pcm, *, language=None, prompt=None, temperature=0.0) -> Transcript:
        self.asked.append(("timed", language, temperature))
        return Transcript("Hallo.", "de")

    async def translate(self, pcm, *, prompt=None, temperature=0.0) -> Transcript:
        self.asked.append(("translate", prompt, temperature))
        return Transcript("Hello.")


async def test_engines_that_can_more(tmp_path: Path) -> None:
    engine = Both()
    work = bench(engine)
    assert work.facts.translates
    answer = await transcribe(work, tmp_path, file=SPEECH, language="de", temperature="0.5")
    assert answer.json()["text"] == "Hallo."
    answer = await transcribe(work, tmp_path, file=SPEECH, path="/v1/audio/translations", prompt="cats")
    assert answer.json()["text"] == "Hello."
    assert engine.asked == [("timed", "de", 0.5), ("translate", "cats", 0.0)]


@settings(max_examples=40)
@given(st.binary(max_size=300), st.integers(1, 40))
async def test_any_body(data: bytes, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        body = form(MODEL, (part("file"), data)) + data
        for cut in (body, data, body[: len(data)]):
            assert (await post(Path(folder), stream(cut, size))).status_code in (200, 400)
