"""What of a streamed markdown text is meant to be said.

A machine that takes one character at a time, so its result cannot depend on how the text was cut into deltas.
It is no renderer: it follows CommonMark where a listener would hear the difference, and where CommonMark would
have to wait (is this `*` ever closed?) it judges by the neighbouring characters.

What waits for more text is bounded: a link target, tag or marker that never closes is given up after a few
hundred characters. What is skipped (code blocks, `<think>`) is not stored, and read again after `SKIPPED` characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

SKIPPED = 20_000
"""Characters of a code block or hidden element after which its end is no longer expected."""

HELD = 300
"""Most characters that wait for the end of a tag or link target."""

_MARKERS = frozenset("-*+•‣◦▪—·") | {"#" * n for n in range(1, 7)}
_RULE = frozenset("-*_=|: ")
_SCHEMES = ("https://", "http://", "www.")
_URL_ENDS = frozenset('<>"`{}|\\^[]')
_URL_TAIL = frozenset(".,;:!?)'*_~")
_HOST = re.compile(r"(?:[^/?#@]*@)?(?:www\.)?([^/?#:@]*)", re.I)
_TARGET = re.compile(r"""\(\s*(?:<[^>]*>|\S*)(?:\s+(?:"[^"]*"|'[^']*'|\([^)]*\)))?\s*\)""")
_NOTE = re.compile(r"\[(?:\^[^\]\s]{0,40}|[ xX]?|\d{0,3})\]?")
_TAG = re.compile(r"""</?([a-z][a-z0-9-]*)(?:\s+[\w:@.-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?)*\s*/?>""", re.I)
_AUTOLINK = re.compile(r"<(?:(?:https?://|mailto:)?([^\s<>]+))>", re.I)
_BLOCKS = re.compile(r"p|[bht]r|div|li|[uo]l|table|h[1-6]|blockquote|pre|section|article|summary|details", re.I)
_INLINES = re.compile(r"[abiusq]|em|strong|code|kbd|su[bp]|span|small|mark|del|ins|img|t[dh]|abbr|font", re.I)
_HIDDEN = re.compile(r"script|style|think|thinking", re.I)
_PICTURES = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\ufe00-\ufe0f\u20e3\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)
_JOINER = "\u200d"


