"""The commands that look back: `voiceloop replay` and `voiceloop why`. Each returns its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.core.record import plain
from voiceloop.errors import MediaError
from voiceloop.journal import trace
from voiceloop.journal.reader import Recording, read
from voiceloop.journal.replay import Difference
from voiceloop.journal.replay import replay as fed_again
from voiceloop.journal.why import last_turns, sentence
from voiceloop.process import wait_for
from voiceloop.screen import clean, waterfall
from voiceloop.session.latency import Latency
from voiceloop.virtual import VirtualLoop
from voiceloop.whatif import run as whatif
from voiceloop.whatif.outcome import SOON_S, Turn, alike, near, typical
from voiceloop.whatif.run import Outcome

_SHOWN = 3
"""Differences that are printed: the later ones follow from the first as a rule."""


def replay(file: str, as_json: bool) -> int:
    """The recorded inputs through the core again; 1 if the actions are not the recorded ones. Raises MediaError."""
    recording = read(file)
    compared = fed_again(recording)
    if as_json:
        found: dict[str, Any] = {
            "identical": compared.identical,
            "inputs": compared.n_inputs,
            "actions": compared.n_actions,
            "whole": recording.whole,
            "differences": [_as_json(each) for each in compared.differences],
        }
        print(json.dumps(found))
        return 0 if compared.identical else 1
    console = _console()
    _say_if_cut(console, recording)
    inputs, actions = _count(compared.n_inputs, "input"), _count(compared.n_actions, "action")
    if compared.identical:
        console.print(f"identical: {inputs}, {actions}")
        return 0
    n = len(compared.differences)
    console.print(f"different: {n:,} of {inputs} led to other actions than recorded.", style="yellow")
    for each in compared.differences[:_SHOWN]:
        console.print(_shown(each))
    if n > _SHOWN:
        console.print(f"... and {n - _SHOWN:,} more, which may all follow from the first.", style="dim")
    if (recorded_by := recording.facts["voiceloop"]) != _version():
        console.print(f"It was recorded by voiceloop {recorded_by}; this is {_version()}.", style="dim")
    return 1


def why(file: str | None, last: int, as_json: bool) -> int:
    """The decisions of the last turns. file: a recording or a trace; None: the newest trace. Raises MediaError."""
    path = Path(file) if file is not None else trace.newest(trace.trace_folder())
    if path is None:
        raise MediaError("No session has left a trace yet: talk first (voiceloop run), or name a recording.")
    entries = last_turns(trace.entries(path), last)
    if as_json:
        for entry in entries:
            print(json.dumps(_entry_as_json(entry)))
        return 0
    console = _console()
    if not any(isinstance(entry.what, ev.Trace) for entry in entries):
        console.print("Nothing was decided in that session.", style="dim")
    turn: int | None = None
    for entry in entries:
        if entry.what.turn is not None and entry.what.turn != turn:
            turn = entry.what.turn
            console.print(Text(f"turn {turn}", "bold"))
        console.print(_line(entry))
    return 0


def what_if(file: str, settings: Sequence[str], as_json: bool) -> int:
    """The recorded session with other settings, turn by turn. Raises MediaError, ConfigError."""
    recording = read(file)
    found: list[Outcome] = []

    async def work() -> None:
        found.append(await whatif.run(recording, settings))

    wait_for(work(), VirtualLoop)
    (outcome,) = found
    if as_json:
        rows = [{"recorded": _turns_as_json(p.recorded), "what_if": _turns_as_json(p.what_if)} for p in outcome.pairs]
        print(json.dumps({"settings": list(settings), "turns": rows, "notes": outcome.notes}))
        return 0
    console = _console()
    if not outcome.pairs:
        console.print("There are no turns in it.")
    else:
        Console(highlight=False, markup=False, width=None if console.is_terminal else 140).print(_table(outcome))
        for line in _summary(outcome):
            console.print(line)
    for note in outcome.notes:
        console.print(note, style="dim")
    return 0


def _table(outcome: Outcome) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, width in (("at", 8), ("", 8)):
        table.add_column(title, min_width=width, no_wrap=True)
    table.add_column("you", ratio=3)
    for title in ("decided", "heard"):
        table.add_column(title, justify="right", no_wrap=True, min_width=9)
    table.add_column("voiceloop", ratio=3)
    table.add_column("", ratio=2, style="yellow")
    for pair in outcome.pairs:
        same = len(pair.recorded) == len(pair.what_if) and all(map(alike, pair.recorded, pair.what_if))
        sides = [("both", pair.recorded)] if same else [("recorded", pair.recorded), ("what if", pair.what_if)]
        for name, turns in sides:
            style = "dim" if name == "recorded" else ""
            if not turns:
                table.add_row("", name, "(no turn)", style=style)
            for turn in turns:
                table.add_row(f"{turn.start / RATE:.2f} s", name, *_cells(turn), style=style)
    return table


def _cells(turn: Turn) -> tuple[str, ...]:
    return (
        "?" if turn.words is None else clean(turn.words),
        _ms(turn.decided_ms, guess=False),
        _ms(turn.heard_ms, guess=turn.estimated),
        "?" if turn.reply is None or turn.words is None else clean(turn.reply),
        ", ".join(turn.marks),
    )


def _summary(outcome: Outcome) -> Iterator[str]:
    sides = [
        [turn for pair in outcome.pairs for turn in pair.recorded],
        [turn for pair in outcome.pairs for turn in pair.what_if],
    ]
    guess = any(turn.estimated for turn in sides[1])

    def both(name: str, values: Sequence[str]) -> str:
        return f"{name} {values[0]}" + ("" if values[0] == values[1] else f" -> {values[1]}")

    decided = [typical([turn.decided_ms for turn in side]) for side in sides]
    heard = [typical([turn.heard_ms for turn in side]) for side in sides]
    rows = [("decided", decided, False), ("heard", heard, guess)]
    medians = [
        both(name, [_ms(before, guess=False), _ms(before if near(before, after) else after, guess=guessed)])
        for name, (before, after), guessed in rows
    ]
    yield f"Median after your last sound: {', '.join(medians)}."
    counts = {
        "turns": [len(side) for side in sides],
        f"went on within {SOON_S:g} s": [sum(turn.went_on_s is not None for turn in side) for side in sides],
        "reopened": [sum(turn.reopened for turn in side) for side in sides],
        "interrupted": [sum(turn.ending == "interrupted" for turn in side) for side in sides],
    }
    yield ", ".join(both(f"{name}:", [str(n) for n in pair]) for name, pair in counts.items()).capitalize() + "."
    if guess:
        yield "?: another answer than the recorded one; it is taken to come as fast, and to be as long, as usual."


def _line(entry: trace.Entry) -> Text:
    match entry.what:
        case ev.Trace():
            text, style = sentence(entry.what), ""
        case Latency():
            text, style = waterfall(entry.what), "dim"
        case ev.Heard(text=words):
            text, style = f"you: {clean(words)}", "green"
        case ev.ReplyEnded(heard=heard, ending=ending):
            text, style = f"voiceloop: {clean(heard) or '(nothing was heard)'}", "cyan"
            text += "" if ending == "completed" else f" — {ending}"
    return Text.assemble((f"{entry.now / RATE:8.2f} s  ", "dim"), (text, style))


def _entry_as_json(entry: trace.Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"s": round(entry.now / RATE, 3), "kind": type(entry.what).__name__}
    if isinstance(entry.what, ev.Trace):
        return found | plain(entry.what) | {"text": sentence(entry.what)}
    return found | (asdict(entry.what) if isinstance(entry.what, Latency) else plain(entry.what))


def _say_if_cut(console: Console, recording: Recording) -> None:
    if not recording.whole:
        rest = f"its first {recording.seconds:.1f} s" if recording.steps else "nothing of it"
        console.print(f"{recording.name} was not finished; {rest} can be read.", style="yellow")


def _shown(each: Difference) -> Text:
    only = [line for line in each.recorded if line not in each.replayed]
    new = [line for line in each.replayed if line not in each.recorded]
    if not (only or new):  # the same in another order, or another microphone clock
        only, new = list(each.recorded), list(each.replayed)
    text = Text(f"{each.now / RATE:8.2f} s  input {each.number:,}, {_words(type(each.event).__name__, each.event)}\n")
    text.append(f"            recorded  {_actions(only)}\n            now       {_actions(new)}")
    return text


def _actions(lines: Sequence[str]) -> str:
    found = [list(json.loads(line).items())[-1] for line in lines]
    return ", ".join(_words(name, body) for name, body in found) or "nothing"


def _words(name: str, body: object) -> str:
    fields: dict[str, Any] = plain(body)
    fields |= fields.pop("facts", {})
    inner = ", ".join(f"{key} {clean(str(value))}" for key, value in fields.items() if value not in (None, ""))
    return f"{name} ({inner})" if inner else name


def _as_json(each: Difference) -> dict[str, Any]:
    found = asdict(each) | {"event": {type(each.event).__name__: plain(each.event)}}
    return found | {side: [json.loads(line) for line in found[side]] for side in ("recorded", "replayed")}


def _turns_as_json(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [asdict(turn) | {"estimated": turn.estimated} for turn in turns]


def _ms(ms: int | None, *, guess: bool) -> str:
    return "-" if ms is None else f"{ms:,} ms" + (" ?" if guess else "")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _version() -> str:
    from voiceloop import __version__

    return __version__


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)
