"""Loops: tests in `core` and `session` run on virtual time; the others on the real clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import pytest

from voiceloop.testing import VirtualLoop

# The same examples every time, and no deadline: these machines are shared.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What talks through the sound server mostly waits: `make test` runs it beside the rest, in two halves. By what
    tests core and wire their coverage is measured."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in ("core", "wire"):
            item.add_marker("pure")
        if item.get_closest_marker("e2e") and "server" in getattr(item, "fixturenames", ()):
            item.add_marker("sound")
        if item.path.name in ("test_connect.py", "test_devices.py"):
            item.add_marker("lines")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    virtual = item.get_closest_marker("virtual") is not None
    return {"virtual": VirtualLoop} if virtual else {"real": asyncio.new_event_loop}
