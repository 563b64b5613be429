"""Speech to text by any service with OpenAI's `POST audio/transcriptions` (shared/WIRE.md section 1)."""

from __future__ import annotations

import importlib
import io
import json
import wave
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from voiceloop.adapters.http import Answer, Service
from voiceloop.adapters.http_events import Events
from voiceloop.adapters.stt import answers
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import ProviderRefused
from voiceloop.ports import Runner, Transcript

SHORTEST = RATE // 10
"""OpenAI refuses recordings below 0.1 s; shorter ones get silence behind them."""

UNKNOWN = frozenset({400, 415, 422, 501})
"""What services answer to a field that they do not know."""

Form = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What every request asks for, where the call does not say otherwise.

    language: ISO 639-1. response_format: "json", "text", "srt", "verbose_json", "vtt"; "": what says most at no more
    cost or delay. temperature: 0..1. stream: words as they come, by services that send them so. upload: how sound is
    sent; "auto": as FLAC, if the service is on another machine and takes it. options: more fields, by their names at
    the service; lists are sent as `name[]`.
    """

    language: str | None = None
    prompt: str | None = None
    response_format: str = ""
    temperature: float = 0.0
    stream: bool = False
    upload: Literal["auto", "wav", "flac"] = "auto"
    options: Mapping[str, Any] | None = None


class OpenAiTranscriber:
    """A Transcriber, Timed and Translator that sends each segment as a file.

    What a service refuses though it is optional (verbose_json by gpt-4o-transcribe, times of words) is left out from
    then on.
    """

    longest = 13_000_000
    """The service takes 25 MB; a sample is two bytes."""

    def __init__(
        self, service: Service, model: str = "whisper-1", wishes: Wishes | None = None, *, runner: Runner | None = None
    ) -> None:
        """runner: where FLAC is made; without it that is done on the loop."""
        self._http = service.client("stt")
        self._model = model
        self._wishes = wishes or Wishes()
        self._runner = runner
        upload = self._wishes.upload
        self._uploads = (upload,) if upload != "auto" else ("wav",) if service.nearby else ("flac", "wav")
        self._level: dict[str, int] = {}
        """For each kind of call the first of its forms that was not refused."""

    async def warm_up(self) -> None:
        """Opens the connection; does not fail."""
        await self._http.warm_up()

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """pcm: int16 (n,), 16 kHz mono; nothing is sent for n = 0. Raises ProviderError. May be cancelled."""
        form = self._form(language=language, prompt=prompt)
        wished, forms = self._wishes.response_format, list[Form]()
        if wished or not self._model.startswith("gpt-4o"):
            forms.append({"response_format": wished or ("json" if self._wishes.stream else "verbose_json")})
        elif "diarize" not in self._model:
            forms.append({"response_format": "json", "include[]": ["logprobs"]})
        if self._wishes.stream:
            forms = [{**each, "stream": "true"} for each in [*forms, _PLAIN]]
        return await self._heard("transcriptions", "plain", pcm, form, [*forms, _PLAIN])

    async def transcribe_timed(
        self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0
    ) -> Transcript:
        """As `transcribe`, with the times of words, else of segments, else one segment for all."""
        form = self._form(language=language, prompt=prompt, temperature=temperature)
        words: Form = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
        found = await self._heard("transcriptions", "timed", pcm, form, [words, _VERBOSE, _PLAIN])
        return answers.within(found, pcm.size / RATE)

    async def translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        """What was said, in English, by services and models that translate."""
        form = self._form(prompt=prompt, temperature=temperature)
        form.pop("language", None)
        found = await self._heard("translations", "translate", pcm, form, [_VERBOSE, _PLAIN])
        return replace(answers.within(found, pcm.size / RATE), language="en")

    async def aclose(self) -> None:
        """Gives the connection back. Twice is legal."""
        await self._http.aclose()

    def _form(self, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0) -> Form:
        wishes = self._wishes
        language, prompt = language or wishes.language, prompt or wishes.prompt
        form: Form = {"model": self._model}
        if language:
            form["language"] = language
        if prompt:
            form["prompt"] = prompt
        if temperature := temperature or wishes.temperature:
            form["temperature"] = f"{temperature:g}"
        return form

    async def _heard(self, path: str, kind: str, pcm: Pcm, form: Form, forms: Sequence[Form]) -> Transcript:
        """The answer to the first of the forms that is not refused."""
        asked = cast("str | None", form.get("language"))
        if pcm.size == 0:
            return Transcript("", asked)
        ways = [(each, upload) for each in forms for upload in self._uploads]
        for level in range(self._level.get(kind, 0), len(ways)):
            extra, upload = ways[level]
            file = await self._file(pcm, upload)
            try:
                found = await self._ask(path, {**form, **extra, **_fields(self._wishes.options)}, file)
            except ProviderRefused as exc:
                doubted = exc.status in UNKNOWN or (exc.status == 500 and upload == "flac" != self._uploads[-1])
                # Once a form was taken, what is refused is the request itself.
                if not doubted or kind in self._level or level == len(ways) - 1:
                    raise
                continue
            self._level[kind] = level
            return found if found.language else replace(found, language=asked)
        raise AssertionError("there is always a last form")

    async def _ask(self, path: str, form: Form, file: tuple[str, bytes, str]) -> Transcript:
        private = [cast("str", form["prompt"])] if "prompt" in form else []
        async with self._http.open(f"audio/{path}", data=form, files={"file": file}, private=private) as answer:
            if answer.content_type == "text/event-stream":
                return await self._streamed(answer)
            body = await answer.read()
            found = answers.transcript(body, answer.content_type)
            plain_asked = form.get("response_format") in ("text", "srt", "vtt")
            if found is None or (not plain_asked and not body.lstrip().startswith(b"{")):
                raise answer.unexpected(body, "a transcript")
            return found

    async def _streamed(self, answer: Answer) -> Transcript:
        """The words of a stream, as soon as it says that they are all."""
        pieces: list[str] = []
        async with aclosing(_events(answer)) as events:
            async for event in events:
                match event.get("type"):
                    case "transcript.text.delta":
                        pieces.append(str(event.get("delta", "")))
                    case "transcript.text.done":
                        return answers.of_fields({"text": "".join(pieces), **event}) or Transcript("")
                    case "error":
                        raise answer.unexpected(json.dumps(event).encode(), "a transcript")
                    case _:
                        pass
        raise self._http.error("broke off its transcript: look at its log.", retryable=True)

    async def _file(self, pcm: Pcm, upload: str) -> tuple[str, bytes, str]:
        if upload == "wav":
            return "speech.wav", wav(pcm), "audio/wav"
        data = await self._runner.call(lambda: flac(pcm)) if self._runner else flac(pcm)
        return "speech.flac", data, "audio/flac"


_PLAIN: Form = {"response_format": "json"}
_VERBOSE: Form = {"response_format": "verbose_json"}


def _fields(options: Mapping[str, Any] | None) -> Form:
    """Options as fields of a form."""
    found: Form = {}
    for name, value in (options or {}).items():
        if isinstance(value, list | tuple):
            found[name if name.endswith("]") else f"{name}[]"] = [_written(v) for v in cast("Sequence[object]", value)]
        elif isinstance(value, Mapping):
            found |= {f"{name}[{key}]": _written(v) for key, v in cast("Mapping[str, object]", value).items()}
        else:
            found[name] = _written(value)
    return found


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _events(answer: Answer) -> AsyncGenerator[answers.Fields, None]:
    """The JSON objects of an event stream; what is none is skipped."""
    events = Events()
    async with aclosing(answer.chunks()) as chunks:
        async for data in chunks:
            for event in events.feed(data):
                try:
                    found: object = json.loads(event)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield cast("answers.Fields", found)


def wav(pcm: Pcm) -> bytes:
    """A 16 kHz mono WAV file of at least 0.1 s."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(_long_enough(pcm).astype("<i2", copy=False).tobytes())
    return file.getvalue()


def flac(pcm: Pcm) -> bytes:
    """The same as FLAC, about half as long; blocks for about 0.2 ms for each second of sound."""
    library: Any = importlib.import_module("soundfile")
    file = io.BytesIO()
    library.write(file, _long_enough(pcm), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _long_enough(pcm: Pcm) -> Pcm:
    return pcm if pcm.size >= SHORTEST else np.concatenate((pcm, silence(SHORTEST - pcm.size)))
