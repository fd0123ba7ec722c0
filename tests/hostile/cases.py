"""A hostile input is a function that writes it into a folder and gives the command line that meets it."""

from collections.abc import Callable
from pathlib import Path

Case = Callable[[Path], list[str]]


class Cases(dict[str, Case]):
    """Hostile inputs by name."""

    def add(self, name: str) -> Callable[[Case], Case]:
        """Enter the decorated function as ``name``."""

        def enter(case: Case) -> Case:
            assert name not in self
            self[name] = case
            return case

        return enter
