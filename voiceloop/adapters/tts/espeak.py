"""espeak-ng as a subprocess: a hundred languages, a robot's voice, and the sound begins after 37 ms."""

from __future__ import annotations

import asyncio
import struct
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress

import numpy as np

from voiceloop.adapters.tts.manners import Stretch, no_stretch, shares, stretched
from voiceloop.adapters.tts.trim import Trimmer
from voiceloop.core.audio import Pcm
from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout
from voiceloop.ports import Manner

PROGRAM = "espeak-ng"

_WORDS = 175
"""Words a minute that are its usual speed, and """

_OWN = (80 / _WORDS, 450 / _WORDS)
"""the fewest and most that it does by itself (its manual)."""

_READ = 8192
"""Bytes read at a time: 0.19 s of speech."""


class Espeak:
    """A `Synthesizer` in any language that espeak-ng has.

    voice: a name from `espeak-ng --voices`, such as "en", "de" or "en-gb+f3". The text goes in by stdin, so that
    no word shows in the list of processes. voice, speed: where a `Manner` does not say. stretch: for speeds below
    0.46 and above 2.57. timeout_s: for each piece of sound. Raises ConfigError if the voice looks like an option.
    """

    def __init__(
        self,
        voice: str = "en",
        *,
        speed: float = 1.0,
        stretch: Stretch = no_stretch,
        timeout_s: float = 10.0,
    ) -> None:
        if not voice or voice.startswith("-"):
            raise _unknown(voice)
        shares(speed, *_OWN)
        self._voice = voice
        self._speed = speed
        self._stretch = stretch
        self._voices: tuple[str, ...] = ()
        self._timeout_s = timeout_s
        self._rate = 22_050

    @property
    def rate(self) -> int:
        """What the voice speaks at, Hz: 22050, but 16000 for the mbrola voices. Sure after `warm_up`."""
        return self._rate

    @property
    def voices(self) -> tuple[str, ...]:
        """Languages that it lists, as "en-gb"; behind each may stand a variant, as in "en-gb+f3"."""
        return self._voices

    async def warm_up(self) -> None:
        """Speaks a word to nobody. Raises ConfigError if the program or the voice is missing."""
        async with _running(["-v", self._voice, "-b", "1", "--stdin", "--stdout"], "a") as process:
            head = await _head(process, self._timeout_s)
        if head is None:
            raise _unknown(self._voice)
        self._rate = head
        async with _running(["--voices"], "") as process:
            listed = await _exactly(process, 1 << 20, self._timeout_s)
        # Pty Language Age/Gender VoiceName ...
        lines = listed.decode("utf-8", "replace").splitlines()[1:]
        self._voices = tuple(dict.fromkeys(line.split()[1] for line in lines if len(line.split()) > 1))

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """int16 chunks at `rate`, silence before and after trimmed (tts/trim.py). Text without sound yields nothing.

        Raises ConfigError if the program or what the manner asks for is missing, ProviderError. May be cancelled: the
        process is killed.
        """
        manner = manner or Manner()
        voice = manner.voice or self._voice
        # Names of its own, as "english-us", were tried when it was warmed up.
        known = voice == self._voice or not self._voices or voice.partition("+")[0] in self._voices
        if voice.startswith("-") or not known:
            raise _unknown(voice)
        own, rest = shares(self._speed if manner.speed is None else manner.speed, *_OWN)
        sound = self._trimmed(text, voice, own)
        async with aclosing(stretched(sound, self._rate, rest, self._stretch)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Nothing to give back: each `speak` owns its process."""

    async def _trimmed(self, text: str, voice: str, speed: float) -> AsyncGenerator[Pcm, None]:
        trimmer = Trimmer(self._rate)
        async with aclosing(self._sound(text, voice, speed)) as sound:
            async for piece in sound:
                if (pcm := trimmer.feed(piece)).size:
                    yield pcm
        if (pcm := trimmer.flush()).size:
            yield pcm

    async def _sound(self, text: str, voice: str, speed: float) -> AsyncGenerator[Pcm, None]:
        """The samples as the program writes them, cut anywhere."""
        # [[ ]] would be read as phonemes.
        text = text.replace("[[", "[ [").strip()
        if not text:
            return
        options = ["-v", voice, "-s", str(round(_WORDS * speed)), "-b", "1", "--stdin", "--stdout"]
        async with _running(options, text) as process:
            rate = await _head(process, self._timeout_s)
            odd = b""
            while rate is not None:
                if rate != self._rate:
                    raise ProviderError(f"espeak-ng speaks at {rate} Hz instead of {self._rate}", stage="tts")
                data = odd + (block := await _read(process, _READ, self._timeout_s))
                if not block:
                    break
                # A pipe may give half a sample.
                even = len(data) - len(data) % 2
                odd = data[even:]
                yield np.frombuffer(data[:even], "<i2").astype(np.int16, copy=False)
            code = await _exit_code(process, self._timeout_s)
        if code:
            raise ProviderError(
                f"espeak-ng ended with code {code}; try: espeak-ng -v {voice} hello",
                stage="tts",
                retryable=code < 0,
            )


def _unknown(voice: str) -> ConfigError:
    return ConfigError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices` lists them")


@asynccontextmanager
async def _running(options: list[str], text: str) -> AsyncGenerator[Process, None]:
    """espeak-ng with the text on its stdin; killed, drained and reaped at the end."""
    try:
        process = await asyncio.create_subprocess_exec(PROGRAM, *options, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    except FileNotFoundError as exc:
        raise ConfigError("espeak-ng is not installed; run: sudo apt install espeak-ng (or brew, winget)") from exc
    except OSError as exc:
        raise ProviderError(f"espeak-ng cannot be started: {exc.strerror}", stage="tts", retryable=True) from exc
    try:
        assert process.stdin is not None
        process.stdin.write(text.encode("utf-8", "replace"))
        # A program that ended early says so with its exit code.
        with suppress(BrokenPipeError, ConnectionResetError):
            await process.stdin.drain()
        process.stdin.close()
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        # Unread output keeps the pipe, and with it the transport, open for ever.
        assert process.stdout is not None
        while await process.stdout.read(65536):
            pass
        await process.wait()


async def _head(process: Process, timeout_s: float) -> int | None:
    """Reads the WAV header up to the samples and gives the rate; None if there is no output at all.

    The sizes in it mean nothing: the length is not known yet. Raises ProviderError on anything but 16-bit mono.
    """
    riff = await _exactly(process, 12, timeout_s)
    if not riff:
        return None
    rate = 0
    while True:
        head = await _exactly(process, 8, timeout_s)
        if len(head) < 8 or riff[:4] != b"RIFF":
            raise ProviderError("espeak-ng wrote no WAV", stage="tts")
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            break
        body = await _exactly(process, size + size % 2, timeout_s)
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if (kind, channels, bits) != (1, 1, 16):
                raise ProviderError("espeak-ng wrote something else than 16-bit mono", stage="tts")
    return rate


async def _exactly(process: Process, n: int, timeout_s: float) -> bytes:
    """n bytes, or fewer at the end of the output."""
    parts: list[bytes] = []
    while n > 0 and (part := await _read(process, n, timeout_s)):
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


async def _read(process: Process, n: int, timeout_s: float) -> bytes:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            return await process.stdout.read(n)
    except TimeoutError as exc:
        raise ProviderTimeout(f"espeak-ng gave no sound for {timeout_s:g} s", stage="tts", retryable=True) from exc


async def _exit_code(process: Process, timeout_s: float) -> int:
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError as exc:
        raise ProviderTimeout(f"espeak-ng did not end within {timeout_s:g} s", stage="tts", retryable=True) from exc
