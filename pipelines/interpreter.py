"""The interpreter of a component's process, under the only name that Kubeflow's local runner leaves intact.

The runner (kfp 2.17) puts the path of its own interpreter in place of ``python3`` wherever that stands in a component's
command: unquoted in a line for the shell, where a space in the path ends the name, and in the JSON of the inputs, where
it changes what parameters and places of artifacts say. Where its interpreter is called ``python3``, it changes nothing.
"""

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NAME = "python3"


@contextlib.contextmanager
def plain_interpreter() -> Iterator[None]:
    """Within the block `sys.executable` is ``python3``, and the first one on PATH starts this interpreter."""
    executable, path = sys.executable, os.environ.get("PATH", os.defpath)
    with tempfile.TemporaryDirectory(prefix="regrow-python-") as folder:
        script = Path(folder) / NAME
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(executable)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        os.environ["PATH"] = os.pathsep.join((folder, path))
        sys.executable = NAME
        try:
            yield
        finally:
            sys.executable = executable
            os.environ["PATH"] = path
