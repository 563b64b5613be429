"""How long and how much: a part of adapters/http.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. Seconds; sizes in bytes.

    connect_s: name look-up, TCP and TLS. first_byte_s: to send the request, then again to the answer, then again to
    its first byte. chunk_s: between pieces of the body. total_s: sum of all waits for one body; the consumer's own
    time does not count. backoff_s: before the second attempt, doubled for each more. longest_wait_s: a service that
    asks for a longer pause is not asked again.
    """

    connect_s: float
    first_byte_s: float
    chunk_s: float
    total_s: float
    total_bytes: int
    retries: int
    backoff_s: float
    longest_wait_s: float
