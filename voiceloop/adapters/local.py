"""What the embedded engines share: their errors, and how onnxruntime is set up beside a real-time loop."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout, Stage, VoiceloopError

# From 1.32 on, onnxruntime tells its maker how it is used, and keeps a device id. It looks here when it is imported,
# which only modules do that have imported this one.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@contextmanager
def engine_errors(engine: str, stage: Stage) -> Generator[None, None, None]:
    """What goes wrong inside, as the errors of the port. Messages of foreign exceptions may quote words: left out."""
    try:
        yield
    except (ConfigError, ProviderError):
        raise
    except TimeoutError as exc:
        raise ProviderTimeout(f"{engine} did not finish in time", stage=stage, retryable=True) from exc
    except VoiceloopError as exc:
        raise ProviderError(f"{engine} cannot work now: {exc}", stage=stage, retryable=True) from exc
    except Exception as exc:
        raise ProviderError(f"{engine} failed ({type(exc).__name__})", stage=stage) from exc


def onnx_options(ort: Any) -> Any:
    """Session options of onnxruntime: one thread, and none that spins while it waits."""
    if hasattr(ort, "disable_telemetry_events"):
        ort.disable_telemetry_events()  # for those who imported it before us
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
