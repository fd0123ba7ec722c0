"""What a refusal is: one sentence, soon, in little memory, with nothing done."""

import re
from pathlib import Path

from tests.hostile.cases import Case
from tests.hostile.conftest import Command, Outcome

CPU_S = 10.0
PEAK = 1 << 30
CANARY = "untouched"
# What a command may say before it knows: how far it is, and that no params.yaml is there.
PROGRESS = re.compile(r"\w+: \d+/\d+ \w+|note: using the built-in example data.*")
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def refused(case: Case, command: Command, folder: Path, **options: object) -> Outcome:
    """Run ``case`` in ``folder`` and check that it is refused as it should be."""
    (folder / "canary").write_text(CANARY, "utf-8")
    arguments = case(folder)
    before = _listing(folder)
    done = command(arguments, folder, **options)
    said = f"{arguments!r:.300}: {done}"
    assert done.ended, f"never ended: {said}"
    assert done.status == 1, said
    lines = done.errors.splitlines()
    sentences = [line for line in lines if line.startswith("error: ")]
    assert len(sentences) == 1, said
    others = [line for line in lines if line not in sentences and not PROGRESS.fullmatch(line)]
    assert not others, said
    assert len(sentences[0]) > len("error: ") + 10, said
    assert "Traceback" not in done.errors + done.output, said
    assert not STEERING.search(done.errors + done.output.replace("\n", "")), said
    assert done.cpu_s <= CPU_S, said
    assert done.peak <= PEAK, said
    assert (folder / "canary").read_text("utf-8") == CANARY
    assert not (folder / "ran").exists(), f"code ran: {said}"
    assert _listing(folder) == before, f"something was written: {said}"
    return done


def _listing(folder: Path) -> list[str]:
    """All files and folders below ``folder``, but for empty folders of a workspace and its lock."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return [name for name in found if not _empty(folder / name)]


def _empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(item.is_file() for item in path.rglob("*"))
