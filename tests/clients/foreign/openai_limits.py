"""How OpenAI's SDK for Python meets a server that lets a key ask only so often, as JSON on standard output.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python openai_limits.py N

Asks N times without retries, which uses up what is allowed, and then once with the SDK's own retries.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

client = openai.OpenAI(max_retries=0)
found: dict[str, Any] = {"refused": None}
for n in range(int(sys.argv[1])):
    try:
        client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.", response_format="pcm").read()
    except openai.RateLimitError as exc:
        found["refused"] = {
            "after": n,
            "status": exc.status_code,
            "body": exc.body,
            "request_id": exc.request_id,
            "retry_after": exc.response.headers.get("retry-after"),
        }
        break
patient = openai.OpenAI(max_retries=5)
raw = patient.audio.speech.with_raw_response.create(model="tts-1", voice="alloy", input="Hi.", response_format="pcm")
found["retries"] = raw.retries_taken
found["n_bytes"] = len(raw.content)
json.dump(found, sys.stdout)
