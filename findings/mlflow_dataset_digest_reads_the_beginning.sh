#!/usr/bin/env bash
# mlflow 3.17.2: a data set's digest is the same for data that differ.
#
# `mlflow.data.from_numpy(…).digest` and `from_pandas(…).digest` identify the data that a run has used. Seen:
#     numpy:  2,000 pictures of 28 by 28; in the second array all pictures from the 1,001st on are changed: equal digests
#     pandas: 20,000 rows; in the second frame rows from the 15,001st on are changed: equal digests
#     pandas: a column of booleans is negated and one of dates reversed: equal digests
# The digest covers the first 10,000 numbers and rows, and neither booleans nor dates. It does not tell one version of a
# data set from the next; record a checksum of the files beside it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet mlflow==3.17.2
cat > "$work/digests.py" <<'PY'
import sys

import mlflow.data
import numpy as np
import pandas as pd


def same(kind, make, one, other):
    digests = make(one).digest, make(other).digest
    print(f"SEEN {kind}: {digests[0]} and {digests[1]}")
    return digests[0] == digests[1]


pictures = np.zeros((2000, 28, 28), np.float32)
changed = pictures.copy()
changed[1000:] = 1
rows = pd.DataFrame({"x": np.arange(20_000.0)})
later = rows.assign(x=rows.x.where(rows.index < 15_000, 0))
kinds = pd.DataFrame({"x": np.arange(10.0), "on": True, "day": pd.date_range("2026-01-01", periods=10)})
turned = kinds.assign(on=False, day=kinds.day[::-1].to_numpy())
first = pd.DataFrame({"x": np.arange(20_000.0)}).assign(x=lambda frame: frame.x.where(frame.index > 5, 0))
results = [
    same("numpy, second half changed", mlflow.data.from_numpy, pictures, changed),
    same("pandas, last quarter changed", mlflow.data.from_pandas, rows, later),
    same("pandas, booleans and dates changed", mlflow.data.from_pandas, kinds, turned),
    not same("pandas, first rows changed", mlflow.data.from_pandas, rows, first),
]
sys.exit(not all(results))
PY
"$work/venv/bin/python" -W ignore "$work/digests.py"
