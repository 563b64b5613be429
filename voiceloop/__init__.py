"""A real-time voice assistant loop: speak, pause, and it answers; interrupt, and it stops.

`Assistant` is for plain scripts, `Session` for asyncio users. Names are loaded when they are first used, so that
`import voiceloop` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceloop.assistant import Assistant
    from voiceloop.config import Config, load_config
    from voiceloop.errors import (
        ConfigError,
        DeviceError,
        MediaError,
        ProtocolError,
        ProviderError,
        ProviderRefused,
        ProviderTimeout,
        VoiceloopError,
    )
    from voiceloop.session.session import Session

__version__ = "0.1.0"

__all__ = [
    "Assistant",
    "Config",
    "ConfigError",
    "DeviceError",
    "MediaError",
    "ProtocolError",
    "ProviderError",
    "ProviderRefused",
    "ProviderTimeout",
    "Session",
    "VoiceloopError",
    "__version__",
    "load_config",
]

_LAZY = {
    "Assistant": "voiceloop.assistant",
    "Config": "voiceloop.config",
    "ConfigError": "voiceloop.errors",
    "DeviceError": "voiceloop.errors",
    "MediaError": "voiceloop.errors",
    "ProtocolError": "voiceloop.errors",
    "ProviderError": "voiceloop.errors",
    "ProviderRefused": "voiceloop.errors",
    "ProviderTimeout": "voiceloop.errors",
    "Session": "voiceloop.session.session",
    "VoiceloopError": "voiceloop.errors",
    "load_config": "voiceloop.config",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
