#!/usr/bin/env bash
# On JAX, Keras 3 cannot fit a model a second time when its optimizer averages the weights (use_ema=True).
#
# Versions: keras 3.15.1, jax 0.10.2, numpy 2.4.6; Python 3.11.
# At the end of the first fit each weight is assigned its average, which makes both variables hold the same array. The
# next fit gives both to one compiled step as arrays that it may overwrite, and JAX refuses to be given one array twice.
# The message of JAX goes to stderr; fit itself then fails while it builds variables anew, and says only
# "TypeError: 'NoneType' object is not callable". A copy of the averages after each fit avoids it.
# Seen:
#   first fit: done; second fit: TypeError
#   with the averages copied in between: done
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

x, y = np.ones((8, 4)), np.ones((8, 3))


def fitted_twice(*, copies: bool) -> str:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    model.fit(x, y, verbose=0)
    if copies:
        for variable in model.optimizer.variables:
            variable.assign(np.array(variable))
    try:
        model.fit(x, y, verbose=0)
    except TypeError as error:
        return type(error).__name__
    return "done"


plain, copied = fitted_twice(copies=False), fitted_twice(copies=True)
print("SEEN first fit: done; second fit:", plain)
print("SEEN with the averages copied in between:", copied)
assert (plain, copied) == ("TypeError", "done"), "the behaviour changed"
PYTHON
