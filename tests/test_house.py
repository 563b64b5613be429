"""The house rules: who imports whom, what `import voiceloop` loads, and what never gets into the repository.

Each rule is a function from source to what is wrong with it, with a test that it can fail.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import voiceloop

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "voiceloop"

EDGES = {
    *("adapters", "server", "wire", "config", "keypaths", "sections", "cli", "commands", "screen", "journal", "doctor")
}
"""Rooms that may use third-party packages."""

NUMPY = {"core", "session", "ports", "testing", "jobs"}

ROOMS = {
    "core": {"core"},
    "errors": set[str](),
    "view": set[str](),
    "ports": {"core", "errors", "view"},
    "peers": {"core", "ports"},
    "tally": set[str](),
    "wire": {"wire", "core", "errors"},
    "satellite": {"satellite", "core", "errors", "ports", "session", "wire"},
    "session": {"session", "core", "ports", "errors"},
    "adapters": {"core", "peers", "ports", "errors", "tally", "view"},
    "registry": {"core", "ports", "errors"},
    "keypaths": {"errors"},
    "config": {"core", "errors", "keypaths", "sections"},
    "sections": set[str](),
    "lexicons": {"core"},
    "journal": {"journal", "core", "ports", "errors", "session"},
    "lineup": {"adapters", "config", "core", "errors", "makers", "media", "ports", "registry", "tally"},
    "makers": {"adapters", "config", "core", "errors", "media", "peers", "ports", "tally"},
    "media": {"adapters", "core", "errors", "ports"},
    "build": {
        "adapters",
        "calibration",
        "config",
        "core",
        "errors",
        "journal",
        "lexicons",
        "lineup",
        "makers",
        "media",
        "ports",
        "registry",
        "satellite",
        "session",
        "tally",
    },
    "transcription": {"core", "errors", "media", "ports"},
    "jobs": {"build", "config", "core", "errors", "ports", "transcription"},
    "screen": {"core", "satellite", "session"},
    "keys": {"core", "process"},
    "calibration": {"errors"},
    "doctor": {
        "doctor",
        "build",
        "calibration",
        "config",
        "core",
        "errors",
        "lineup",
        "makers",
        "ports",
        "process",
        "registry",
    },
    "virtual": set[str](),
    "process": set[str](),
    "commands": {
        "build",
        "commands",
        "config",
        "core",
        "errors",
        "jobs",
        "journal",
        "keys",
        "ports",
        "process",
        "screen",
        "server",
        "session",
        "virtual",
        "whatif",
    },
    "whatif": {"whatif", "build", "config", "core", "errors", "journal", "ports", "session", "virtual"},
    "assistant": {"build", "config", "core", "errors", "ports", "session"},
    "server": {
        "server",
        "wire",
        "build",
        "config",
        "core",
        "errors",
        "jobs",
        "peers",
        "ports",
        "sections",
        "session",
        "tally",
        "view",
    },
    "cli": {"commands", "doctor", "errors", "process"},
    "testing": {"core", "errors", "journal", "ports", "session", "virtual"},
    "__main__": {"cli"},
    "__init__": {"assistant", "config", "errors", "session"},
}
"""Who may import whom. A module that is in no room here has no place in the house yet."""

CLOCKS_AND_IO = {
    *("asyncio", "threading", "multiprocessing", "concurrent", "queue", "time", "random", "secrets", "logging"),
    *(
        "importlib",
        "socket",
        "ssl",
        "http",
        "urllib",
        "select",
        "selectors",
        "subprocess",
        "os",
        "io",
        "pathlib",
        "sys",
    ),
}
"""Standard modules that the core does without: it decides, and touches nothing."""

BANNED_STDLIB = {"core": CLOCKS_AND_IO, "wire": {"asyncio", "threading", "socket", "time"}, "session": {"importlib"}}

TOP_LEVEL = {"pyproject.toml", "voiceloop", "tests", "configs", "README.md", "Makefile", "benchmarks", "LICENSE"}

LOADED = set[str]()
"""Third-party modules that `import voiceloop` may load."""

Finding = tuple[int, str]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(module: str) -> str:
    """core for voiceloop.core.audio, __init__ for voiceloop itself."""
    return [*module.split("."), "__init__"][1]


def dotted(path: str) -> str:
    """voiceloop.core.audio for voiceloop/core/audio.py."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of each module, or of a name in a package, that is imported anywhere, even in a function."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, level=0, names=names):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                    is_package = (ROOT / inner.replace(".", "/")).is_dir()
                    yield node.lineno, inner if is_module or is_package or module == "voiceloop" else str(module)
            case ast.ImportFrom():
                yield node.lineno, "."
            case ast.Call(args=[ast.Constant(value=str(target)), *_]) if called(node) in (
                "import_module",
                "__import__",
            ):
                yield node.lineno, target
            case _:
                pass


