"""Sections of the configuration that are about one command only. Their defaults stand in configs/default.toml too."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

_Seconds = Annotated[float, Meta(gt=0.0, le=3600.0)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class ServeSection(Struct, frozen=True, forbid_unknown_fields=True):
    """`voiceloop serve`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    keys: str = ""
    hosts: list[str] = []
    origins: list[str] = []
    embed: list[str] = []
    tls_cert: str = ""
    tls_key: str = ""
    at_once: Annotated[int, Meta(ge=1, le=1000)] = 4
    queue: _Count = 32
    wait_s: _Seconds = 30.0
    per_key: _Count = 0
    per_minute: _Count = 0
    idle_s: _Seconds = 60.0
    piece_s: _Seconds = 60.0
    max_hours: Annotated[float, Meta(gt=0.0, le=1000.0)] = 4.0
    sessions: _Count = 100
    sessions_each: _Count = 0
    queue_age_s: _Seconds = 10.0
    keep_s: _Seconds = 30.0
    session_idle_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 0.0
    session_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 0.0
    realtime_barge_in: Literal["judged", "fast"] = "judged"
    voices: dict[str, str] = {}
    models: dict[str, str] = {}
    unknown_models: Literal["default", "error"] = "default"
