"""Hooks for schemathesis: what it uploads is a real recording as often as it is not."""

from __future__ import annotations

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

recordings = [path.read_bytes() for path in sorted(Path(os.environ["RECORDINGS"]).iterdir())]
schemathesis.openapi.format("binary", st.sampled_from(recordings) | st.binary(max_size=2000))
