"""A disk that fills up while a step writes: one sentence, nothing half-written, and more room helps.

The small disk is a tmpfs in a mount namespace of its own, which ends with the commands that run in it.
"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.dataset.directory import Dataset

SENTENCE = "no space left on the device; nothing was written there: free some and run again"
PARAMS = """\
prepare: {source: {kind: digits}}
train: {architecture: mlp, rewind_epoch: 1, fit: {epochs: 1}}
export: {formats: [saved_model, tflite_fp32, onnx], calibration_examples: 16}
"""


def namespace() -> list[str]:
    """The command that gives a mount namespace: as any user where the kernel lets them, else as root."""
    reasons = []
    for command in (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        try:
            done = subprocess.run(
                [*command, "mount", "-t", "tmpfs", "none", "/mnt"],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            pytest.skip(f"a small disk needs unshare, which is not here ({error})")
        if done.returncode == 0:
            return command
        reasons.append(done.stderr.strip())
    pytest.skip(f"a small disk cannot be mounted here: {'; '.join(reasons)}")


def on_small_disk(folder: Path, script: str, *, size: str) -> str:
    """Run ``script`` with a disk of ``size`` bytes mounted at ``folder/disk``; ``grow`` in it gives plenty.

    Gives what it printed.
    """
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "disk").mkdir()
    text = f"""
    mount -t tmpfs -o size={size} none "{folder}/disk" || exit 99
    regrow() {{ "{sys.executable}" -m regrow.cli "$@" --params "{folder}/params.yaml" 2>&1; echo "status $?"; }}
    grow() {{ mount -o remount,size=256m "{folder}/disk" || exit 99; }}
    files() {{ find "$@" -type f -not -path "*/tensorboard/*"; }}
    cd "{folder}/disk"
    {script}
    """
    environment = {**os.environ, "REGROW_TRACKING": "off", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("REGROW_CACHE", None)
    done = subprocess.run(
        [*namespace(), "sh", "-c", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 99, done.stderr
    return done.stdout


def said(output: str) -> list[str]:
    """The lines in which Regrow reports: errors, statuses, names of files; not the chatter of libraries."""
    return [
        line for line in output.splitlines() if line.startswith(("error:", "status", "./", "Traceback", "--"))
    ]


# 8 kB end the scratch file of decoded examples, 120 the labels, 200 the table of examples.
@pytest.mark.parametrize("size", ["8k", "120k", "200k"])
def test_dataset(tmp_path: Path, size: str) -> None:
    lines = said(
        on_small_disk(tmp_path, "regrow prepare; files .; echo --; grow; regrow prepare; files .", size=size)
    )
    middle = lines.index("--")
    assert lines[:middle] == [f"error: work/prepare/dataset: {SENTENCE}", "status 1"]
    assert lines[middle + 1] == "status 0"
    assert any(line.endswith("prepare/dataset/dataset.json") for line in lines)
    assert any(line.endswith("prepare/statement/statement.json") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "64k", "150k"])
def test_model(tmp_path: Path, digits: Dataset, overlay: Path, size: str) -> None:
    train = f"regrow train --dataset '{digits.path}' --overlay '{overlay}'"
    lines = said(on_small_disk(tmp_path, f"{train}; files .; echo --; grow; {train}; files .", size=size))
    middle = lines.index("--")
    # The early weights lie among the checkpoints until training is done; the smallest disks have no room for them.
    first = r"work/train/parent" if size == "150k" else r"\S*/\.regrow/checkpoints/train-\w+/early"
    assert re.fullmatch(rf"error: {first}: {re.escape(SENTENCE)}", lines[0])
    assert lines[1] == "status 1"
    # A whole checkpoint may stay, for the next attempt to go on from; of the outputs there is nothing.
    assert all(line.startswith("./.regrow/checkpoints/") for line in lines[2:middle])
    assert lines[middle + 1] == "status 0"
    assert any(line.endswith("train/parent/model.keras") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["40k", "200k", "600k"])
def test_exports(tmp_path: Path, digits: Dataset, trained: Path, size: str) -> None:
    export = (
        f"regrow export --parent '{trained}/parent' --recovered '{trained}/parent' --dataset '{digits.path}'"
    )
    lines = said(on_small_disk(tmp_path, f"{export}; files .; echo --; grow; {export}; files .", size=size))
    middle = lines.index("--")
    assert lines[:middle] == [f"error: work/export/parent_exports: {SENTENCE}", "status 1"]
    assert lines[middle + 1] == "status 0"
    assert any(line.endswith("export/recovered_exports/model_fp32.tflite") for line in lines)


def test_cache_entry(tmp_path: Path) -> None:
    """The cache on a small disk of its own: the entry is not kept, and the step says so."""
    (tmp_path / "work").mkdir()
    prepare = f"regrow prepare --workspace '{tmp_path}/work'"
    script = f"export REGROW_CACHE=$PWD/cache; cd ..; {prepare}; cd disk; files .; echo --; grow; {prepare}; files ."
    lines = said(on_small_disk(tmp_path, script, size="160k"))
    middle = lines.index("--")
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(SENTENCE)
    assert lines[1] == "status 1"
    # A whole checkpoint may stay, for the next attempt to go on from; of the outputs there is nothing.
    assert all(line.startswith("./.regrow/checkpoints/") for line in lines[2:middle])
    assert lines[middle + 1] == "status 0"
    assert any(line.endswith("/statement/statement.json") for line in lines[middle:])


@pytest.mark.parametrize("limit", [4_096, 76_000])
def test_a_limit_on_the_size_of_files(tmp_path: Path, limit: int) -> None:
    """``ulimit -f`` needs no privilege: the kernel refuses with EFBIG."""
    (tmp_path / "params.yaml").write_text("prepare: {source: {kind: digits}}\n")
    command = [sys.executable, "-m", "regrow.cli", "prepare"]
    # Whoever measures coverage in that process could not write its file either.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    limited = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
    )
    assert limited.returncode == 1
    (line,) = [line for line in limited.stderr.splitlines() if not line.startswith("prepare: ")]
    assert line.startswith("error: work/prepare/dataset: a file would be larger than allowed here")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["params.yaml"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "work/prepare/dataset/dataset.json").is_file()
