"""Pictures of the page, in each of its states, at the size of a phone, a desk and a wall, light and dark; to look at.

`python -m tests.clients.pictures FOLDER` makes all of them, with a puppet for a server; with `--readme` only the one
that README shows, of a conversation with the real one.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from tests.e2e.test_talk import storyteller
from tests.program import ROOT, environment

from .chromium import launched, people
from .test_browser import INSECURE, REFUSE, VOICE
from .webserver import Cable, Puppet, served

README = ROOT / "tests" / "data" / "browser.webp"
SIZES = {"phone": (390, 844), "desk": (1280, 800), "wall": (1080, 1920)}
TALK = [
    ("What is the weather going to be in Lisbon tomorrow?", "Sunny and warm, around twenty-four degrees."),
    ("And what should I pack for three days?", "Two light shirts, something for the evenings, and sunglasses."),
]
QUESTION = "Is there anything worth seeing by the river?"
ANSWER = (
    "Yes: walk along the water from the big square to the tower at Belém. It takes about two hours, and half way there "
    "is a bakery that is famous for its custard tarts."
)
SAID = 13
"""Words of it."""

LATENCY = {"decided": 420, "words": 180, "text": 390, "ready": 520, "released": 530, "heard": 640}

# The page hears a fake microphone that beeps; a level that is always the same makes pictures that are alike.
STEADY = """(level) => {
  const orb = document.getElementById("orb");
  const set = CSSStyleDeclaration.prototype.setProperty;
  set.call(orb.style, "--level", level);
  orb.style.setProperty = (name, value) => name === "--level" || set.call(orb.style, name, value);
}"""


class Scene:
    """One page, and the puppet behind it."""

    def __init__(self, page: Any, puppet: Puppet, cable: Cable) -> None:
        self.page = page
        self.puppet = puppet
        self.cable = cable

    def start(self) -> None:
        """Pressed once."""
        self.page.click("#orb")
        self.shows("listening")

    def shows(self, view: str) -> None:
        """Waits for it."""
        self.page.wait_for_selector(f"body[data-view={view}]")

    def state(self, state: str) -> None:
        """The loop is in that state."""
        self.puppet.say({"type": "state", "state": state})
        self.shows(state)

    def past(self) -> None:
        """What was said before."""
        for turn, (asked, answered) in enumerate(TALK, 1):
            self.heard(turn, asked)
            self.puppet.say({"type": "transcript", "role": "assistant", "text": answered, "final": True, "reply": turn})
            told = {"reply": turn, "samples": 9, "ending": "completed", "heard": answered}
            self.puppet.say({"type": "audio_end", **told})
        self.puppet.say({"type": "latency", "turn": 2, "ms": LATENCY})

    def heard(self, turn: int, text: str) -> None:
        """The words of the user."""
        self.puppet.say({"type": "transcript", "role": "user", "text": text, "final": True, "turn": turn})

    def speak(self) -> None:
        """In the middle of an answer."""
        self.past()
        self.heard(3, QUESTION)
        self.state("speaking")
        self.puppet.say({"type": "transcript", "role": "assistant", "text": ANSWER, "final": False, "reply": 3})
        words = ANSWER.split()
        ends = [VOICE if n < SAID else 10 * VOICE for n in range(len(words))]
        self.puppet.say(
            {"type": "caption", "reply": 3, "words": [[w, end] for w, end in zip(words, ends, strict=True)]}
        )
        self.puppet.say({"type": "audio", "reply": 3, "from": 0}, np.full(3 * VOICE, 40, np.int16))
        self.page.wait_for_selector(f"#answer .now:text-is('{words[SAID]}')")


def _listening(scene: Scene) -> None:
    scene.start()


def _talk(state: str) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        scene.start()
        scene.past()
        if state == "thinking":
            scene.heard(3, QUESTION)
        scene.state(state)

    return play


def _speaking(scene: Scene) -> None:
    scene.start()
    scene.speak()


def _latency(scene: Scene) -> None:
    _talk("hearing")(scene)
    scene.page.click("#latency summary")


def _muted(scene: Scene) -> None:
    scene.start()
    scene.past()
    scene.page.click("#mute")
    scene.shows("muted")


def _keyed(scene: Scene) -> None:
    scene.start()
    _settings(scene)
    scene.page.check("#keyed")
    scene.page.get_by_role("button", name="Done").click()
    scene.shows("keyed")


def _settings(scene: Scene) -> None:
    scene.page.click("#open-settings")


def _lost(scene: Scene) -> None:
    scene.start()
    scene.past()
    scene.cable.cut()
    scene.shows("lost")


def _trouble(scene: Scene) -> None:
    scene.page.click("#orb")
    scene.shows("trouble")


def _closed(code: int, reason: str) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        scene.start()
        scene.puppet.close(code, reason)
        scene.shows("lost" if code == 1013 else "closed")

    return play


STATES: dict[str, tuple[Callable[[Scene], None], str]] = {
    "before": (lambda scene: None, ""),
    "listening": (_listening, ""),
    "hearing": (_talk("hearing"), ""),
    "thinking": (_talk("thinking"), ""),
    "speaking": (_speaking, ""),
    "paused": (_talk("paused"), ""),
    "latency": (_latency, ""),
    "muted": (_muted, ""),
    "push-to-talk": (_keyed, ""),
    "settings": (_settings, ""),
    "reconnecting": (_lost, ""),
    "refused-microphone": (_trouble, REFUSE % "NotAllowedError"),
    "no-microphone": (_trouble, REFUSE % "NotFoundError"),
    "microphone-in-use": (_trouble, REFUSE % "NotReadableError"),
    "insecure": (_trouble, INSECURE),
    "needs-a-key": (_closed(1008, "A key is needed, and this is none."), ""),
    "full": (_closed(1013, "All places are taken."), ""),
    "elsewhere": (_closed(4001, ""), ""),
}
"""Of each, what is done, and a script that runs before the page's own."""


