"""Hooks for schemathesis: what it uploads is often a real recording, and a rule is kept that no schema can hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

recordings = [path.read_bytes() for path in sorted(Path(os.environ["RECORDINGS"]).iterdir())]
schemathesis.openapi.format("binary", st.sampled_from(recordings) | st.binary(max_size=2000))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """`timestamp_granularities` need verbose_json, say the words of the document."""
    body = case.body
    timed = isinstance(body, dict) and "timestamp_granularities" in body
    if timed and body.get("response_format", "json") in ("json", "text", "srt", "vtt"):
        body["response_format"] = "verbose_json"
