"""Everything that touches the world stands behind one of these Protocols.

Adapters implement them, `build.py` chooses, the session uses. Streams are async generators, consumed under
`contextlib.aclosing`: a cancelled consumer closes the response behind them. Fakes of all are in `voiceloop.testing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.core.policy import Policy
from voiceloop.core.transcript import Segment, Word
from voiceloop.view import Line as Line
from voiceloop.view import Message as Message
from voiceloop.view import TurnView as TurnView

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reply has been played: `n` samples at the port's out_rate since the reply began.

    final: it was flushed, the count is exact, and no more of it will be played.
    """

    reply: int
    n: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class Capture:
    """One microphone frame and what happened at the loudspeaker meanwhile.

    mic: int16 (320,), 16 kHz mono.
    ref: what was played during this frame, int16 (320,), 16 kHz; None if the peer cancels its own echo.
    played: news of replies since the frame before, in order. doubt: as `EchoCanceller.doubt`, from such a peer.
    The arrays are kept and read later: nobody writes to them again.
    lost: microphone samples dropped just before this frame because nobody fetched them in time."""

    mic: Pcm
    ref: Pcm | None = None
    played: tuple[Progress, ...] = ()
    lost: int = 0
    doubt: float = 0.0


class AudioPort(Protocol):
    """Microphone and loudspeaker in one, because the echo reference comes with the frame.

    paced: frames come by the clock. stepped: a frame comes when it is fetched, and the session fetches it only
    when no work is outstanding; playback then advances one frame's worth with each frame.
    Order of calls: `open`, then `frames` once, the rest at any time in between, `close` last (twice is legal)."""

    @property
    def out_rate(self) -> int:
        """Rate of what `write` takes, Hz. Known after `open`."""
        ...

    @property
    def stepped(self) -> bool:
        """True if time passes only when a frame is fetched."""
        ...

    @property
    def exhausted(self) -> bool:
        """True when the input has ended and only silence follows. A microphone never is."""
        ...

    @property
    def xruns(self) -> tuple[int, int]:
        """Counts since `open`: (blocks of input lost, blocks of output that came too late)."""
        ...

    async def open(self) -> None:
        """Takes the devices or files. Raises DeviceError or MediaError."""
        ...

    def frames(self) -> AsyncGenerator[Capture | Progress | ev.PortLost | ev.PortBack | ev.Notice, None]:
        """Frames until `close`; between them what becomes of the device, and of replies while no frame comes.

        After `PortLost` no frame comes until `PortBack` (with `late`: only those spoken meanwhile); what was written
        and not heard waits, and `hold` tells what was heard. Raises DeviceError when the device is lost for good.
        """
        ...

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Queues samples of a reply at out_rate; waits above the high-water mark (about 2 s).

        Returns at once, dropping them, if that reply has been flushed.
        """
        ...

    def hold(self, reply: int) -> int:
        """Stops now and keeps the rest. Returns samples played of this reply. Does not wait."""
        ...

    def resume(self, reply: int) -> None:
        """Goes on from the sample at which `hold` stopped, faded in over 5 ms."""
        ...

    def flush(self, reply: int) -> int:
        """Stops now and drops the rest. Returns samples played (an estimate where the loudspeaker is far away);
        the exact count follows in a `Progress(final=True)`."""
        ...

    def gain(self, factor: float) -> None:
        """Volume of everything played, 0..1."""
        ...

    async def close(self) -> None:
        """Gives the devices back; files are complete afterwards."""
        ...


class OtherSound(Protocol):
    """What other programs play. `lower` and `restore` return at once, and may be called twice; `aclose` restores it."""

    def lower(self) -> None: ...
    def restore(self) -> None: ...
    async def aclose(self) -> None: ...


class Resampler(Protocol):
    """Converts one stream between two fixed rates; keeps state between calls. `process` gives what can be given so far,
    `flush` what was held back, and starts anew."""

    def process(self, pcm: Pcm) -> Pcm: ...
    def flush(self) -> Pcm: ...


class Vad(Protocol):
    """Voice activity detector. `reset`: it forgets what it heard."""

    def probability(self, frame: Pcm) -> float:
        """Probability of speech in one frame, 0..1.

        frame: int16 (320,), 16 kHz mono, in order. Synchronous, well under 2 ms. A model whose window is longer
        holds its last value. Raises ValueError on any other shape."""
        ...

    def reset(self) -> None: ...


@runtime_checkable
class SharingVad(Vad, Protocol):
    """One of many that judge together: `judge` is `probability` at less cost, but may have to be awaited, before the
    next call and for less than a frame."""

    def judge(self, frame: Pcm) -> float | Awaitable[float]: ...


class EchoCanceller(Protocol):
    """Removes what the loudspeaker plays from what the microphone hears."""

    @property
    def doubt(self) -> float:
        """How likely what is left of the last frame is our own voice, 0..1; 0 when nothing is played."""
        ...

    def process(self, mic: Pcm, ref: Pcm) -> Pcm:
        """mic without the echo of ref; both int16 (320,), 16 kHz, in order. Synchronous, not thread-safe."""
        ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one segment.

    text: as the engine writes it, stripped; empty if it understood nothing.
    language: ISO 639-1, or None if the engine does not say.
    logprob: mean log-probability of the tokens, None if the engine does not say.
    p_stop, p_comma: the decoder's probability of a sentence end (. ? !) and of a comma at the first position after
        the last word: evidence for the end of the turn (shared/ENGINES.md), None if the engine does not say.
    segments: where it was said, seconds from the beginning of what was given; only `Timed` engines say so.
    """

    text: str
    language: str | None = None
    logprob: float | None = None
    p_stop: float | None = None
    p_comma: float | None = None
    segments: tuple[Segment, ...] = ()


