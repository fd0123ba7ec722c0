"""Tasks, the kinds of problem that Regrow supports: one module each, listed here by name."""

from regrow.errors import RegrowError, nearest
from regrow.tasks.classification import IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION, Task

TASKS: dict[str, Task] = {task.name: task for task in (IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION)}


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        RegrowError: there is no such task; the message suggests the nearest name.
    """
    if name not in TASKS:
        raise RegrowError(f"unknown task '{name}'{nearest(name, TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "Task", "get_task"]