@contextmanager
def scene(browser: Any, state: str, size: tuple[int, int], scheme: str) -> Iterator[Scene]:
    """The page in that state."""
    play, script = STATES[state]
    puppet = Puppet()
    with served(puppet.app) as port:
        cable = Cable(port)
        context = browser.new_context(
            permissions=["microphone"],
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        context.add_init_script(script)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{cable.port}/")
        found = Scene(page, puppet, cable)
        page.evaluate(STEADY, "0.5" if state in ("hearing", "speaking") else "0.15")
        play(found)
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(150)
        yield found
        context.close()
        cable.close()


def all_of_them(browser: Any, folder: Path, only: list[str]) -> None:
    """One file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for state in only or STATES:
        for name, size in SIZES.items():
            for scheme in ("light", "dark"):
                with scene(browser, state, size, scheme) as found:
                    found.page.screenshot(path=folder / f"{state}-{name}-{scheme}.png")


COLLAGE = """<!doctype html><style>
  body { margin: 0; width: 1200px; height: 620px; position: relative; overflow: hidden;
         background: linear-gradient(135deg, #dfe6e4, #e6e0ee); }
  img { position: absolute; border-radius: 14px; box-shadow: 0 18px 50px rgb(20 30 40 / 28%%); }
  .desk { left: 50px; top: 55px; width: 816px; }
  .phone { right: 57px; top: 70px; width: 222px; border-radius: 26px; outline: 7px solid #16202a; }
</style><img class=desk src="%s"><img class=phone src="%s">"""


@contextmanager
def talking(folder: Path) -> Iterator[str]:
    """`voiceloop serve` with a storyteller."""
    command = [sys.executable, "-m", "voiceloop", "serve", "--json", "--port", "0", "--offline"]
    env = environment(folder, VOICELOOP_HANDLER_NAME=storyteller(folder), PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def readme(driver: Any, folder: Path) -> None:
    """The real thing: in the middle of an answer on a desk, and while somebody speaks on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = launched(driver, people(folder), granted=True)
    moments = (("desk", "light", "[data-view=speaking]"), ("phone", "dark", "[data-view=hearing]"))
    shots: list[str] = []
    with talking(folder) as url:
        for name, scheme, view in moments:
            width, height = SIZES[name]
            viewport = {"width": width, "height": height}
            page = browser.new_page(viewport=viewport, device_scale_factor=1.5, color_scheme=scheme)
            page.goto(url)
            page.click("#orb")
            page.wait_for_selector("#log .unheard", state="attached", timeout=60_000)  # the story was interrupted
            page.wait_for_selector("body[data-view=speaking] #answer .now", timeout=60_000)
            page.wait_for_timeout(1_000 if name == "phone" else 0)
            page.wait_for_selector(f"body{view}", timeout=60_000)
            page.wait_for_timeout(700)
            shots.append("data:image/png;base64," + base64.b64encode(page.screenshot()).decode())
            page.close()
    page = browser.new_page(viewport={"width": 1200, "height": 620}, device_scale_factor=1.5)
    page.set_content(COLLAGE % tuple(shots))
    page.screenshot(path=folder / "browser.png")
    browser.close()
    command = ["ffmpeg", "-v", "error", "-y", "-i", folder / "browser.png", "-quality", "80", README]
    subprocess.run([str(part) for part in command], check=True)
    print(f"{README.relative_to(ROOT)}: {README.stat().st_size // 1000} kB")


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], choices=[*STATES], metavar="STATE")
    wanted = parser.parse_args()
    with sync_playwright() as driver:
        if wanted.readme:
            readme(driver, wanted.folder)
            return
        browser = launched(driver, granted=True)
        all_of_them(browser, wanted.folder, wanted.only)
        browser.close()


if __name__ == "__main__":
    main()
