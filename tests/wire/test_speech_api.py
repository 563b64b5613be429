"""The table of WIRE.md section 1: what is taken, and what every violation is answered with."""

import json

import pytest

from voiceloop.wire.speech_api import SpeechRequest, TextRequest, speech_request, text_request
from voiceloop.wire.speech_errors import Refusal

GOOD = {"model": "tts-1", "input": "Hello!", "voice": "alloy"}
FORM = {"model": ["whisper-1"]}


def speech(**fields: object) -> SpeechRequest:
    return speech_request(json.dumps({**GOOD, **fields}).encode())


def text(**fields: list[str]) -> TextRequest:
    return text_request({**FORM, **fields}, "transcribe")


def test_what_is_not_said_has_its_default() -> None:
    assert speech() == SpeechRequest("tts-1", "Hello!", "alloy", "mp3", 1.0, "", False)
    assert text() == TextRequest("whisper-1", "transcribe", "", "", "json", 0.0, False, False, True)


def test_null_is_not_said() -> None:
    assert speech(response_format=None, speed=None, instructions=None, stream_format=None) == speech()


def test_everything_may_be_said() -> None:
    request = speech(
        voice={"id": "mine"},
        response_format="opus",
        speed=4,
        instructions="Softly.",
        stream_format="sse",
        more={"x": 1},
    )
    assert request == SpeechRequest("tts-1", "Hello!", "mine", "opus", 4.0, "Softly.", True)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_of_sound(form: str) -> None:
    assert speech(response_format=form).format == form


def test_limits_are_in_characters() -> None:
    assert len(speech(input="\N{GRINNING FACE}" * 4096).text) == 4096
    assert len(speech(instructions="x" * 4096).instructions) == 4096
    assert speech(speed=0.25).speed == 0.25


BAD_SPEECH = [
    ({"model": None}, "model", "missing_required_parameter"),
    ({"model": " "}, "model", "missing_required_parameter"),
    ({"model": 3}, "model", "invalid_type"),
    ({"model": "x" * 257}, "model", "string_above_max_length"),
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": ["a"]}, "input", "invalid_type"),
    ({"input": ""}, "input", "string_below_min_length"),
    ({"input": " \n"}, "input", "string_below_min_length"),
    ({"input": "x" * 4097}, "input", "string_above_max_length"),
    ({"voice": None}, "voice", "missing_required_parameter"),
    ({"voice": ""}, "voice", "missing_required_parameter"),
    ({"voice": 7}, "voice", "invalid_type"),
    ({"voice": {"name": "x"}}, "voice", "invalid_type"),
    ({"voice": {"id": 7}}, "voice", "invalid_type"),
    ({"voice": "x" * 257}, "voice", "string_above_max_length"),
    ({"response_format": "ogg"}, "response_format", "invalid_value"),
    ({"response_format": 1}, "response_format", "invalid_type"),
    ({"speed": 0.2}, "speed", "invalid_value"),
    ({"speed": 4.1}, "speed", "invalid_value"),
    ({"speed": "1"}, "speed", "invalid_type"),
    ({"speed": True}, "speed", "invalid_type"),
    ({"instructions": "x" * 4097}, "instructions", "string_above_max_length"),
    ({"instructions": 1}, "instructions", "invalid_type"),
    ({"stream_format": "chunks"}, "stream_format", "invalid_value"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD_SPEECH)
def test_bad_speech(fields: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        speech(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


BAD_BODIES = [b"", b"{", b"[1]", b'"x"', b"null", b"\xff\xfe", b'{"model":"\xff"}', b"[" * 100_000, b'{"speed":1e999}']


@pytest.mark.parametrize("body", BAD_BODIES)
def test_no_json(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        speech_request(body)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, None, "invalid_json")


def test_fields_of_a_form() -> None:
    request = text_request(
        {
            "model": ["whisper-1"],
            "language": ["EN-us"],
            "prompt": ["kittens"],
            "response_format": ["verbose_json"],
            "temperature": ["0.2"],
            "timestamp_granularities[]": ["word", "segment"],
            "include[]": ["logprobs"],
            "chunking_strategy": ["auto"],
            "known_speaker_names[]": ["Ann"],
        },
        "translate",
    )
    assert request == TextRequest("whisper-1", "translate", "en", "kittens", "verbose_json", 0.2, False, True, True)


@pytest.mark.parametrize("form", ["json", "text", "srt", "verbose_json", "vtt"])
def test_every_format_of_text(form: str) -> None:
    assert text(response_format=[form]).format == form


def test_only_the_times_that_are_asked_for() -> None:
    request = text(**{"response_format": ["verbose_json"], "timestamp_granularities[0]": ["word"]})
    assert (request.words, request.segments) == (True, False)


@pytest.mark.parametrize(
    ("value", "stream"), [("true", True), ("True", True), ("1", True), ("false", False), ("", False), ("null", False)]
)
def test_flags(value: str, stream: bool) -> None:
    assert text(stream=[value]).stream is stream


def test_the_last_one_counts() -> None:
    assert text(model=["whisper-1", "other"]).model == "other"


@pytest.mark.parametrize(
    "fields",
    [
        {"chunking_strategy[type]": ["server_vad"], "chunking_strategy[threshold]": ["0.5"]},
        {"chunking_strategy": ['{"type": "server_vad", "silence_duration_ms": 300, "prefix_padding_ms": 200}']},
    ],
)
def test_chunking_is_understood(fields: dict[str, list[str]]) -> None:
    assert text(**fields) == text()


BAD_TEXT = [
    ({"model": []}, "model"),
    ({"model": [" "]}, "model"),
    ({"model": ["x" * 257]}, "model"),
    ({"language": ["english!"]}, "language"),
    ({"language": ["12"]}, "language"),
    ({"response_format": ["diarized_json"]}, "response_format"),
    ({"temperature": ["1.1"]}, "temperature"),
    ({"temperature": ["-0.1"]}, "temperature"),
    ({"temperature": ["nan"]}, "temperature"),
    ({"temperature": ["warm"]}, "temperature"),
    ({"stream": ["perhaps"]}, "stream"),
    ({"stream": ["true"], "response_format": ["srt"]}, "stream"),
    ({"timestamp_granularities[]": ["word"]}, "timestamp_granularities"),
    ({"timestamp_granularities[]": ["letter"], "response_format": ["verbose_json"]}, "timestamp_granularities"),
    ({"include[]": ["everything"]}, "include"),
    ({"chunking_strategy": ["never"]}, "chunking_strategy"),
    ({"chunking_strategy": ["{"]}, "chunking_strategy"),
    ({"chunking_strategy": ['{"type": 1}']}, "chunking_strategy"),
    ({"chunking_strategy": ['{"type": "server_vad", "threshold": 2}']}, "chunking_strategy"),
    ({"chunking_strategy": ['{"type": "server_vad", "threshold": "high"}']}, "chunking_strategy"),
    ({"chunking_strategy[type]": ["loud"]}, "chunking_strategy"),
    ({"chunking_strategy[threshold]": ["0.5"]}, "chunking_strategy"),
    (
        {"chunking_strategy[type]": ["server_vad"], "chunking_strategy[threshold]": ["x"]},
        "chunking_strategy[threshold]",
    ),
]


@pytest.mark.parametrize(("fields", "param"), BAD_TEXT)
def test_bad_fields(fields: dict[str, list[str]], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        text(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