def called(node: ast.Call) -> str:
    """Last part of the name of what is called."""
    match node.func:
        case ast.Name(id=last) | ast.Attribute(attr=last):
            return last
        case _:
            return ""


def check_imports(source: str, path: str) -> Iterator[Finding]:
    module = dotted(path)
    here = room(module)
    if here not in ROOMS:
        yield 1, f"{here} is in no room: add it to ROOMS and to ARCHITECTURE"
        return
    for line, target in imports(ast.parse(source)):
        top = target.split(".")[0]
        if target == ".":
            yield line, "relative import"
        elif top == "voiceloop":
            if not may_import(module, target):
                yield line, f"{here} imports {target}"
        elif top in sys.stdlib_module_names:
            if top in BANNED_STDLIB.get(here, ()):
                yield line, f"{here} imports {top}"
        elif here not in EDGES and not (top == "numpy" and here in NUMPY):
            yield line, f"{here} imports the package {top}"


def may_import(module: str, target: str) -> bool:
    here, there = room(module), room(target)
    if target == "voiceloop.__version__":
        return here != "core"
    if here == there == "adapters":
        shared = target.startswith(("voiceloop.adapters.http", "voiceloop.adapters.local"))
        return shared or (module.rpartition(".")[0] == target.rpartition(".")[0] != "voiceloop.adapters")
    return there in ROOMS[here]


# Brackets inside the words keep these lines from finding themselves.
LEAKS = {
    "a path of one machine": re.compile(r"(?<![\w.)}$~-])/(?:wor[k]|roo[t]|tm[p]|home/\w+)(?![\w.-])"),
    "a package registry": re.compile(
        r"\bpyp[i]\.(?:org|python)|python[h]osted\.org|npm[j]s\.(?:org|com)|anacond[a]\.org|crate[s]\.io"
        r"|proxy\.golan[g]|deb\.debia[n]\.org|(?:archive|ports|security)\.ubunt[u]\.com|--(?:extra-)?inde[x]-url"
    ),
    "unfinished work": re.compile(r"\b(?:TOD[O]|FIXM[E])\b"),
}


def check_leaks(source: str, path: str) -> Iterator[Finding]:
    for number, line in enumerate(source.splitlines(), 1):
        for what, pattern in LEAKS.items():
            if found := pattern.search(line):
                yield number, f"{what}: {found[0]}"


