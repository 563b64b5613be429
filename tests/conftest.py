"""Loops: tests in `core` and `session` run on virtual time; the others on the real clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from voiceloop.testing import VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    virtual = item.get_closest_marker("virtual") is not None
    return {"virtual": VirtualLoop} if virtual else {"real": asyncio.new_event_loop}
