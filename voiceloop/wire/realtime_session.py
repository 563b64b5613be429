"""The session object of OpenAI Realtime: what it holds, how it is changed, and which policy of ours it means."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy, preset
from voiceloop.wire.realtime import PCM_RATE, Json, Refusal, converted, merged

Ms = Annotated[int, Meta(ge=0, le=60_000)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Text = Annotated[str, Meta(max_length=200_000)]
Modality = Literal["text", "audio"]
MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)] | Literal["inf"]
Format = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

DEFAULT_VOICE = "alloy"
_LONGEST_S = {"low": 8, "medium": 4, "auto": 4, "high": 2}
"""How long `semantic_vad` waits at most, by eagerness (OpenAI's guide to turn detection)."""

_AHEAD = 4
"""Clauses made beyond the one that is heard: clients want all of a response as soon as it can be had."""


class Sound(Struct, frozen=True, omit_defaults=True):
    """An audio format."""

    type: Format = "audio/pcm"
    rate: Literal[24_000, 8_000] | None = None

    def to_json(self) -> Json:
        """As the session object shows it."""
        return {"type": self.type, "rate": PCM_RATE} if self.type == "audio/pcm" else {"type": self.type}


class ServerVad(Struct, frozen=True, tag_field="type", tag="server_vad"):
    """A turn ends after a silence."""

    threshold: Share = 0.5
    prefix_padding_ms: Ms = 300
    silence_duration_ms: Ms = 500
    idle_timeout_ms: Annotated[int, Meta(ge=1000, le=600_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Struct, frozen=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when what was said sounds complete."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(Struct, frozen=True, omit_defaults=True):
    """The user's words are told. Which model finds them is ours to say."""

    model: str | None = None
    language: Annotated[str, Meta(max_length=40)] | None = None
    prompt: Text | None = None


class Noise(Struct, frozen=True):
    """Accepted, and left to the configuration."""

    type: Literal["near_field", "far_field"] | None = None


class Input(Struct, frozen=True):
    """What the client sends."""

    format: Sound = Sound()
    transcription: Transcription | None = None
    noise_reduction: Noise | None = None
    turn_detection: ServerVad | SemanticVad | None = ServerVad()


class VoiceId(Struct, frozen=True):
    """A voice by its id."""

    id: Annotated[str, Meta(max_length=200)]


class Output(Struct, frozen=True):
    """What it is sent."""

    format: Sound = Sound()
    voice: Annotated[str, Meta(max_length=200)] | VoiceId = DEFAULT_VOICE
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0

    @property
    def voice_name(self) -> str:
        """The voice, however it was given."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class Audio(Struct, frozen=True):
    """Both directions."""

    input: Input = Input()
    output: Output = Output()


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that the client can run. Other types of tools are refused where they are given."""

    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    description: Text | None = None
    parameters: Json | None = None


class Choice(Struct, frozen=True):
    """The one tool that is to be called."""

    type: Literal["function"]
    name: str


class RealtimeSession(Struct, frozen=True):
    """What can be set. Keys that are not here are tolerated and forgotten."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: str = ""
    instructions: Text | None = None
    output_modalities: Annotated[list[Modality], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: list[Modality](["audio"])
    )
    tools: Annotated[list[Tool], Meta(max_length=500)] = msgspec.field(default_factory=lambda: list[Tool]())
    tool_choice: Literal["auto", "none", "required"] | Choice = "auto"
    max_output_tokens: MaxTokens = "inf"
    audio: Audio = Audio()

    @property
    def turn_detection(self) -> ServerVad | SemanticVad | None:
        """None: turns are the client's."""
        return self.audio.input.turn_detection

    @property
    def answers(self) -> bool:
        """Whether a turn that was heard is answered without being asked."""
        detection = self.turn_detection
        return self.type == "realtime" and detection is not None and detection.create_response

    @property
    def speaks(self) -> bool:
        """Whether answers are spoken."""
        return "audio" in self.output_modalities

    def to_json(self, id: str, expires_at: int) -> Json:
        """The session object."""
        own: Json = msgspec.to_builtins(self)
        own["audio"]["input"]["format"] = self.audio.input.format.to_json()
        own["audio"]["output"]["format"] = self.audio.output.format.to_json()
        fixed: Json = {"object": "realtime.session", "id": id, "expires_at": expires_at}
        rest: Json = {"truncation": "auto", "tracing": None, "prompt": None, "include": None}
        return {**fixed, **own, **rest}


_DEFAULTS: Json = msgspec.to_builtins(RealtimeSession())


def updated(session: RealtimeSession, patch: Json, *, spoken: bool = False) -> RealtimeSession:
    """The session after a `session.update`. spoken: it has been heard in its voice, which then stays the same.

    Raises Refusal.
    """
    _check_tools(patch)
    values = merged(msgspec.to_builtins(session), patch)
    new: RealtimeSession = converted(_without_nulls(values, _DEFAULTS), RealtimeSession, "session")
    if spoken and new.audio.output.voice_name != session.audio.output.voice_name:
        raise Refusal(
            "The voice cannot be changed any more once it was heard.",
            code="cannot_update_voice",
            param="session.audio.output.voice",
        )
    return new


def sounding(session: RealtimeSession, format: Sound | None, voice: str | VoiceId | None) -> RealtimeSession:
    """The session, as one response wants to be spoken; None: as it is."""
    old = session.audio.output
    output = msgspec.structs.replace(old, format=format or old.format, voice=voice or old.voice)
    return msgspec.structs.replace(session, audio=msgspec.structs.replace(session.audio, output=output))


def _check_tools(patch: Json) -> None:
    tools: Any = patch.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else []):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        kind: Any = tool.get("type") if isinstance(tool, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(kind, str) and kind != "function":
            raise Refusal(
                f"Tools of the type {kind[:40]!r} are not run here; functions are.",
                param=f"session.tools[{number}].type",
            )


def _without_nulls(values: Json, defaults: Json) -> Json:
    """null means the default where there is one that is not null itself."""
    out: Json = {}
    for key, value in values.items():
        usual = defaults.get(key)
        if value is None and usual is not None and key != "turn_detection":
            continue
        out[key] = _without_nulls(value, usual) if isinstance(value, dict) and isinstance(usual, dict) else value  # pyright: ignore[reportUnknownArgumentType]
    return out


def policy_of(session: RealtimeSession, base: Policy, *, fast: bool = False) -> Policy:
    """Our policy for such a session. base: the configured one. fast: a voice stops what is said at once.

    No sentence of our own is said: the client knows only what its handler says. Speech is made as far ahead as it is
    sent ahead. No turn is reopened: an item that was given is not taken back. With `semantic_vad` the evidence decides
    (eagerness is one of our presets), with `server_vad` the silence alone. Without turn detection nothing that the
    microphone hears begins a turn.
    """
    detection = session.turn_detection
    quiet = replace(
        base,
        moment="",
        still="",
        sorry_stt="",
        sorry_handler="",
        back="",
        reopen=0,
        reprompt_after=0,
        end_after=0,
        ahead=max(base.ahead, _AHEAD),
    )
    if detection is None:
        return replace(quiet, push_to_talk=True)
    manner = ("stop" if fast else "pause") if detection.interrupt_response else "finish_reply"
    p = replace(quiet, push_to_talk=False, barge_in=manner, barge_in_thinking=manner if manner != "stop" else "pause")
    if isinstance(detection, ServerVad):
        wait = max(ticks(detection.silence_duration_ms / 1000), p.pause)
        return replace(
            p,
            on=detection.threshold,
            off=min(p.off, max(0.0, detection.threshold - 0.15)),
            pre_roll=ticks(detection.prefix_padding_ms / 1000),
            wait=wait,
            waits=(),
            late=0,
            reprompt_after=ticks((detection.idle_timeout_ms or 0) / 1000),
        )
    eager = preset(detection.eagerness)
    longest = ticks(_LONGEST_S[detection.eagerness])
    waits = tuple((finished, min(wait, longest)) for finished, wait in eager.waits)
    return replace(p, wait=eager.wait, waits=waits, late=min(eager.late, longest))
