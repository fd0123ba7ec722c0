"""Random numbers and choice of kernels of the process that training runs in: a user's own, in a notebook."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave Python's and NumPy's random numbers, and TensorFlow's choice of kernels, as they were before.

    Training seeds the former, and has TensorFlow take repeatable kernels alone; with these a pipeline of a user's own
    fails where it draws random numbers without a seed.
    """
    from tensorflow.python.framework import config

    state, numbers = random.getstate(), np.random.get_state()
    was_fixed = config.is_op_determinism_enabled()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)
        if not was_fixed:
            config.disable_op_determinism()