class Markdown:
    """Turns markdown into words as they stream; a line break in the result is a place where speech must pause.

    code: what is said in place of a code block.
    """

    def __init__(self, code: str) -> None:
        self._code = code
        self._reset()

    def _reset(self) -> None:
        self._out: list[str] = []
        self._state: Callable[[str], None] = self._line
        self._held = ""
        self._prev = "\n"
        self._ticks = 0
        self._cell = False
        self._end = ""
        self._skipped = 0
        self._tail = ""

    def feed(self, delta: str) -> str:
        """The words known so far."""
        for ch in delta:
            self._state(ch)
        out, self._out = "".join(self._out), []
        return out

    def flush(self) -> str:
        """The rest, when no more will come; starts anew."""
        if self._state == self._url:
            self._emit(_host(self._held) + self._tail)
        elif self._state in (self._bang, self._escape, self._prefix, self._tag, self._entity) or (
            self._state in (self._target, self._reference) and " " in self._held
        ):
            self._emit(self._held)
        out = "".join(self._out)
        self._reset()
        return out

    def _emit(self, text: str) -> None:
        self._out.append(text)
        self._prev = text[-1:] or self._prev

    def _become(self, state: Callable[[str], None], held: str = "") -> None:
        self._state, self._held = state, held

    def _again(self, text: str) -> None:
        """Reads held characters once more, as plain text."""
        self._become(self._text)
        for ch in text:
            self._state(ch)

    def _line(self, ch: str) -> None:
        """At the start of a line: block markers, rules and fences."""
        if ch == "\n":
            self._emit("\n")
            self._held = ""
        elif not self._held and (ch.isspace() or ch == ">"):
            return
        elif ch.isspace() and self._held in _MARKERS:
            self._held = ""
        elif ch in "`~" and not self._held.strip(ch):
            self._held += ch
            if len(self._held) == 3:
                self._state = self._info
        elif _RULE.issuperset(self._held + ch) or (self._held + ch) in _MARKERS:
            self._held = (self._held + ch)[:HELD]
        else:
            self._again(self._held + ch)

    def _text(self, ch: str) -> None:
        """Within a line."""
        if ch == "\n":
            self._ticks, self._cell = 0, False
            self._emit("\n")
            self._become(self._line)
            return
        if self._cell and ch not in "|<" and not ch.isspace():
            self._cell = False
            self._emit(", ")
        if ch in "hHwW" and not (self._prev.isascii() and self._prev.isalnum()):
            self._become(self._prefix, ch)
        elif self._ticks and ch != "`":
            self._emit(ch)
        elif ch in "*_~`":
            self._become(self._run, ch)
        elif ch == "|":
            self._cell = True
        elif _PICTURES.match(ch) or (ch == _JOINER and self._prev == " "):
            self._emit(" ")
        else:
            state = {
                "\\": self._escape,
                "!": self._bang,
                "[": self._bracket,
                "]": self._closed,
                "<": self._tag,
                "&": self._entity,
            }.get(ch)
            if state:
                self._become(state, ch)
            else:
                self._emit(ch)

    def _escape(self, ch: str) -> None:
        """After a backslash."""
        if ch.isascii() and ch.isprintable() and not ch.isalnum() and ch != " ":
            self._emit(ch)
            self._become(self._text)
        else:
            self._emit("\\")
            self._again(ch)

    def _bang(self, ch: str) -> None:
        """After `!`, which may begin an image."""
        if ch != "[":
            self._emit("!")
        self._again(ch)

    def _run(self, ch: str) -> None:
        """A run of one of * _ ~ and backticks: emphasis, or meant as it stands?"""
        mark = self._held[0]
        if ch == mark:
            self._held = (self._held + ch)[:HELD]
            return
        if mark == "`":
            n = len(self._held)
            if not self._ticks and n >= 3:
                self._become(self._info, self._held)
                self._info(ch)
                return
            self._ticks = {0: n, n: 0}.get(self._ticks, self._ticks)
        elif _literal(self._held, self._prev, ch):
            self._emit(self._held)
        self._prev = mark
        self._again(ch)

    def _bracket(self, ch: str) -> None:
        """After `[`: footnotes, citations and check boxes are dropped, other text is read as it comes."""
        held = self._held + ch
        if not _NOTE.fullmatch(held) or (held[1] in "xX" and self._prev != "\n"):
            if self._prev.isalnum():
                self._emit(" ")
            self._again(held[1:])
        elif ch == "]":
            self._become(self._closed)
        else:
            self._held = held

    def _closed(self, ch: str) -> None:
        """After `]`: does a link target follow?"""
        if ch == "(":
            self._become(self._target, ch)
        elif ch == "[":
            self._become(self._reference, ch)
        else:
            self._again(ch)

    def _target(self, ch: str) -> None:
        """Within `(...)` after `]`."""
        held = self._held + ch
        closed = ch == ")" and held.count("(") == held.count(")")
        if closed and _TARGET.fullmatch(held):
            self._become(self._text)
        elif closed or ch == "\n" or (len(held) == HELD and " " in held):
            self._emit(" ")
            self._plain(held)
        elif len(held) < HELD:
            self._held = held
        else:
            self._become(self._swallow)

    def _plain(self, held: str) -> None:
        """Emits the opening character as it stands and reads the rest again."""
        self._emit(held[0])
        self._again(held[1:])

    def _swallow(self, ch: str) -> None:
        """The rest of a very long address (data:image/png;base64,...)."""
        if ch.isspace() or not ch.isascii():
            self._again(ch)
        elif ch == ")":
            self._become(self._text)

    def _reference(self, ch: str) -> None:
        """Within the second brackets of `[text][id]`."""
        if ch == "]":
            self._become(self._text)
        elif ch == "\n" or len(self._held) == HELD:
            self._again(" " + self._held[1:] + ch)
        else:
            self._held += ch

    def _tag(self, ch: str) -> None:
        """After `<`: HTML, or an address, or less than."""
        held = self._held + ch
        if ch == ">":
            self._tagged(held)
        elif held == "<!--":
            self._hide("-->")
        elif ch in "<\n" or len(held) == HELD or not (held[1].isalpha() or held[1] in "/!"):
            self._plain(held)
        else:
            self._held = held

    def _tagged(self, held: str) -> None:
        """Decides about a complete `<...>`."""
        tag, link = _TAG.fullmatch(held), _AUTOLINK.fullmatch(held)
        name = tag[1].lower() if tag else ""
        if _HIDDEN.fullmatch(name) and held[1] != "/":
            self._hide(f"</{name}>")
        elif _BLOCKS.fullmatch(name):
            self._cell = False
            self._emit("\n")
            self._become(self._text)
        elif name and (_INLINES.fullmatch(name) or _HIDDEN.fullmatch(name) or not self._prev.isalnum()):
            self._cell = self._cell or name in ("td", "th")
            self._become(self._text)
        elif link and ("://" in held or "@" in held):
            self._emit(link[1] if "@" in held else _host(link[1]))
            self._become(self._text)
        else:
            self._plain(held)

    def _hide(self, end: str) -> None:
        self._end, self._skipped = end, 0
        self._become(self._hidden)

    def _hidden(self, ch: str) -> None:
        """Within a comment or an element that is not text."""
        self._skipped += 1
        self._held = (self._held + ch)[-len(self._end) :]
        if self._held.lower() == self._end or self._skipped >= SKIPPED:
            self._become(self._text)

    def _entity(self, ch: str) -> None:
        """After `&`."""
        held = self._held + ch
        if ch == ";":
            self._emit(html.unescape(held))
            self._become(self._text)
        elif len(held) > 10 or not (ch == "#" or (ch.isascii() and ch.isalnum())):
            self._plain(held)
        else:
            self._held = held

    def _prefix(self, ch: str) -> None:
        """At the start of a word that may be a web address."""
        held = self._held + ch
        if held.lower() in _SCHEMES:
            self._tail = ""
            self._become(self._url)
        elif held.lower().startswith(("h", "w")) and any(s.startswith(held.lower()) for s in _SCHEMES):
            self._held = held
        else:
            self._emit(self._held)
            self._again(ch)

    def _url(self, ch: str) -> None:
        """Within a web address: only its host is said; punctuation at its end belongs to the sentence."""
        if ch in _URL_TAIL:
            self._tail = (self._tail + ch)[:HELD]
        elif ch.isascii() and ch.isprintable() and ch != " " and ch not in _URL_ENDS:
            self._held = (self._held + self._tail + ch)[:HELD]
            self._tail = ""
        else:
            self._emit(_host(self._held))
            self._again(self._tail + ch)

    def _info(self, ch: str) -> None:
        """After three backticks or tildes: a code block if the line ends before another backtick."""
        mark = self._held[0]
        info = self._held.lstrip(mark)
        run = len(self._held) - len(info)
        if ch == "\n":
            self._emit(f"\n{self._code}\n")
            self._end, self._skipped = mark * run, 0
            self._become(self._fenced)
        elif (info and ch == "`" == mark) or len(self._held) == HELD:
            self._ticks = run
            self._again(info + ch)
        else:
            self._held += ch

    def _fenced(self, ch: str) -> None:
        """Within a code block."""
        self._skipped += 1
        line = self._held.strip()
        if ch != "\n":
            self._held = (self._held + ch)[:HELD]
        elif line.startswith(self._end) and not line.strip(self._end[0]):
            self._become(self._line)
        else:
            self._held = ""
        if self._skipped >= SKIPPED:
            self._become(self._line)


def _host(url: str) -> str:
    """What is said in place of an address (without its scheme)."""
    match = _HOST.match(url)
    return (match and match[1]) or "a link"


def _literal(run: str, before: str, after: str) -> bool:
    """Whether a run of * _ or ~ between two characters is meant as it stands and not as emphasis."""
    if run[0] == "~":
        return len(run) == 1
    if before.isspace() and after.isspace():
        return len(run) == 1
    if run[0] == "_":
        return _cased(before) and _cased(after)
    if len(run) == 1:
        return _cased(before) and _cased(after)
    return before.isdigit() and after.isdigit()


def _cased(ch: str) -> bool:
    """A digit, or a letter of a script that puts spaces between words (so a mark inside a word is no emphasis)."""
    return ch.isdigit() or ch.islower() or ch.isupper()
