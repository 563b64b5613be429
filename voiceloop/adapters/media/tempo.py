"""Speech made faster or slower with its pitch kept, by FFmpeg's `atempo` (overlapping waveforms that fit)."""

from __future__ import annotations

import av
import numpy as np
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as Ended
from av.filter import Graph

from voiceloop.adapters.media.sound import frame_of
from voiceloop.core.audio import Pcm, silence

_RANGE = (0.5, 2.0)
"""What one filter does well; more of them stand in a row."""


class Tempo:
    """int16 mono at `rate` in, 1 / `factor` as long out. factor: 0.1..10."""

    def __init__(self, rate: int, factor: float) -> None:
        self._rate = rate
        self._factor = factor
        self._graph: Graph | None = None

    def feed(self, pcm: Pcm) -> Pcm:
        """The samples that can be given so far."""
        if pcm.size == 0:
            return silence(0)
        if self._graph is None:
            self._graph = _graph(self._rate, self._factor)
        self._graph.push(frame_of(pcm, self._rate))
        return self._pulled(self._graph)

    def flush(self) -> Pcm:
        """The rest; then it starts anew."""
        graph, self._graph = self._graph, None
        if graph is None:
            return silence(0)
        graph.push(None)
        return self._pulled(graph)

    def _pulled(self, graph: Graph) -> Pcm:
        found = [silence(0)]
        while True:
            try:
                frame = graph.pull()
            except (NothingYet, Ended):
                return np.concatenate(found)
            if isinstance(frame, av.AudioFrame):
                found.append(np.asarray(frame.to_ndarray(), np.int16).reshape(-1))


def _graph(rate: int, factor: float) -> Graph:
    graph = Graph()
    nodes = [graph.add_abuffer(sample_rate=rate, format="s16", layout="mono")]
    while factor != 1.0:
        step = min(max(factor, _RANGE[0]), _RANGE[1])
        factor = 1.0 if abs(factor / step - 1) < 1e-6 else factor / step
        nodes.append(graph.add("atempo", f"{step:.6f}"))
    nodes.append(graph.add("aformat", "sample_fmts=s16:channel_layouts=mono"))
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    return graph
