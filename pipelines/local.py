"""Run the pipeline on this machine with Kubeflow's own local runner, each step in a separate process.

Started by ``regrow run`` as ``python -m regrow_pipelines.local ARGUMENTS.json PIPELINE_ROOT``: what Kubeflow
prints goes where this process's output goes, a log file; what the user sees travels as events (`regrow.progress`).

Kubeflow's local cache is left off: it checks that outputs exist, not that they are whole. The steps' own cache
verifies the digests in their statements.
"""

import json
import sys
from pathlib import Path

from kfp import local

from regrow.progress import emit
from regrow_pipelines.interpreter import plain_interpreter
from regrow_pipelines.orphans import end_with_parent
from regrow_pipelines.prune_and_recover import prune_and_recover


def execute(arguments: dict[str, str], root: Path) -> None:
    """Run the pipeline with ``arguments``; artifacts go below ``root``.

    Raises:
        RuntimeError: a step failed; its message has been reported as an event.
    """
    emit("ready")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    with plain_interpreter():
        prune_and_recover(**arguments)


if __name__ == "__main__":
    end_with_parent()
    execute(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
