"""The steps, in the order in which they run. A step never imports another: they meet in files.

A step's module is imported by name; if all were imported here, every step's code digest would cover all steps.
"""

import importlib
from typing import Any

from regrow.steps.spec import StepSpec

NAMES = ("resolve", "prepare", "augment", "train", "prune", "recover", "export", "evaluate", "register")
# Of sweeps only: between `recover` of each candidate and `export` of the chosen one.
SWEEP_NAMES = ("measure", "select")


def get_spec(name: str) -> StepSpec[Any]:
    """The specification of the step called ``name``; only that step's module is imported."""
    spec: StepSpec[Any] = importlib.import_module(f"regrow.steps.{name}").SPEC
    return spec


def all_specs() -> dict[str, StepSpec[Any]]:
    """All specifications by name, in order."""
    return {name: get_spec(name) for name in NAMES}
