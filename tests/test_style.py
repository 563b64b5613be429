"""The house rules: how big things get, how tasks are born, what may be caught, and no mocks.

Each rule is a function from source to what is wrong with it, with a test that it can fail.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "voiceloop"

CATCH_ALL = {
    "voiceloop/session/runs.py": "each run of a turn ends here: logged, fed back as Failed",
    "voiceloop/session/observe.py": "an observer that raises is logged and ignored",
    "voiceloop/session/workers.py": "a thread hands every exception to the task that waits for it",
    "voiceloop/server/front.py": "each request ends here: logged, answered with 500",
    "voiceloop/server/worker.py": "each job ends here: logged, told as failed",
    "voiceloop/journal/pen.py": "a recording that cannot be written ends; the session goes on",
    "voiceloop/adapters/handlers/function.py": "the user's own code is foreign",
    "voiceloop/adapters/audio/sounddevice.py": "a broken stream still closes",
    "voiceloop/adapters/audio/desk.py": "its thread hands exceptions over",
    "voiceloop/adapters/vad/together.py": "whoever waits for a shared run is told why it failed",
}
"""Where everything may be caught, and why. Elsewhere an adapter may only turn it into one of our errors."""

Finding = tuple[int, str]
Check = Callable[[str, str], Iterator[Finding]]


def called(node: ast.Call) -> str:
    """Last part of the name of what is called."""
    match node.func:
        case ast.Name(id=last) | ast.Attribute(attr=last):
            return last
        case _:
            return ""


def says_why(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "Why so long:" in (ast.get_docstring(node) or "")


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def attributes(node: ast.ClassDef) -> set[str]:
    """Names that an instance carries: assigned to self, or fields of a dataclass that can change."""
    found = {
        target.attr
        for target in ast.walk(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }
    decorators = [ast.unparse(d) for d in node.decorator_list]
    if any("dataclass" in d and "frozen=True" not in d for d in decorators):
        fields = [s for s in node.body if isinstance(s, ast.AnnAssign) and "ClassVar" not in ast.unparse(s.annotation)]
        found |= {s.target.id for s in fields if isinstance(s.target, ast.Name)}
    return found


def check_sizes(source: str, path: str) -> Iterator[Finding]:
    longest = 200 if path == "voiceloop/core/turns.py" else 400
    n_lines = source.count("\n")
    if n_lines > longest:
        yield 1, f"{n_lines} lines, at most {longest}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and not says_why(node):
            if length(node) > 300:
                yield node.lineno, f"class {node.name} has {length(node)} lines, at most 300"
            if len(attributes(node)) > 12:
                yield node.lineno, f"class {node.name} has {len(attributes(node))} attributes, at most 12"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not says_why(node) and length(node) > 60:
            yield node.lineno, f"{node.name} has {length(node)} lines, at most 60"


BANNED_NAMES = {
    "asyncio.create_task",
    "asyncio.ensure_future",
    "asyncio.gather",
    "asyncio.shield",
    "asyncio.to_thread",
    "concurrent.futures.ThreadPoolExecutor",
    "time.time",
}
GROUP = re.compile(r"(?:^|_)(?:group|tg|tasks)$")


def check_tasks(source: str, path: str) -> Iterator[Finding]:
    tree = ast.parse(source)
    aliases = {
        alias.asname or alias.name: alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=module, names=names):
                yield from ((node.lineno, f"{module}.{a.name}") for a in names if f"{module}.{a.name}" in BANNED_NAMES)
            case ast.Attribute(attr="create_task", value=receiver) if aliases.get(ast.unparse(receiver)) != "asyncio":
                if not GROUP.search(ast.unparse(receiver)):
                    yield node.lineno, f"{ast.unparse(node)}: tasks are born in a TaskGroup"
            case ast.Attribute(attr="run_in_executor"):
                yield node.lineno, "run_in_executor: use session/workers.py"
            case ast.Attribute(attr=attr, value=value):
                full = f"{aliases.get(ast.unparse(value), ast.unparse(value))}.{attr}"
                if full in BANNED_NAMES:
                    yield node.lineno, full
            case _:
                pass


def caught(node: ast.expr | None) -> set[str]:
    """Last names of the exceptions in an except clause; a bare one catches BaseException."""
    if node is None:
        return {"BaseException"}
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return {ast.unparse(part).split(".")[-1] for part in parts}


def check_excepts(source: str, path: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            kinds = caught(node.type)
            last = node.body[-1]
            if isinstance(last, ast.Raise) and last.exc is None:
                continue
            mapped = isinstance(last, ast.Raise) and path.startswith("voiceloop/adapters/")
            raises = any(isinstance(n, ast.Raise) for statement in node.body for n in ast.walk(statement))
            if "CancelledError" in kinds and not raises:
                yield node.lineno, "CancelledError is caught and not raised again"
            if kinds & {"Exception", "BaseException"} and path not in CATCH_ALL and not mapped:
                yield node.lineno, "only CATCH_ALL may catch everything"
        elif isinstance(node, ast.Call) and called(node) == "suppress":
            kinds = set[str]().union(*map(caught, node.args))
            if "CancelledError" in kinds or (kinds & {"Exception", "BaseException"} and path not in CATCH_ALL):
                yield node.lineno, f"{ast.unparse(node)} swallows too much"


def check_mocks(source: str, path: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = any(alias.name.startswith(("unittest.mock", "mock")) for alias in names)
            case ast.ImportFrom(module=module, names=names):
                found = any(f"{module}.{alias.name}".startswith(("unittest.mock", "mock.")) for alias in names)
            case ast.arg(arg="mocker"):
                found = True
            case _:
                found = False
        if found:
            yield getattr(node, "lineno", 1), "write a fake behind the port"


def findings(check: Check, folder: Path) -> list[str]:
    files = [(p.relative_to(ROOT).as_posix(), p.read_text("utf-8")) for p in sorted(folder.rglob("*.py"))]
    return [f"{name}:{line}: {what}" for name, source in files for line, what in check(source, name)]


@pytest.mark.parametrize("check", [check_sizes, check_tasks, check_excepts])
def test_the_package(check: Check) -> None:
    assert findings(check, PACKAGE) == []


def test_no_mocks() -> None:
    assert findings(check_mocks, ROOT / "tests") == []


@pytest.mark.parametrize("path", CATCH_ALL)
def test_catch_all_lists_only_what_needs_it(path: str) -> None:
    assert list(check_excepts((ROOT / path).read_text("utf-8"), "voiceloop/elsewhere.py"))


BAD = [
    (check_sizes, "x = 1\n" * 401, "voiceloop/x.py"),
    (check_sizes, "x = 1\n" * 201, "voiceloop/core/turns.py"),
    (check_sizes, "class A:\n" + "    x = 1\n" * 300, "voiceloop/x.py"),
    (check_sizes, "def f():\n" + "    x = 1\n" * 60, "voiceloop/x.py"),
    (check_sizes, "class A:\n    async def f(self):\n" + "        x = 1\n" * 60, "voiceloop/x.py"),
    (
        check_sizes,
        "class A:\n    def f(self):\n" + "".join(f"        self.a{i} = 1\n" for i in range(13)),
        "voiceloop/x.py",
    ),
    (check_sizes, f"class A:\n    def f(self):\n        {', '.join(f'self.a{i}' for i in range(13))} = g()\n", "x.py"),
    (
        check_sizes,
        "@dataclass(slots=True)\nclass A:\n" + "".join(f"    a{i}: int\n" for i in range(13)),
        "voiceloop/x.py",
    ),
    (check_tasks, "import asyncio\nasyncio.create_task(f())", "voiceloop/x.py"),
    (check_tasks, "import asyncio as aio\naio.gather(f())", "voiceloop/x.py"),
    (check_tasks, "from asyncio import shield", "voiceloop/x.py"),
    (check_tasks, "asyncio.get_running_loop().create_task(f())", "voiceloop/x.py"),
    (check_tasks, "make = loop.create_task", "voiceloop/x.py"),
    (check_tasks, "loop.run_in_executor(None, f)", "voiceloop/x.py"),
    (check_tasks, "from concurrent.futures import ThreadPoolExecutor", "voiceloop/x.py"),
    (check_tasks, "import concurrent.futures\nconcurrent.futures.ThreadPoolExecutor()", "voiceloop/x.py"),
    (check_tasks, "import time\ntime.time()", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept Exception:\n    pass", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept:\n    pass", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept (OSError, Exception) as e:\n    raise X from e", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept asyncio.CancelledError:\n    pass", "voiceloop/session/runs.py"),
    (check_excepts, "with suppress(asyncio.CancelledError):\n    f()", "voiceloop/x.py"),
    (check_excepts, "with suppress(Exception):\n    f()", "voiceloop/x.py"),
    (check_mocks, "from unittest.mock import patch", "tests/x.py"),
    (check_mocks, "import unittest.mock", "tests/x.py"),
    (check_mocks, "from unittest import mock", "tests/x.py"),
    (check_mocks, "def test(mocker): ...", "tests/x.py"),
]


@pytest.mark.parametrize(("check", "source", "path"), BAD)
def test_each_rule_can_fail(check: Check, source: str, path: str) -> None:
    assert list(check(source, path))


GOOD = [
    (check_excepts, "try:\n    f()\nexcept Exception as e:\n    raise ours(e) from e", "voiceloop/adapters/vad/x.py"),
    (check_mocks, "from unittest import TestCase", "tests/x.py"),
    (check_sizes, 'def f():\n    """F.\n\n    Why so long: a table.\n    """\n' + "    x = 1\n" * 60, "voiceloop/x.py"),
    (
        check_sizes,
        "@dataclass(frozen=True)\nclass A:\n" + "".join(f"    a{i}: int\n" for i in range(13)),
        "voiceloop/x.py",
    ),
    (check_tasks, "self._group.create_task(f())\ntg.create_task(f())\ntime.monotonic()", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept BaseException:\n    g()\n    raise", "voiceloop/x.py"),
    (check_excepts, "try:\n    f()\nexcept Exception:\n    g()", "voiceloop/session/runs.py"),
]


@pytest.mark.parametrize(("check", "source", "path"), GOOD)
def test_each_rule_can_pass(check: Check, source: str, path: str) -> None:
    assert list(check(source, path)) == []
