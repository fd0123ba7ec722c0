"""Parameter files, overrides and Regrow's own JSON that ask for endless work, or are nothing of the kind."""

import json
import os
from pathlib import Path

from tests.hostile.cases import Cases
from tests.hostile.models import PICKLE, listen
from tests.storage.test_documents import REFUSED

DOCUMENTS = Cases()


def params(name: str, content: str | bytes, *command: str) -> None:
    """A ``params.yaml`` that holds ``content``."""

    def case(folder: Path) -> list[str]:
        (folder / "params.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(command or ("prepare", "--params", "params.yaml"))

    DOCUMENTS.add(f"params: {name}")(case)


for _name, (_text, _words) in REFUSED.items():
    params(_name, _text)
params("a list", "- 1")
params("a text", "hello")
params("a number", "7")
params("UTF-16", "prune: {}".encode("utf-16"))
params("Latin-1", "prune: {x: ä}".encode("latin-1"))
params("a pickle", PICKLE)
params("noise", bytes(range(256)))
params("a megabyte", "# " + "x" * (1 << 20))
params("a key that is a number", "1: 2")
params("a key that is a list", "? [a]\n: b")
params("a key that is null", "~: 2")
params("a section that is a list", "prune: [1]")
params("a section that is a date", "prune: 2020-01-01")
params("a section that is a set", "prune: !!set {a, b}")
params("a value that is binary", "prune: {sparsity: !!binary aGVsbG8=}")
params("steering letters in a key", '"a\\e[2J\\u202eb": 1')
params("steering letters in a value", 'train: {architecture: "a\\e[2J\\rb\\u202e"}')
params("lines in a value", 'train: {architecture: "a\\nerror: fine"}')
params("a key of 100,000 letters", f"? {'b' * 100_000}\n: 2")
params("a value of 100,000 letters", f"train: {{architecture: {'a' * 100_000}}}")
params("infinity", "prune: {sparsity: .inf}")
params("not a number", "prune: {sparsity: .nan}")
params("a number that overflows", "prune: {sparsity: 1e999}")
params("a negative count", "train: {fit: {epochs: -1}}")
params("markup of a terminal's library", "train: {architecture: '[/bold][red]x'}")
params("a sweep that is endless", "sweep: {grid: " + "[" * 3000 + "}", "sweep")
params("dvc.yaml of aliases", REFUSED["aliases"][0], "dvc-yaml", "-o", "out.yaml")
params("the whole pipeline", REFUSED["digits"][0], "run")


def place(name: str, make: object) -> None:
    def case(folder: Path) -> list[str]:
        assert callable(make)
        make(folder / "params.yaml")
        return ["prepare", "--params", "params.yaml"]

    DOCUMENTS.add(f"params: {name}")(case)


place("a named pipe", os.mkfifo)
place("a socket", listen)
place("a folder", Path.mkdir)
place("an endless device", lambda path: path.symlink_to("/dev/zero"))
place("a terminal's device", lambda path: path.symlink_to("/dev/tty"))
place("a link to itself", lambda path: path.symlink_to(path.name))
place("a link to nothing", lambda path: path.symlink_to("nowhere"))


def given(name: str, *arguments: str) -> None:
    DOCUMENTS.add(name)(lambda folder: list(arguments))


given("--set: an integer of 5,000 digits", "prepare", "--set", "prune.sparsity=" + "9" * 5000)
given("--set: a hexadecimal one", "prepare", "--set", "prune.sparsity=0x" + "f" * 5000)
given("--set: 3,000 brackets", "prepare", "--set", "prune.sparsity=" + "[" * 3000)
given("--set: 3,000 dots", "prepare", "--set", "a" + ".a" * 3000 + "=1")
given("--set: 100,000 letters", "prepare", "--set", "train.architecture=" + "a" * 120_000)
given("--set: an alias of itself", "prepare", "--set", "prune.sparsity=&a [*a]")
given("--set: no key", "prepare", "--set", "=1")
given("--set: no value", "prepare", "--set", "prune")
given("--set: steering letters", "prepare", "--set", "prune.\x1b[2J\u202e=1")
given("--set: below a value", "prepare", "--set", "prune=1", "--set", "prune.sparsity.x=1")
given("--set: a tag", "prepare", "--set", "prune.sparsity=!!python/object/apply:os.mkdir ['ran']")
given("a workspace of 300 letters", "prepare", "--workspace", "w" * 300)
given("a workspace of 300 letters, for a run", "run", "--workspace", "w" * 300)
given("a workspace below a file", "prepare", "--workspace", "canary/work")
given("a workspace on a device", "prepare", "--workspace", "/dev/null/work")
given("params of 300 letters", "prepare", "--params", "p" * 300)
given("params below a file", "prepare", "--params", "canary/params.yaml")
given("keys of no section", "keys", "a\x1b[2J\nerror: fine")
given("an output of 300 letters", "dvc-yaml", "-o", "o" * 300, "--params", "canary")


def text(name: str, file: str, content: str, *arguments: str) -> None:
    def case(folder: Path) -> list[str]:
        (folder / file).write_text(content, "utf-8")
        return list(arguments)

    DOCUMENTS.add(name)(case)


for _name in ("digits", "open brackets", "aliases", "twice", "tab"):
    text(f"cluster: {_name}", "c.yaml", REFUSED[_name][0], "compile", "--cluster", "c.yaml", "-o", "out.yaml")
    text(f"schedules: {_name}", "s.yaml", REFUSED[_name][0], "schedule", "diff", "s.yaml")
text("cluster: a number", "c.yaml", "cluster: 7", "compile", "--cluster", "c.yaml", "-o", "out.yaml")
text("schedules: a text", "s.yaml", "nightly", "schedule", "diff", "s.yaml")

BAD_JSON = {
    "an integer of 5,000 digits": '{"classes": ' + "9" * 5000 + "}",
    "100,000 brackets": "[" * 100_000,
    "a key twice": '{"task": "a", "task": "b"}',
    "no JSON": "{",
    "a list": "[]",
    "null": "null",
    "a text": '"dataset"',
    "not UTF-8": "\\ud800",
}


def own(name: str, content: str) -> None:
    def case(folder: Path) -> list[str]:
        for step, output, file in (
            ("prepare", "dataset", "dataset.json"),
            ("augment", "overlay", "policy.json"),
        ):
            (folder / "work" / step / output).mkdir(parents=True)
            (folder / "work" / step / output / file).write_text(content, "utf-8")
        return ["train"]

    DOCUMENTS.add(f"dataset.json: {name}")(case)


for _name, _text in BAD_JSON.items():
    own(_name, _text)


@DOCUMENTS.add("dataset.json: shards elsewhere, of terabytes")
def shards(folder: Path) -> list[str]:
    dataset = folder / "work" / "prepare" / "dataset"
    dataset.mkdir(parents=True)
    (folder / "work" / "augment" / "overlay").mkdir(parents=True)
    shard = {"file": "../../../canary", "rows": 10**12, "sha256": "0" * 64}
    found = {"schema_version": 1, "task": "image_classification", "shards": {"train": {"image": [shard]}}}
    (dataset / "dataset.json").write_text(json.dumps(found), "utf-8")
    return ["train"]


@DOCUMENTS.add("dataset.json: a named pipe")
def pipe(folder: Path) -> list[str]:
    dataset = folder / "work" / "prepare" / "dataset"
    dataset.mkdir(parents=True)
    (folder / "work" / "augment" / "overlay").mkdir(parents=True)
    os.mkfifo(dataset / "dataset.json")
    return ["train"]
