"""Whatever comes in, it is a request or a refusal, never a bug."""

from contextlib import suppress

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.wire.speech_api import speech_request, text_request
from voiceloop.wire.speech_errors import Refusal

SPEECH_FIELDS = ("model", "input", "voice", "response_format", "speed", "instructions", "stream_format", "id", "other")
TEXT_FIELDS = (
    *("model", "language", "prompt", "response_format", "temperature", "stream", "timestamp_granularities[]"),
    *("include[]", "chunking_strategy", "chunking_strategy[type]", "chunking_strategy[threshold]", "other"),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["mp3", "sse", "alloy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SPEECH_FIELDS), inner, max_size=5),
    max_leaves=12,
)
text = st.text(max_size=30) | st.sampled_from(["whisper-1", "json", "verbose_json", "word", "true", "0.5", "en", "{}"])


@given(st.dictionaries(st.sampled_from(SPEECH_FIELDS), json))
def test_any_json(fields: dict[str, object]) -> None:
    with suppress(Refusal):
        request = speech_request(msgspec.json.encode(fields))
        assert request.text.strip()
        assert 0.25 <= request.speed <= 4.0


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    with suppress(Refusal):
        speech_request(body)


@given(st.dictionaries(st.sampled_from(TEXT_FIELDS), st.lists(text, max_size=3)))
def test_any_form(fields: dict[str, list[str]]) -> None:
    with suppress(Refusal):
        request = text_request(fields, "transcribe")
        assert request.model.strip()
        assert 0.0 <= request.temperature <= 1.0
