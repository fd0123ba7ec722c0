"""Run one step of a sweep on this machine, as its component does, in a separate process.

Started by ``regrow sweep`` as ``python -m regrow_pipelines.local_sweep JOB.json``, a file with ``step``, ``params``,
``inputs``, ``values`` and ``outputs``. Kubeflow's local runner is left out: its ParallelFor has two workers, and ends
with the first candidate that fails.
"""

import json
import sys
from pathlib import Path

from regrow.registry.outcome import STEP, conclude
from regrow.steps.component import run_component
from regrow_pipelines.orphans import end_with_parent


def run_job(path: Path) -> None:
    """Run the step that the file ``path`` describes, or the exit handler: ``run`` and ``status`` of what has ended.

    Raises:
        RegrowError: the step failed, and is not asked to be quiet about it.
    """
    job = json.loads(path.read_text("utf-8"))
    if job["step"] == STEP:
        conclude(job["status"], job=job["run"], hurried=True)
        return
    run_component(
        job["step"], job["params"], inputs=job["inputs"], outputs=job["outputs"], values=job["values"]
    )


if __name__ == "__main__":
    end_with_parent()
    run_job(Path(sys.argv[1]))
