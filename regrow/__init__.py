"""Regrow: prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from.

The names below load when they are used; ``import regrow`` itself imports neither TensorFlow nor anything else that is
slow. It sets ``TF_USE_LEGACY_KERAS`` where that is not set: ``tf.keras`` is `tf_keras` from then on.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regrow.library import (
        KeepZeros,
        RegrowError,
        architecture,
        compare,
        criterion,
        export,
        export_format,
        inspect,
        load,
        prune,
        recover,
        rule,
        technique,
    )

# tf_keras is what trains (tfmot needs it); mlflow and tfmot choose between it and Keras 3 by this variable,
# and it must stand before either imports TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Without oneDNN TensorFlow computes no convolution with channels first on a CPU. It switches oneDNN on by itself only
# where the CPU has newer vector units, so that one model would be read on one machine and not on the other.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
__all__ = [
    "KeepZeros",
    "RegrowError",
    "architecture",
    "compare",
    "criterion",
    "export",
    "export_format",
    "inspect",
    "load",
    "prune",
    "recover",
    "rule",
    "technique",
]


def __getattr__(name: str) -> Any:
    """One of ``__all__``, imported now."""
    if name not in __all__:
        raise AttributeError(
            f"module 'regrow' has no attribute '{name}'", name=name, obj=sys.modules[__name__]
        )
    from regrow import library

    found = globals()[name] = getattr(library, name)
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