class Transcriber(Protocol):
    """Speech to text."""

    @property
    def longest(self) -> int | None:
        """Most samples one call may take; the caller cuts at quiet places. None: no limit."""
        ...

    async def warm_up(self) -> None:
        """Loads what is needed, so that the first call is as fast as the others. Raises ProviderError."""
        ...

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """pcm: int16 (n,), 16 kHz mono, n >= 0. Raises ProviderError. May be cancelled."""
        ...

    async def aclose(self) -> None:
        """Gives back connections and threads."""
        ...


@runtime_checkable
class Chooser(Protocol):
    """A `Transcriber` may be one as well: it can say how likely phrases are that it did not write."""

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """The words of a brief sound, and of each phrase how much likelier it is than them, natural logarithm.

        pcm: int16 (n,), 16 kHz mono, n >= 0. phrases: as the engine would write them. -inf for one that was surely not
        said. Raises ProviderError. May be cancelled.
        """
        ...


@runtime_checkable
class Timed(Protocol):
    """A `Transcriber` may be one as well: it knows when each word was said."""

    async def transcribe_timed(
        self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0
    ) -> Transcript:
        """As `Transcriber.transcribe`, with `segments` and their words. temperature: 0..1."""
        ...


@runtime_checkable
class Translator(Protocol):
    """A `Transcriber` may be one as well: it writes in English what was said in another language."""

    async def translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        """As `Transcriber.transcribe`, in English. temperature: 0..1."""
        ...


class Aligner(Protocol):
    """Finds where known words were said."""

    async def warm_up(self) -> None:
        """Loads what is needed. Raises ConfigError, ProviderError."""
        ...

    async def align(self, pcm: Pcm, text: str) -> tuple[Word, ...]:
        """One `Word` for each word of text (split at white space), in order, seconds from the beginning of pcm.

        pcm: int16 (n,), 16 kHz mono, at most 30 s. Where the sound does not say, the times are spread by the letters.
        Raises ProviderError. May be cancelled.
        """
        ...

    async def aclose(self) -> None:
        """Gives back memory and threads."""
        ...


class EndOfTurn(Protocol):
    """A model that hears whether a turn is complete."""

    async def warm_up(self) -> None:
        """Loads what is needed, so that the first call is as fast as the others. Raises ConfigError, ProviderError."""
        ...

    async def score(self, pcm: Pcm) -> float:
        """Probability that the turn is complete, 0..1.

        pcm: int16 (n,), 16 kHz mono, n >= 0: the turn so far, or at least the last 8 s of it, ending in the pause.
        Raises ProviderError. May be cancelled.
        """
        ...

    async def aclose(self) -> None:
        """Gives back memory and threads."""
        ...


class Handler(Protocol):
    """Turns what the user said into what to answer."""

    @property
    def early(self) -> bool:
        """True if a call before the turn is decided does no harm: its answer may be dropped unseen, and it may be
        called again with more words. False for a handler with side effects."""
        ...

    async def warm_up(self) -> None:
        """Gets ready for the first turn."""
        ...

    def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """The reply in pieces, as soon as they are known. Raises ProviderError."""
        ...

    async def aclose(self) -> None:
        """Gives back connections."""
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How a text is to be spoken, where it is not as configured.

    voice: one of the engine's `voices`. speed: 0.25..4.0, 1.0: as the voice speaks by itself. instructions: how
    to speak, for engines that take them. model: for services with several. Empty texts: as configured.
    """

    voice: str = ""
    speed: float | None = None
    instructions: str = ""
    model: str = ""


class Synthesizer(Protocol):
    """Text to speech."""

    @property
    def rate(self) -> int:
        """Rate of what `speak` gives, Hz. Known after `warm_up`."""
        ...

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `Manner.voice` may have; empty: any, the service knows. Known after `warm_up`."""
        ...

    async def warm_up(self) -> None:
        """Loads what is needed. Raises ProviderError."""
        ...

    def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """Chunks of any size as soon as they are there. Raises ProviderError. May be cancelled."""
        ...

    async def aclose(self) -> None:
        """Gives back connections and threads."""
        ...


class Runner(Protocol):
    """Runs blocking work of models and handlers off the loop (session/workers.py)."""

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        """fn() on a worker thread. When cancelled or late, the thread is left to finish alone."""
        ...

    def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        """The items of fn(), each produced on a worker thread, at most a few ahead. timeout_s: for each item."""
        ...


class Observer(Protocol):
    """Is told what happens. Must return quickly; raising is logged and ignored."""

    def __call__(self, event: object, /) -> None: ...


class Tap(Protocol):
    """Is shown all that a session takes in and does, to write it down. Returns at once and never raises."""

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        """The session listens from now on, with this policy. out_rate: of what `out` is shown, Hz."""
        ...

    def mic(self, pcm: Pcm) -> None:
        """A frame as the VAD hears it, before its `Voice`."""
        ...

    def out(self, reply: int, pcm: Pcm) -> None:
        """Speech of a released reply on its way to the port; how much of it was heard follows as `Played`."""
        ...

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> str | None:
        """One step of the core, and both clocks after it. May return a sentence for the user, told as a `Notice`."""
        ...


@dataclass(frozen=True, slots=True)
class Errand:
    """For whom a call to an engine is made; remote services get it as headers. reply: of which it becomes a part.
    tell: one sentence for the user, of a call that may succeed all the same. decided: it is no guess, asked from any
    thread."""

    session: str
    turn: int | None
    reply: int | None = None
    tell: Callable[[str], None] | None = field(default=None, compare=False)
    decided: Callable[[], bool] = field(default=lambda: True, compare=False)


ERRAND: ContextVar[Errand | None] = ContextVar("voiceloop_errand", default=None)
"""Set by the session around each call to an engine."""
