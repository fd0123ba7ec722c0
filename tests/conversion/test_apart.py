"""A converter that dies, hangs or refuses takes nothing but its own format with it."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from regrow.conversion import apart
from regrow.conversion.formats import FILES
from regrow.errors import RegrowError

FORMATS = ["tflite_fp32", "onnx"]
# Speaks as `regrow.conversion.worker` does, writes empty files, and comes to its end at one format.
WORKER = """
import json, os, pathlib, sys, time
name, how, folder, pipe = sys.argv[1:]
job = json.loads(pathlib.Path(folder, "job.json").read_text())
files = {files}
def emit(**event):
    os.write(int(pipe), json.dumps(event).encode() + bytes([10]))
for each in job["formats"]:
    emit(event="begins", format=each)
    pathlib.Path(job["target"], files[each]).write_text("")
    if each == name and how == "hang":
        time.sleep(600)
    if each == name and how == "exit":
        os._exit(3)
    if each == name:
        os.kill(os.getpid(), int(how))
    emit(event="done", format=each, parity=dict(passed=True))
emit(event="ends")
"""


def convert(folder: Path, **options: Any) -> apart.Conversions:
    target, scratch = folder / "target", folder / "scratch"
    for place in (target, scratch):
        place.mkdir()
    job = {"source": "model", "target": str(target), "formats": FORMATS}
    return apart.convert_apart(scratch, job, report=lambda name: None, **options)


def ends(monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    command = [sys.executable, "-c", WORKER.replace("{files}", json.dumps(FILES)), name, how]
    monkeypatch.setattr(apart, "worker_command", lambda: command)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (str(int(signal.SIGSEGV)), "the converter died (signal 11, SIGSEGV)"),
        (str(int(signal.SIGKILL)), "died (signal 9, SIGKILL, as the system does where memory runs out)"),
        ("exit", "the converter ended with status 3"),
    ],
)
def test_what_is_left_is_converted_after_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    ends(monkeypatch, "tflite_fp32", how)
    found = convert(tmp_path, goes_on=True)
    assert found.parity == {"onnx": {"passed": True}}
    assert list(found.failed) == ["tflite_fp32"]
    assert found.failed["tflite_fp32"].startswith("model: cannot be exported as tflite_fp32: ")
    assert found.failed["tflite_fp32"].endswith(message)
    assert {path.name for path in (tmp_path / "target").iterdir()} == {FILES["onnx"]}


def test_a_death_ends_it_where_nothing_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, "tflite_fp32", str(int(signal.SIGABRT)))
    found = convert(tmp_path, goes_on=False)
    assert found.parity == {}
    assert "(signal 6, SIGABRT)" in found.failed["tflite_fp32"]
    assert not list((tmp_path / "target").iterdir())


def test_a_converter_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, "onnx", "hang")
    found = convert(tmp_path, goes_on=False, limit_s=5)
    assert found.failed["onnx"].endswith("cannot be exported as onnx: it took longer than 5 seconds")
    assert list(found.parity) == ["tflite_fp32"]


def test_a_process_that_dies_before_it_converts_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "worker_command", lambda: [sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(RegrowError, match=r"cannot be converted: the converter ended with status 7"):
        convert(tmp_path, goes_on=True)


def test_an_interrupt_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    original = apart.subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> Any:
        started.append(original(*args, **kwargs))
        return started[-1]

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    monkeypatch.setattr(apart.select, "select", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path, goes_on=True)
    assert started[0].returncode == -signal.SIGKILL
