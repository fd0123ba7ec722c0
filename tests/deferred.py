"""Libraries that take seconds to import, imported when a test first uses them: collecting the tests needs none."""

import importlib
from typing import Any


class deferred:  # noqa: N801  # written in place of an import
    """Stands for the module ``name``; its attributes are the module's."""

    def __init__(self, name: str) -> None:
        self._name = self.__name__ = name  # the latter is what pytest shows of a parameter

    def __getattr__(self, attribute: str) -> Any:
        # pytest asks every name of a file for attributes of its own.
        if attribute.startswith("_") and attribute != "__version__":
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
