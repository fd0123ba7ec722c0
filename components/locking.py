"""The requirements of the images: ``python -m regrow_components.locking`` writes ``components/requirements``.

Each file lists what one layer adds to the layer below, which its first line names, so that images share what they have
in common. Versions and hashes are those of ``requirements.lock``, for CPython 3.11 on Linux; which packages a step
needs follows from its extra in ``pyproject.toml`` and from what the installed packages say of themselves.
"""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "components" / "requirements"
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
PYTHON = "3.11"
# What packages are asked about: the interpreter and system of the images.
PLATFORM = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.2",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.11.2",
    "python_version": PYTHON,
    "sys_platform": "linux",
}
CORE, TENSORFLOW, TOOLS = "core", "tensorflow", "tools"
# By image: the layer that it stands on. Its extra in pyproject.toml has its own name.
IMAGES = {
    "resolve": CORE,
    "prepare": CORE,
    "augment": TENSORFLOW,
    "train": TENSORFLOW,
    "prune": TENSORFLOW,
    "recover": TENSORFLOW,
    "export": TENSORFLOW,
    "evaluate": TENSORFLOW,
    "register": CORE,
    "measure": TENSORFLOW,
    "select": CORE,
    "pipeline": CORE,
    "mlflow": CORE,
}
# Images that have the packages of another: one layer for both.
SHARED = {"recover": "train"}
EXTRAS = {"mlflow": "mlflow-server"}
# `train-gpu` and `recover-gpu`: their step's packages, and NVIDIA's libraries below them in one layer.
GPU, GPU_EXTRA = "gpu", "tensorflow[and-cuda]"


class LockError(Exception):
    """A requirement that ``requirements.lock`` does not pin."""


def locked() -> dict[str, str]:
    """By canonical name, the pinned requirement with its hashes, as it stands in the lock and applies to the images."""
    found: dict[str, str] = {}
    block: list[str] = []
    for line in [*LOCK.read_text("utf-8").splitlines(), "end"]:
        if line.startswith((" ", "#")):
            if line.startswith(" "):
                block.append(line)
            continue
        if block:
            requirement = Requirement(block[0].removesuffix("\\").strip())
            if _applies(requirement.marker, ""):
                head = f"{requirement.name}=={next(iter(requirement.specifier)).version} \\"
                found[canonicalize_name(requirement.name)] = "\n".join([head, *block[1:]])
        block = [line]
    return found


def _applies(marker: Marker | None, extra: str) -> bool:
    return marker is None or marker.evaluate({**PLATFORM, "extra": extra})


def project_requirements(extra: str = "") -> list[Requirement]:
    """What ``pyproject.toml`` says: the package's own requirements, or those of ``extra``."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found = []
    for text in listed:
        requirement = Requirement(text)
        if requirement.name == project["name"]:
            for name in sorted(requirement.extras):
                found += project_requirements(name)
        else:
            found.append(requirement)
    return found


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of all packages that ``requirements`` bring, as their installed metadata say.

    Raises:
        LockError: a package is not installed here.
    """
    seen: set[tuple[str, str]] = set()
    pending = [(item.name, extra) for item in requirements for extra in ("", *sorted(item.extras))]
    while pending:
        name, extra = pending.pop()
        key = (canonicalize_name(name), extra)
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            raise LockError(
                f"{name}: is not installed; run `make .venv/.installed` to install the locked packages"
            ) from None
        for need in map(Requirement, needs):
            if _applies(need.marker, extra):
                pending += [(need.name, wanted) for wanted in ("", *sorted(need.extras))]
    return {name for name, _ in seen}


def render() -> dict[str, str]:
    """The text of each file by name, the GPU's excepted.

    Raises:
        LockError: a package is not in the lock or not installed.
    """
    pins = locked()
    core = closure([*project_requirements(), Requirement("kfp")])
    tensorflow = closure(project_requirements(TENSORFLOW)) - core
    below = {CORE: core, TENSORFLOW: core | tensorflow}
    files = {
        f"{CORE}.txt": _file(pins, core),
        f"{TENSORFLOW}.txt": _file(pins, tensorflow, below=CORE),
    }
    for image, layer in IMAGES.items():
        names = closure(project_requirements(EXTRAS.get(image, image)))
        files[f"{image}.txt"] = _file(pins, names - below[layer], below=layer)
    files[f"{TOOLS}.txt"] = _file(pins, {"setuptools", "wheel", "packaging"} & pins.keys())
    return files


def _file(pins: dict[str, str], names: Iterable[str], *, below: str = "") -> str:
    return "\n".join(_lines(pins, sorted(names), below=below)) + "\n"


def _lines(pins: dict[str, str], names: list[str], *, below: str) -> Iterator[str]:
    yield "# Written by `make lock-images`."
    if below:
        yield f"-r {below}.txt"
    for name in names:
        if name not in pins:
            raise LockError(f"{name}: is not in {LOCK.name}; run `make lock` to add it")
        yield pins[name]


def pins_of(path: Path) -> list[str]:
    """The pinned requirements that the file lists itself, each with its hashes."""
    pins: list[str] = []
    for line in path.read_text("utf-8").splitlines(keepends=True):
        if line.startswith(" ") and pins:
            pins[-1] += line
        elif not line.startswith(("#", "-r ")):
            pins.append(line)
    return pins


def hashes_of(pin: str) -> list[str]:
    """The sha256 digests that a pinned requirement accepts."""
    return re.findall(r"--hash=sha256:([0-9a-f]{64})", pin)


def gpu_head() -> str:
    """The first line of the GPU layer's file: what it was resolved for."""
    return f"# Written by `make lock-images` for {GPU_EXTRA} {_version(locked()['tensorflow'])}."


def _version(pin: str) -> str:
    return pin.partition(" ")[0].partition("==")[2]


def render_gpu() -> str:
    """NVIDIA's libraries for the locked TensorFlow; asks the package index, since the lock does not hold them."""
    pins = locked()
    version = _version(pins["tensorflow"])
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--constraint", str(LOCK)]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    done = subprocess.run(
        command, input=f"{GPU_EXTRA}=={version}\n", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LockError(f"{GPU_EXTRA}: cannot be resolved: {done.stderr.strip()}")
    blocks: list[str] = []
    for line in done.stdout.splitlines():
        if line.startswith(" ") and blocks:
            blocks[-1] += f"\n{line}"
        elif line:
            blocks.append(line)
    added = [block for block in blocks if canonicalize_name(block.partition("==")[0]) not in pins]
    return f"{gpu_head()}\n-r {TENSORFLOW}.txt\n" + "\n".join(added) + "\n"


def stale() -> list[str]:
    """Names of files that are not what the lock and ``pyproject.toml`` make of them."""
    files = render()
    old = [name for name, text in files.items() if _read(name) != text]
    old += [path.name for path in FOLDER.glob("*.txt") if path.name not in {*files, f"{GPU}.txt"}]
    return old if _read(f"{GPU}.txt").startswith(f"{gpu_head()}\n") else [*old, f"{GPU}.txt"]


def _read(name: str) -> str:
    path = FOLDER / name
    return path.read_text("utf-8") if path.is_file() else ""


def main() -> None:
    """Write all files, or with ``--check`` say which are out of date (status 1)."""
    try:
        if "--check" in sys.argv[1:]:
            old = stale()
            sys.exit(
                f"components/requirements: out of date: {', '.join(old)}; run `make lock-images`"
                if old
                else 0
            )
        files = {**render(), f"{GPU}.txt": render_gpu()}
    except LockError as error:
        sys.exit(f"error: {error}")
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.txt"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
