"""What `run` and `connect` show: the conversation, and in a terminal a live line with level, state and words."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.silence import CHIME
from voiceloop.satellite.news import ServerBack, ServerLost
from voiceloop.session.latency import Latency
from voiceloop.session.observe import Level, Ready, Volume

_STATES: dict[ev.State, tuple[str, str]] = {
    "listening": ("listening", "green"),
    "hearing": ("hearing you", "bold green"),
    "thinking": ("thinking", "yellow"),
    "speaking": ("speaking", "cyan"),
    "paused": ("paused", "magenta"),
}
_KEPT = "The conversation waits for it, and what you say is kept."
_ANEW = ": this is a new conversation, which knows nothing of the one before"
_METER = 16
_FLOOR_DB = -60.0


class _Console(Console):
    """Leaves a closed pipe to the caller, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@dataclass(slots=True)
class _Switches:
    """What the user has set meanwhile."""

    muted: bool = False
    down: bool = False
    volume: float | None = None

    @property
    def text(self) -> str:
        """For the live line."""
        shown = ["muted"] * self.muted + ["key down"] * self.down
        return "  ".join(shown if self.volume is None else [*shown, f"volume {self.volume:.0%}"])


class Screen:
    """An observer that prints the conversation, and keeps a live line below it where there is a terminal.

    The line is drawn by a thread of rich's own, so that the loop never waits for the terminal.
    """

    def __init__(self, file: TextIO | None = None, *, latency: bool = True) -> None:
        self._latency = latency
        self._console = _Console(file=file or sys.stdout, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._state: ev.State | None = None
        self._away: set[str] = set()
        self._db = _FLOOR_DB
        self._switches = _Switches()
        self._said: dict[int, list[str]] = {}

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def note(self, sentence: str, style: str = "dim") -> None:
        """One sentence for the user, above the live line."""
        self._console.print(Text(sentence, style))

    def __call__(self, event: object) -> None:
        match event:
            case Level(db=db):
                self._db = db
            case ev.StateChanged(state=state):
                self._state = state
            case ev.Muted(on=on):
                self._switches.muted = on
                self.note("Muted." if on else "Listening again.")
            case ev.Pressed(down=down):
                self._switches.down = down
            case Volume(volume=volume):
                self._switches.volume = volume
            case Ready():
                self._state = "listening"
                self.note("Listening. Ctrl-C ends it." if self._live or self._latency else "Listening.")
            case ev.Heard(text=text):
                self._line("you", text, "bold green")
            case ev.ReplySaid(reply=reply, text=text):
                self._said.setdefault(reply, []).append(text)
            case ev.ReplyEnded():
                self._ended(event)
            case ev.TurnDropped(reason="no words"):
                self.note("(I heard a sound, but no words.)")
            case ev.DeviceLost(reason=reason):
                self._away.add("the sound device")
                self.note(f"{reason} The conversation waits for it.", "yellow")
            case ev.DeviceBack(device=device, away=away):
                self._away.discard("the sound device")
                self.note(f"Sound is back after {away / RATE:.1f} s, through {device}.", "yellow")
            case ServerLost(reason=reason, kept=kept):
                self._away.add("the server")
                self.note(f"{reason} {_KEPT if kept else 'It is waited for.'}", "yellow")
            case ServerBack(away_s=away_s, again=again):
                self._away.discard("the server")
                self.note(f"The server is back after {away_s:.1f} s{'' if again else _ANEW}.", "yellow")
            case ev.Notice(text=text):
                self.note(clean(text), "yellow")
            case Latency() if self._latency:
                self.note(" " * 11 + waterfall(event))
            case _:
                pass

    def __rich__(self) -> Text:
        """The live line."""
        if self._state is None:
            return Text("  starting ...", "dim")
        if away := " and ".join(sorted(self._away)):
            return Text(f"  waiting for {away}", "yellow")
        name, style = _STATES[self._state]
        share = min(1.0, max(0.0, (self._db - _FLOOR_DB) / -_FLOOR_DB))
        bar = round(share * _METER)
        line = Text("  ")
        line.append("▮" * bar, style).append("▯" * (_METER - bar), "dim").append(f"  {name}", style)
        if switched := self._switches.text:
            line.append(f"  {switched}", "yellow")
        if self._state == "speaking" and (said := list(self._said.values())):  # a copy: this is the thread of rich
            room = self._console.width - line.cell_len - 3
            line.append("  " + clean(" ".join(said[-1]))[-room:] if room > 0 else "", "dim cyan")
        line.no_wrap = True
        return line

    def _ended(self, event: ev.ReplyEnded) -> None:
        self._said.pop(event.reply, None)
        if event.heard == CHIME:
            return
        if event.heard and event.ending == "interrupted":
            self._line("voiceloop", event.heard + " —", "bold cyan")
        elif event.heard:
            self._line("voiceloop", event.heard, "bold cyan")

    def _line(self, who: str, text: str, style: str) -> None:
        self._console.print(Text.assemble((f"{who:>9}  ", style), clean(text)))


class JsonLines:
    """An observer that prints each event as one JSON object."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout

    def __call__(self, event: object) -> None:
        fields = msgspec.to_builtins(event)
        print(msgspec.json.encode({"event": type(event).__name__, **fields}).decode(), file=self._file, flush=True)


def clean(text: str) -> str:
    """One line, and nothing in it that a terminal would obey: the words come from outside."""
    return "".join(c if c.isprintable() else " " for c in text)


def waterfall(latency: Latency) -> str:
    """Where the time of a turn went, in the order in which it was spent."""
    steps = [
        ("words", latency.words_ms),
        ("answer", latency.text_ms),
        ("speech ready", latency.ready_ms),
        ("turn decided", latency.decided_ms),
        ("heard", latency.heard_ms),
    ]
    steps.sort(key=lambda step: step[1])
    return "after your last sound: " + ", ".join(f"{name} {ms} ms" for name, ms in steps)
