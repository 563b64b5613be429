"""The commands: what is checked in which order, and how it is shown. Each returns its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from voiceloop import build, calibration
from voiceloop.calibration import Calibration
from voiceloop.config import Config, override
from voiceloop.doctor import engines, sound
from voiceloop.doctor.finding import Finding, Verdict, advice
from voiceloop.doctor.listening import Take, listen, measured
from voiceloop.errors import ConfigError, DeviceError
from voiceloop.process import wait_for

Progress = Callable[[str], object]

_SWEEPS = 5
_MORE_SWEEPS = 8
_UNSTEADY_S = 0.02
_SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "warn": ("!", "!", "yellow"),
    "bad": ("✗", "X", "bold red"),
}


def doctor(load: Callable[[], Config], as_json: bool) -> int:
    """Checks everything, and tells each finding as it comes. 1 if something is broken. load: gives the configuration,
    or raises ConfigError, which is a finding too."""
    report = _Report(as_json)

    async def work() -> None:
        with report.progress() as progress:
            async with aclosing(examine(load, progress)) as findings:
                async for finding in findings:
                    report.add(finding)

    wait_for(work())
    return report.end()


def calibrate(config: Config, as_json: bool) -> int:
    """Measures the pair of devices and keeps the result. Raises DeviceError, MediaError; 1 if nothing was heard."""
    report = _Report(as_json)
    takes: list[Take] = []

    async def work() -> None:
        with report.progress() as progress:
            port = build.device_port(config, lambda pair: 0.0)
            takes.append(await listen(port, _MORE_SWEEPS, progress, volume=config.audio.volume))

    wait_for(work())
    (take,) = takes
    found = measured(take)
    if found is None:
        raise DeviceError(
            "The microphone heard nothing of the test sound: turn the loudspeaker up, take headphones off the table, "
            "or put the earpiece to the microphone, and try again"
        )
    result = found[1]
    path = calibration.save(build.state_folder(), result)
    if as_json:
        print(json.dumps(asdict(result) | {"file": str(path)}))
        return 0
    for line in _figures(result):
        report.line(line)
    if result.spread_s > _UNSTEADY_S:
        report.line("The delay swung: measure again when the machine is quiet, and use one device for both.", "yellow")
    report.line(f"Kept in {path}.", "dim")
    return 0


async def examine(load: Callable[[], Config], progress: Progress) -> AsyncGenerator[Finding, None]:
    """All findings, in the order in which a user would look."""
    config = Config()
    try:
        config = load()
        yield Finding("configuration", "ok", "is valid")
    except ConfigError as exc:
        yield Finding("configuration", "bad", str(exc), "Until then the defaults are checked.")
    canceller: bool | None = None
    yield engines.installed()
    try:
        # Each engine is looked at by itself: what stands in for it would hide what is wrong.
        alone = override(config, {"stt.fallback": [], "tts.fallback": []})
        async with build.assemble(alone) as assembled:
            canceller = None if config.audio.echo == "off" else assembled.parts.echo is not None
            async with aclosing(engines.load(assembled, progress)) as findings:
                async for finding in findings:
                    yield finding
            for notice in assembled.notices:
                yield Finding("notice", "warn", notice)
        if others := engines.stand_ins(config):
            yield others
    except ConfigError as exc:
        yield Finding("engines", "bad", str(exc))
    async with aclosing(engines.services(config, progress)) as findings:
        async for finding in findings:
            yield finding
    async with aclosing(_devices(config, canceller, progress)) as findings:
        async for finding in findings:
            yield finding


async def _devices(config: Config, canceller: bool | None, progress: Progress) -> AsyncGenerator[Finding, None]:
    progress("looking for devices")
    try:
        rows = build.devices()
    except DeviceError as exc:
        yield _device_finding("devices", exc)
        return
    listed = sound.listed(rows)
    yield listed
    if listed.verdict == "bad":
        return
    try:
        port = build.device_port(config, lambda pair: 0.0)
        take = await listen(port, _SWEEPS, progress, volume=config.audio.volume)
    except DeviceError as exc:
        yield _device_finding("opened", exc)
        return
    found = measured(take)
    yield sound.opened(take, rows)
    for finding in sound.microphone(take):
        yield finding
    yield sound.underruns(take)
    yield sound.echo(take, found, canceller)
    known = calibration.load(build.state_folder(), take.opened.pair)
    yield sound.compared(found[1] if found else None, known)


def _device_finding(name: str, exc: DeviceError) -> Finding:
    what, todo = advice(str(exc))
    return Finding(name, "bad", what, todo)


def _figures(found: Calibration) -> Sequence[str]:
    when = "earlier" if found.extra_s < 0 else "later  "
    return (
        found.pair,
        f"through loudspeaker and microphone  {found.device_s * 1000:5.0f} ms   PortAudio says "
        f"{found.reported_s * 1000:.0f} ms",
        f"the loudspeaker is heard {when} by {abs(found.extra_s) * 1000:5.0f} ms   than it says",
        f"the echo comes back after           {found.echo_s * 1000:5.0f} ms   +- {found.spread_s * 500:.1f} ms, "
        f"{found.found} of {_MORE_SWEEPS} sounds",
        f"and is weaker by                    {found.loss_db:5.0f} dB",
    )


class _Report:
    """Findings on standard output, as lines or as one JSON object at the end; progress on standard error."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._findings: list[Finding] = []
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._plain = not (self._console.encoding or "").lower().startswith("utf")

    @contextmanager
    def progress(self) -> Generator[Progress]:
        """Shows what is being measured, where somebody looks."""
        console = Console(stderr=True, highlight=False, markup=False)
        if not console.is_terminal or self._json:
            yield lambda text: None
            return
        with console.status("") as status:
            yield lambda text: status.update(f"{text} ...")

    def add(self, finding: Finding) -> None:
        """One more."""
        self._findings.append(finding)
        if self._json:
            return
        sign, plain, style = _SIGNS[finding.verdict]
        text = Text.assemble((f"{plain if self._plain else sign:<3}", style), f"{finding.name:<14}  {finding.text}")
        self._console.print(text)
        if finding.todo:
            self._console.print(Text(f"{'':19}{finding.todo}", "dim" if finding.verdict == "ok" else style))
        sys.stdout.flush()

    def line(self, text: str, style: str = "") -> None:
        """A line of its own."""
        self._console.print(Text(text, style))

    def end(self) -> int:
        """The last line, and the exit code."""
        bad = sum(finding.verdict == "bad" for finding in self._findings)
        warn = sum(finding.verdict == "warn" for finding in self._findings)
        if self._json:
            rows = [asdict(finding) for finding in self._findings]
            print(json.dumps({"ok": not bad, "bad": bad, "warnings": warn, "findings": rows}))
        elif bad:
            self.line(f"{bad} broken" + (f", {warn} to look at." if warn else "."), "bold red")
        elif warn:
            self.line(f"It works; {warn} to look at.", "yellow")
        else:
            self.line("All is well.", "green")
        return 1 if bad else 0