def tracked() -> list[Path]:
    """Files that are, or are about to be, in the repository; in a tree without one, all but dot folders."""
    if not (ROOT / ".git").exists():
        inner = (p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
        return [p for p in inner if p.is_file() and "__pycache__" not in p.parts]
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / p for p in listed.split("\0") if p and (ROOT / p).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


Check = Callable[[str, str], Iterator[Finding]]


def test_who_imports_whom() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    found = [f"{name(p)}:{line}: {what}" for p in files for line, what in check_imports(p.read_text("utf-8"), name(p))]
    assert found == []


def test_nothing_leaks() -> None:
    found = [f"{name(p)}:{line}: {what}" for p, text in texts() for line, what in check_leaks(text, name(p))]
    assert found == []


def test_nothing_else_at_the_top() -> None:
    top = {p.relative_to(ROOT).parts[0] for p in tracked()}
    assert {t for t in top if not t.startswith(".")} <= TOP_LEVEL


BAD = [
    (check_imports, "import asyncio", "voiceloop/core/x.py"),
    (check_imports, "def f():\n    import time", "voiceloop/core/x.py"),
    (check_imports, "import scipy", "voiceloop/core/x.py"),
    (check_imports, "from voiceloop.errors import ConfigError", "voiceloop/core/x.py"),
    (check_imports, "from voiceloop import ports", "voiceloop/core/x.py"),
    (check_imports, "from voiceloop import __version__", "voiceloop/core/x.py"),
    (check_imports, "from .audio import Pcm", "voiceloop/core/x.py"),
    (check_imports, "import asyncio", "voiceloop/wire/x.py"),
    (check_imports, "from voiceloop.session.session import Session", "voiceloop/ports.py"),
    (check_imports, "from voiceloop.config import Config", "voiceloop/session/x.py"),
    (check_imports, "from voiceloop.adapters import http", "voiceloop/session/x.py"),
    (check_imports, "from voiceloop import Session", "voiceloop/adapters/vad/x.py"),
    (check_imports, "from voiceloop.adapters.vad.webrtc import X", "voiceloop/adapters/stt/x.py"),
    (check_imports, "from voiceloop.adapters.vad.webrtc import X", "voiceloop/adapters/http.py"),
    (check_imports, "from voiceloop.adapters.audio import sounddevice", "voiceloop/cli.py"),
    (check_imports, "importlib.import_module('voiceloop.adapters.http')", "voiceloop/server/x.py"),
    (check_imports, "import httpx", "voiceloop/session/x.py"),
    (check_imports, "import numpy", "voiceloop/build.py"),
    (check_imports, "x = 1", "voiceloop/helpers.py"),
    (check_leaks, "see /" + "work/main", "README.md"),
    (check_leaks, "open('/" + "tmp/x')", "x.py"),
    (check_leaks, "cd /" + "root", "x.sh"),
    (check_leaks, "https://py" + "pi.org/simple", "x"),
    (check_leaks, "# TO" + "DO later", "x.py"),
]


@pytest.mark.parametrize(("check", "source", "path"), BAD)
def test_each_rule_can_fail(check: Check, source: str, path: str) -> None:
    assert list(check(source, path))


GOOD = [
    (check_imports, "import re\nimport numpy as np\nfrom voiceloop.core import audio", "voiceloop/core/x.py"),
    (check_imports, "from voiceloop.adapters.http import Client\nimport httpx", "voiceloop/adapters/stt/x.py"),
    (check_imports, "from voiceloop.adapters.audio.playback import X", "voiceloop/adapters/audio/x.py"),
    (check_imports, "from voiceloop.adapters.http_errors import X", "voiceloop/adapters/http.py"),
    (check_imports, "from voiceloop import __version__", "voiceloop/adapters/http.py"),
    (check_imports, "from voiceloop.adapters.audio import sounddevice", "voiceloop/build.py"),
    (check_leaks, "network/work and /working, a/root, $(DIR)/tmp/x", "x"),
]


@pytest.mark.parametrize(("check", "source", "path"), GOOD)
def test_each_rule_can_pass(check: Check, source: str, path: str) -> None:
    assert list(check(source, path)) == []


def loaded_by(statement: str) -> set[str]:
    """Top-level third-party modules that a statement loads in a fresh interpreter."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n{statement}\n"
        "print(*{m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split()) - {"voiceloop"}


def test_import_is_light() -> None:
    assert loaded_by("import voiceloop") <= LOADED


def test_a_satellite_loads_no_engine() -> None:
    made = "build.satellite(Config(), 'ws://h', '', [])"
    loaded = loaded_by(
        f"import voiceloop.screen; from voiceloop import build; from voiceloop.config import Config; {made}"
    )
    assert "websockets" in loaded
    assert not loaded & {
        "onnxruntime",
        "moonshine_voice",
        "hibari",
        "silero_vad",
        "webrtcvad",
        "httpx",
        "av",
        "starlette",
    }


def test_loaded_by_sees_packages() -> None:
    assert "numpy" in loaded_by("import voiceloop.core.audio")


@pytest.mark.parametrize("public", voiceloop.__all__)
def test_public_names_exist(public: str) -> None:
    assert getattr(voiceloop, public) is not None
    assert public in dir(voiceloop)


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = voiceloop.nothing


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert voiceloop.__version__ == project["version"]
