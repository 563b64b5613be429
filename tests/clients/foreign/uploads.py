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
def map_body(context: Any, body: Any) -> Any:
    """`timestamp_granularities` need verbose_json, say the words of the document."""
    if isinstance(body, dict) and "timestamp_granularities" in body:
        body["response_format"] = "verbose_json"
    return body
