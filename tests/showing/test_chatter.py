"""Native chatter is filtered, all else gets through."""

import subprocess
import sys

NATIVE = """
import os, sys
from regrow.showing.chatter import without_chatter
with without_chatter():
    os.write(2, b"I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on. You may\\n")
    os.write(2, b"fully_quantize: 0, inference_type: 6, input_inference_type: INT8\\n")
    os.write(2, b"E0000 00:00:1 1 node_def_util.cc:682] NodeDef mentions attribute use_unbounded_threadpool which is"
             b" not in the op definition: Op<...> Unknown attributes will be ignored. NodeDef: {{node a}}\\n")
    os.write(2, b"E0000 00:00:1 1 node_def_util.cc:682] NodeDef mentions attribute other which is new\\n")
    os.write(2, b"Segmentation fault is near\\n")
    print("python says so", file=sys.stderr)
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"no line end")
print("afterwards", file=sys.stderr)
os.write(2, b"oneDNN custom operations are on, natively\\n")
"""


def test_only_chatter_is_held_back() -> None:
    done = subprocess.run([sys.executable, "-c", NATIVE], capture_output=True, text=True, check=True)
    for line in ("Segmentation fault is near", "python says so", "no line end", "afterwards", "natively"):
        assert line in done.stderr
    assert done.stderr.count("oneDNN") == 1
    assert "absl" not in done.stderr
    assert "fully_quantize" not in done.stderr
    assert "unbounded" not in done.stderr and "attribute other" in done.stderr


def test_a_command_prints_its_answer_and_nothing_of_tensorflow(tmp_path: object) -> None:
    import tf_keras

    path = f"{tmp_path}/model.keras"
    tf_keras.Sequential([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(2)]).save(path)
    done = subprocess.run(
        [sys.executable, "-m", "regrow.cli", "inspect", path], capture_output=True, text=True, check=True
    )
    assert "dense" in done.stdout
    assert done.stderr == ""
