#!/usr/bin/env bash
# kfp 2.17.0, SubprocessRunner: "python3" in the value of a parameter is replaced by the interpreter's path.
#
# A component that gives back its text, called with "image: python3 on bookworm". Seen:
#     image: /…/venv/bin/python3 on bookworm
# The runner puts its interpreter in place of "python3" in every part of the command but the component's source, so in the
# JSON of the inputs too: in texts and, with a pipeline root such as ~/python3-projects, in the places of artifacts.
# The run succeeds with another value than was given.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet kfp==2.17.0
cat > "$work/pipeline.py" <<'PY'
import sys

from kfp import dsl, local


@dsl.component
def say(text: str) -> str:
    return text


local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1], raise_on_error=True)
found = say(text="image: python3 on bookworm").output
print(f"SEEN {found}")
sys.exit(found != f"image: {sys.executable} on bookworm")
PY
"$work/venv/bin/python3" "$work/pipeline.py" "$work" > "$work/log" 2>&1 && grep '^SEEN' "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
