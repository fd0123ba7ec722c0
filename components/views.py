"""What Kubeflow's pages show for a step. Outputs are directories, for the next step; the pages want other things:
numbers and matrices as metadata, and a page as a file.
"""

import shutil
from pathlib import Path

from kfp.dsl import HTML, ClassificationMetrics, Metrics

from regrow.storage.artifacts import read_json

SHOWN = "recovered"


def show_metrics(metrics: Metrics) -> None:
    """Log every number in the directory's ``metrics.json``, so that runs can be compared."""
    for name, value in read_json(Path(metrics.path) / "metrics.json").items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            metrics.log_metric(name, value)


def show_confusion(confusion: ClassificationMetrics, metrics: Metrics) -> None:
    """Log the recovered model's confusion matrix; rows are true classes, columns predicted ones."""
    found = read_json(Path(metrics.path) / "confusion_matrix.json")
    confusion.log_confusion_matrix(found["classes"], found["matrices"][SHOWN])


def show_page(page: HTML, report: str, *, name: str = "report.html") -> None:
    """Put the file ``name`` of the directory ``report`` where the page is looked for: at the artifact's own path."""
    target = Path(page.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(report) / name, target)
