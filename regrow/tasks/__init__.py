"""The kinds of problem that Regrow knows; one module each, and this dict of them."""

from regrow.errors import RegrowError, nearest
from regrow.tasks.classification import IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION, Task

TASKS: dict[str, Task] = {task.name: task for task in (IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION)}


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        RegrowError: there is none; the nearest name is given.
    """
    if name not in TASKS:
        raise RegrowError(f"task '{name}' is not known{nearest(name, TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "Task", "get_task"]
