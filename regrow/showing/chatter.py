"""Keep the start-up messages of TensorFlow's libraries off the terminal; other messages pass."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from regrow.showing.output import RedactedStream
from regrow.showing.redaction import redacted

CHATTER = (
    rb"absl::InitializeLog",
    rb"oneDNN custom operations are on",
    rb"cudart_stub",
    rb"cpu_feature_guard",
    rb"To enable the following instructions",
    rb"(compute|computation)_placer",
    rb"Created TensorFlow Lite XNNPACK delegate",
    rb"tf_tfl_flatbuffer_helpers",
    rb"^fully_quantize: ",
    rb"node_def_util.*attribute use_unbounded_threadpool .*Unknown attributes will be ignored",
)
# Where there is no NVIDIA driver, that CUDA does not start is no news.
NO_GPU = (rb"failed call to cuInit", rb"Could not find cuda drivers", rb"cuda_platform|cuda_diagnostics")


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Filter what native code writes to file descriptor 2; Python's own standard error goes past the filter."""
    known = CHATTER if Path("/dev/nvidiactl").exists() else (*CHATTER, *NO_GPU)
    pattern = re.compile(rb"|".join(known))
    sys.stderr.flush()
    terminal = os.dup(2)
    taken, given = os.pipe()
    os.dup2(given, 2)
    os.close(given)
    python = sys.stderr
    own = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
    sys.stderr = cast("TextIO", RedactedStream(own))
    pump = threading.Thread(target=_pump, args=(taken, terminal, pattern), daemon=True)
    pump.start()
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python
        os.dup2(terminal, 2)  # closes the pipe's last writing end, which ends the pump
        pump.join(timeout=5)
        os.close(terminal)


def _pump(taken: int, terminal: int, chatter: re.Pattern[bytes]) -> None:
    with open(taken, "rb") as lines:
        for line in lines:
            if chatter.search(line):
                continue
            with contextlib.suppress(OSError):  # nobody reads; what is read from must not wait for ever
                os.write(
                    terminal,
                    redacted(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"),
                )
