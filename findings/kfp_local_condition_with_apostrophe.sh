#!/usr/bin/env bash
# kfp 2.17.0, local runner: a condition on a text that holds an apostrophe skips both branches, and the run succeeds.
#
# `with dsl.If(step.output == "ok")` / `with dsl.Else()` on the outputs "ok", "other" and "it's". One would expect the
# second branch for "it's", as for "other", or an error. Seen:
#     ok     -> ['then']
#     other  -> ['else']
#     it's   -> []          (and the pipeline is reported as successful)
# So a gate on a text, such as a commit message or a file's name, can leave out a step without a word. Compare
# booleans or numbers instead.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet kfp==2.17.0
cat > "$work/pipeline.py" <<'PY'
import os
import sys
import tempfile
from pathlib import Path

from kfp import dsl, local


@dsl.component
def say(text: str) -> str:
    return text


@dsl.component
def take(branch: str):
    import os

    with open(os.environ["TAKEN"], "a") as file:
        file.write(branch + "\n")


@dsl.pipeline
def gated(text: str):
    said = say(text=text)
    with dsl.If(said.output == "ok"):
        take(branch="then")
    with dsl.Else():
        take(branch="else")


root = Path(tempfile.mkdtemp(dir=sys.argv[1]))
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
seen = {}
for text in ("ok", "other", "it's"):
    taken = root / "taken"
    taken.write_text("")
    os.environ["TAKEN"] = str(taken)
    gated(text=text)  # raises where the pipeline fails
    seen[text] = taken.read_text().split()
    print(f"SEEN {text:6} -> {seen[text]}")
sys.exit(seen != {"ok": ["then"], "other": ["else"], "it's": []})
PY
# A component runs in the first `python3` of PATH.
PATH="$work/venv/bin:$PATH" "$work/venv/bin/python" "$work/pipeline.py" "$work" 2>&1 | tee "$work/log" | grep '^SEEN' \
  || { tail -20 "$work/log"; exit 1; }
