"""All formulas: the modules that register them, and the plain table for the rest."""

import inspect
from typing import Any

from regrow.keras3 import formulas_activations as keras3_formulas_activations
from regrow.keras3 import formulas_images as keras3_formulas_images
from regrow.keras3 import formulas_joining as keras3_formulas_joining
from regrow.keras3 import formulas_norms as keras3_formulas_norms
from regrow.keras3 import formulas_numbers as keras3_formulas_numbers
from regrow.keras3 import formulas_products as keras3_formulas_products
from regrow.keras3 import formulas_reductions as keras3_formulas_reductions
from regrow.keras3 import formulas_shaping as keras3_formulas_shaping
from regrow.keras3.formulas import FORMULAS, Formula, Operate
from regrow.keras3.operations import FROM_KERAS3, Operation

__all__ = [
    "keras3_formulas_activations",
    "keras3_formulas_images",
    "keras3_formulas_joining",
    "keras3_formulas_norms",
    "keras3_formulas_numbers",
    "keras3_formulas_products",
    "keras3_formulas_reductions",
    "keras3_formulas_shaping",
]


def _of_table(entry: Operation) -> Formula:
    def compute(op: Operate, **given: Any) -> Any:
        inputs = [given[name] for name in entry.inputs if name in given]
        settings = {entry.settings[name]: value for name, value in given.items() if name in entry.settings}
        return op(entry.symbol, *inputs, **settings)

    parameter = inspect.Parameter
    named = [parameter(name, parameter.POSITIONAL_OR_KEYWORD) for name in ("op", *entry.inputs)]
    named += [parameter(name, parameter.KEYWORD_ONLY, default=None) for name in entry.settings]
    compute.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return compute


for _kind, _entry in FROM_KERAS3.items():
    FORMULAS.setdefault(_kind, _of_table(_entry))
