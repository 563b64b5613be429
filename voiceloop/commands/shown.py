"""What the user sees of a conversation, in the terminal or as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceloop.screen import Screen


class Shown:
    """An observer. end: ends the conversation; it is called when nobody reads standard output any more."""

    def __init__(self, screen: Screen | None) -> None:
        """screen: None for JSON."""
        from voiceloop.screen import JsonLines

        self._screen = screen
        self._show: Callable[[object], None] = screen or JsonLines()
        self._gone: BrokenPipeError | None = None
        self.end: Callable[[], None] = lambda: None

    def __call__(self, event: object) -> None:
        """Shows it."""
        try:
            self._show(event)
        except BrokenPipeError as exc:
            self._gone = exc
            self.end()

    def note(self, sentence: str) -> None:
        """Something else that the user is to know."""
        if self._screen:
            self._screen.note(sentence, "yellow")
        else:
            print(json.dumps({"event": "Notice", "stage": "session", "text": sentence}), flush=True)

    def check(self) -> None:
        """Raises BrokenPipeError if the reader of standard output has gone."""
        if self._gone:
            raise self._gone
