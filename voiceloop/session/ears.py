"""Microphone frames -> echo canceller -> VAD -> `Voice`; keeps the audio of the open turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from voiceloop.core.audio import FRAME, RATE, SILENCE_DB, Pcm, Tape, level_db, silence
from voiceloop.core.events import Flushed, Played, Voice
from voiceloop.ports import Capture, EchoCanceller, Progress, SharingVad, Tap, Vad

_MUTED = silence(FRAME)

_INTERESTING = 0.05
"""Probability of speech from which the level of every frame is measured, for `_ATTENTION` frames (3 s)."""

_ATTENTION = 150

_SELDOM = 10
"""Otherwise the level is measured every so many frames (0.2 s), enough for a meter: it is a third of the cost of a
quiet frame."""


_LOOK, _KEPT = 250, 10 * RATE
"""Every so many frames (5 s), while nothing is going on, all but so many samples are forgotten."""


class Ears:
    """Plain calls only, one frame costs no await and no task; where many sessions judge together, some are awaited."""

    def __init__(
        self,
        vad: Vad,
        echo: EchoCanceller | None,
        feed: Callable[[Voice | Played | Flushed], None],
        *,
        capacity: int,
        taps: Sequence[Tap] = (),
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        """capacity: samples that can be read again. idle: whether nothing is going on, so that most of them cannot be
        asked for: a session that listens for hours is small."""
        self._judge = vad.judge if isinstance(vad, SharingVad) else vad.probability
        self._echo = echo
        self._feed = feed
        self._tape = Tape(capacity)
        self._taps = taps
        self._idle = idle
        self._believed = True
        self._level_db = SILENCE_DB
        self._attentive = 0
        self._frames = 0
        self.lost = 0
        """Microphone samples lost so far, because the session was too slow to fetch them."""

    def hear(self, capture: Capture) -> Awaitable[None] | None:
        """Feeds what one frame tells; what it gives is to be awaited before the next one."""
        for progress in capture.played:
            self.learn(progress)
        self.lost += capture.lost
        mic, doubt = capture.mic, capture.doubt
        if capture.ref is not None and self._echo is not None:
            mic = self._echo.process(mic, capture.ref)
            doubt = round(self._echo.doubt, 2)
        if not self._believed:
            mic, doubt = _MUTED, 0.0
        self._tape.append(mic)
        for tap in self._taps:
            tap.mic(mic)
        p = self._judge(mic)
        if isinstance(p, Awaitable):
            return self._later(p, mic, doubt)
        self._tell(p, mic, doubt)
        return None

    async def _later(self, judged: Awaitable[float], mic: Pcm, doubt: float) -> None:
        self._tell(await judged, mic, doubt)

    def _tell(self, probability: float, mic: Pcm, doubt: float) -> None:
        p = round(float(probability), 3)
        if p >= _INTERESTING:
            self._attentive = _ATTENTION
        if self._attentive or self._frames % _SELDOM == 0:
            self._level_db = round(level_db(mic), 1)
        if self._frames % _LOOK == 0 and self._idle():
            self._tape.trim(_KEPT)
        self._attentive -= self._attentive > 0
        self._frames += 1
        self._feed(Voice(mic.size, p, self._level_db, doubt))

    def learn(self, progress: Progress) -> None:
        """Feeds how far a reply has been played."""
        if progress.final:
            self._feed(Flushed(progress.reply, progress.n, exact=True))
        else:
            self._feed(Played(progress.reply, progress.n))

    def keep(self, capacity: int) -> None:
        """At least so many of the last samples can be read from now on."""
        self._tape.grow(capacity)

    def believe(self, on: bool) -> None:
        """Whether the microphone counts; silence is heard instead, and nothing of it is kept."""
        self._believed = on

    def read(self, start: int, end: int) -> Pcm:
        """Microphone samples [start, end) as the VAD heard them."""
        return self._tape.read(start, end)
