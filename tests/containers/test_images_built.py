"""What is in the images, and what is not."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from regrow.provenance.digest import file_digest
from regrow.steps import NAMES
from regrow_components.locking import IMAGES, LOCK, TENSORFLOW

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]
Running = Callable[..., subprocess.CompletedProcess[str]]
LIMIT = 600e6
TRIMMED = dict.fromkeys(("resolve", "prepare"), ("scikit-learn",))  # components/trim
IMPORTS = """
import importlib, json, sys
from regrow.steps import get_spec
spec = get_spec(sys.argv[1] if len(sys.argv) > 1 else "{name}")
for module in spec.imports:
    importlib.import_module(module)
import kfp.dsl.executor_main, regrow_components
print(json.dumps({{"tensorflow": "tensorflow" in sys.modules}}))
"""
USER = """
import json, os, pathlib, tempfile
def writes(folder):
    try:
        pathlib.Path(folder, "probe").write_text("")
    except OSError:
        return False
    return True
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "written": [place for place in ("/", "/opt/regrow", "/usr", "/etc", "/var", "/home", "/tmp") if writes(place)],
    "home": os.path.expanduser("~"), "keras": os.environ["TF_USE_LEGACY_KERAS"],
}))
"""
PRESENT = """
import importlib.metadata, json
print(json.dumps(sorted(item.name.lower() for item in importlib.metadata.distributions())))
"""


@pytest.mark.parametrize("name", IMAGES)
def test_no_image_runs_as_root_or_writes_beside_scratch(name: str, in_image: Running) -> None:
    done = in_image(name, USER)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"ids": [10001, 10001], "written": ["/tmp"], "home": "/tmp", "keras": "1"}


@pytest.mark.parametrize("name", [name for name in NAMES if name in IMAGES])
def test_each_step_finds_its_libraries(name: str, in_image: Running) -> None:
    done = in_image(name, IMPORTS.format(name=name))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["tensorflow"] <= (IMAGES[name] == TENSORFLOW)


@pytest.mark.parametrize("name", ["resolve", "prepare", "register", "select"])
def test_no_tensorflow_is_installed(name: str, in_image: Running) -> None:
    found = json.loads(in_image(name, PRESENT).stdout)
    assert "kfp" in found
    assert not [item for item in found if item.startswith(("tensorflow", "tf_keras", "tf-keras", "keras"))]


def test_the_installed_versions_are_the_locked_ones_and_go_together(in_image: Running) -> None:
    program = """
import importlib.metadata as m, json
from packaging.requirements import Requirement
found = {}
for d in m.distributions():
    for text in d.requires or []:
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            try:
                version = m.version(need.name)
            except m.PackageNotFoundError:
                found[d.name] = f"{need} is missing"
                continue
            if not need.specifier.contains(version, prereleases=True):
                found[d.name] = f"{need} but {version}"
print(json.dumps(found))
"""
    for name in ("resolve", "prepare", "register", "train", "export", "mlflow"):
        done = in_image(name, program)
        assert done.returncode == 0, done.stderr
        faults = {
            key: text for key, text in json.loads(done.stdout).items() if key not in TRIMMED.get(name, ())
        }
        assert faults == {}, name


@pytest.mark.parametrize("name", ["prepare", "register"])
def test_small_images_are_small(name: str, images: Callable[[str], Any]) -> None:
    assert images(name).attrs["Size"] <= LIMIT


def test_labels_say_where_an_image_comes_from(images: Callable[[str], Any], in_image: Running) -> None:
    from regrow_components.building import git
    from regrow_components.images import CODE_LABEL
    from regrow_pipelines.compiling import code_version

    commit = git("rev-parse", "HEAD")
    for name in IMAGES:
        labels = images(name).labels
        assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
        assert labels["org.opencontainers.image.version"] == "0.1.0"
        assert labels[CODE_LABEL] == code_version()
    program = "import os; print(os.environ['REGROW_GIT_COMMIT'], os.environ['REGROW_LOCK_SHA256'])"
    revision, lock = in_image("prepare", program).stdout.split()
    assert revision.removesuffix("-dirty") == commit
    assert lock == file_digest(LOCK)


@pytest.mark.parametrize("name", ["prepare", "prune"])
def test_the_code_in_an_image_is_the_code_here(name: str, in_image: Running) -> None:
    """As `require_code` sees it; a step refuses to work where it is another."""
    from regrow_components.versions import step_code

    program = f"from regrow_components.versions import step_code; print(step_code('{name}'))"
    assert in_image(name, program).stdout.strip() == step_code(name)


def test_no_address_of_an_index_is_in_an_image(images: Callable[[str], Any], in_image: Running) -> None:
    program = """
import pathlib
homes = [pathlib.Path("/tmp"), pathlib.Path("~root").expanduser()]
names = [home / ".config/pip/pip.conf" for home in homes]
for path in [pathlib.Path(name) for name in ("/etc/pip.conf", "/wheels", "/requirements")] + names:
    try:
        there = path.exists()
    except PermissionError:
        there = False
    if there:
        print(path)
"""
    for name in ("prepare", "train", "register"):
        steps = json.dumps([entry["CreatedBy"] for entry in images(name).history()])
        assert "index" not in steps and "http" not in steps
        assert in_image(name, program).stdout == ""


def test_the_two_commands_are_there(in_image: Running) -> None:
    program = "import subprocess; print(subprocess.run(['{0}', '--version'], capture_output=True, text=True).stdout)"
    assert "version" in in_image("pipeline", program.format("regrow")).stdout
    assert "version" in in_image("mlflow", program.format("mlflow")).stdout
