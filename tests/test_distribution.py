"""What is installed: all of the packages with their data, nothing else, and one version everywhere."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import regrow

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"regrow": "regrow", "components": "regrow_components", "pipelines": "regrow_pipelines"}
DATA = (".html", ".css", ".j2", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel that is built of a clone: what lies here and is not tracked cannot help."""
    clone = tmp_path_factory.mktemp("clone") / "regrow"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    changed = subprocess.run(
        ["git", "diff", "HEAD", "--binary"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    if changed:
        subprocess.run(["git", "apply"], cwd=clone, input=changed, check=True)
    uv = Path(sys.executable).with_name("uv")
    build = [uv, "build", "--wheel", "--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run(build, cwd=clone, check=True)
    (file,) = (clone / "dist").glob("*.whl")
    assert file.name.startswith(f"regrow-{regrow.__version__}-")
    with zipfile.ZipFile(file) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def test_the_wheel_holds_every_package_with_its_data_and_nothing_else(wheel: list[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = set()
    for name in tracked.stdout.splitlines():
        folder, *rest = PurePosixPath(name).parts
        if name.endswith(".py") or (folder == "regrow" and name.endswith(DATA)):
            wanted.add("/".join((FOLDERS[folder], *rest)))
    assert "regrow/py.typed" in wanted
    assert set(wheel) == wanted


def test_the_version_is_said_in_one_place() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [regrow.__version__]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "version" not in project and project["dynamic"] == ["version"]
    tag = subprocess.run(
        ["make", "-s", "--eval", "tag: ; @echo $(TAG)", "tag"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert tag.stdout.strip() == regrow.__version__
