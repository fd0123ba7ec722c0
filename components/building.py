"""Build the images of ``components/Dockerfile``: ``python -m regrow_components.building``, called by ``make images``.

The build sees the files of the commit and nothing else (``git archive``), and the package files that
``components/requirements`` names, which are fetched here, with this machine's package client and its settings.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from regrow import __version__
from regrow.cluster.engine import engine_command
from regrow.config.sections import canonical_json
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest, text_digest
from regrow_components.images import CODE_LABEL
from regrow_components.locking import FOLDER, GPU, IMAGES, PYTHON, ROOT, hashes_of, pins_of

GPU_IMAGES = ("train-gpu", "recover-gpu")
DIRTY = "-dirty"
INSTALLED_AS = {"regrow": "regrow", "components": "regrow_components", "pipelines": "regrow_pipelines"}


def git(*arguments: str) -> str:
    """What git says in the project's folder.

    Raises:
        RegrowError: git refuses.
    """
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RegrowError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def tree_state(*, allow_dirty: bool) -> tuple[str, str]:
    """The commit, and what to make images of: the commit itself, or with ``allow_dirty`` a commit of the tracked files.

    Raises:
        RegrowError: tracked files were changed since the commit, and that is not allowed.
    """
    commit = git("rev-parse", "HEAD")
    if not git("status", "--porcelain", "-uno"):
        return commit, commit
    if not allow_dirty:
        raise RegrowError(
            "the tree has uncommitted changes, so the images could not name their revision; commit them, "
            "or set DIRTY=1 to build images whose revision ends in {DIRTY}"
        )
    return commit + DIRTY, git("stash", "create") or commit


def context(treeish: str, folder: Path) -> None:
    """Unpack the tracked files of ``treeish`` into ``folder``."""
    archive = folder.with_suffix(".tar")
    git("archive", "--format=tar", f"--output={archive}", treeish)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def fetch(pins: Iterable[str], pool: Path) -> dict[str, Path]:
    """The package files in ``pool`` by their sha256, once one of each pin's is among them.

    Raises:
        RegrowError: the package client could not get one.
    """
    pool.mkdir(parents=True, exist_ok=True)
    present = _files(pool)
    missing = [pin for pin in pins if not set(hashes_of(pin)) & present.keys()]
    if not missing:
        return present
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
    # What goes together has been decided: some packages name an upper bound for Python that pip would insist on.
    command += ["--ignore-requires-python", "--python-version", PYTHON, "--dest", str(pool)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("".join(missing))
        listed.flush()
        done = subprocess.run([*command, "-r", listed.name], check=False)
    if done.returncode != 0:
        raise RegrowError(
            f"pip could not download the packages of the images (status {done.returncode}; see above)"
        )
    return _files(pool)


def _files(pool: Path) -> dict[str, Path]:
    return {file_digest(path): path for path in sorted(pool.iterdir()) if path.is_file()}


def wheels_image(engine: list[str], layers: Mapping[str, list[str]], pool: Path) -> str:
    """An image that holds, in a folder for each of ``layers``, the files of its pins and nothing else; made once."""
    present = fetch(sorted({pin for pins in layers.values() for pin in pins}), pool)
    chosen = {
        name: sorted(sum_ for pin in pins for sum_ in hashes_of(pin) if sum_ in present)
        for name, pins in layers.items()
    }
    image = f"regrow-wheels:{text_digest(canonical_json(chosen))[:16]}"
    if subprocess.run([*engine, "image", "inspect", image], capture_output=True, check=False).returncode == 0:
        return image
    with tempfile.TemporaryDirectory(dir=pool.parent) as scratch:
        for name, sums in chosen.items():
            folder = Path(scratch) / name
            folder.mkdir()
            for file in (present[sum_] for sum_ in sums):
                os.link(file, folder / file.name)
        tar = subprocess.Popen(["tar", "-C", scratch, "-c", *chosen], stdout=subprocess.PIPE)
        done = subprocess.run(
            [*engine, "import", "-", image], stdin=tar.stdout, capture_output=True, check=False
        )
    if tar.wait() != 0 or done.returncode != 0:
        raise RegrowError(f"{image}: cannot be built: {done.stderr.decode().strip()}")
    return image


def code_version(folder: Path) -> str:
    """The code version (`regrow_pipelines.compiling`) of the sources in ``folder``."""
    names = folder.with_name("names")  # the folders under the names that they are installed as
    names.mkdir()
    for source, name in INSTALLED_AS.items():
        (names / name).symlink_to(folder / source)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        " from regrow_pipelines.compiling import code_version; print(code_version())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(names)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RegrowError(f"the code version cannot be computed: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def full_name(image: str, *, registry: str, tag: str) -> str:
    """``REGISTRY/regrow-IMAGE:TAG``."""
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}regrow-{image}:{tag}"


def build(images: Iterable[str], options: argparse.Namespace) -> None:
    """Build ``images`` and print the time that each took.

    Raises:
        RegrowError: the tree, the packages or the engine prevent it.
    """
    engine = engine_command()
    revision, treeish = tree_state(allow_dirty=options.dirty)
    names = ["core", "tensorflow", "tools", *IMAGES]
    names += [GPU] if set(images) & set(GPU_IMAGES) else []
    start = time.monotonic()
    layers = {name: pins_of(FOLDER / f"{name}.txt") for name in names}
    wheels = wheels_image(engine, layers, options.wheels)
    print(f"{wheels}: {time.monotonic() - start:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="regrow-images-") as scratch:
        folder = Path(scratch) / "context"
        context(treeish, folder)
        arguments = {
            "BASE_IMAGE": options.base_image,
            "WHEELS_IMAGE": wheels,
            "REVISION": revision,
            "DIRTY": str(revision.endswith(DIRTY)).lower(),
            "LOCK": file_digest(folder / "requirements.lock"),
        }
        labels = {
            "org.opencontainers.image.revision": revision,
            "org.opencontainers.image.version": __version__,
            CODE_LABEL: code_version(folder),
        }
        for image in images:
            started = time.monotonic()
            name = full_name(image, registry=options.registry, tag=options.tag)
            command = [*engine, "build", "--network", "none", "--target", image, "--tag", name]
            command += ["--file", str(folder / "components" / "Dockerfile")]
            command += [f"--label={key}={value}" for key, value in labels.items()]
            command += [f"--build-arg={key}={value}" for key, value in arguments.items() if value]
            _run([*command, str(folder)], log=options.log, what=name)
            size = json.loads(_output([*engine, "image", "inspect", name]))[0]["Size"]
            print(f"{name}: {time.monotonic() - started:.0f} s, {size / 1e6:.0f} MB", flush=True)
    print(f"all in {time.monotonic() - start:.0f} s")


def _run(command: list[str], *, log: Path, what: str) -> None:
    with log.open("ab") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        end = log.read_text("utf-8", "replace").splitlines()[-15:]
        raise RegrowError(f"{what}: was not built; the end of {log}:", *end)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def push(images: Iterable[str], options: argparse.Namespace) -> None:
    """Push ``images`` to the registry.

    Raises:
        RegrowError: no registry is named, or it refuses.
    """
    if not options.registry:
        raise RegrowError(
            "REGISTRY: is not set; for example make push-images REGISTRY=registry.example.org/team"
        )
    engine = engine_command()
    for image in images:
        name = full_name(image, registry=options.registry, tag=options.tag)
        if subprocess.run([*engine, "push", name], check=False).returncode != 0:
            raise RegrowError(f"{name}: could not be pushed; see above")


def main() -> None:
    """Parse the command line; a user's mistake is one sentence and status 1."""
    parser = argparse.ArgumentParser(prog="python -m regrow_components.building")
    parser.add_argument("action", choices=("build", "push"))
    parser.add_argument(
        "images", nargs="*", help="such as train or train-gpu; default: all images that need no GPU"
    )
    parser.add_argument("--registry", default="")
    parser.add_argument("--tag", default=__version__)
    parser.add_argument(
        "--base-image", default="", help="base image with Python 3.11; default: that in the Dockerfile"
    )
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--log", type=Path, default=ROOT / "build" / "images.log")
    parser.add_argument(
        "--dirty",
        action="store_true",
        help="build from a tree with uncommitted changes, and record that in the label",
    )
    options = parser.parse_args()
    try:
        images = options.images or list(IMAGES)
        unknown = sorted({*images} - {*IMAGES, *GPU_IMAGES})
        if unknown:
            raise RegrowError(f"{unknown[0]}: is not an image; accepted: {', '.join([*IMAGES, *GPU_IMAGES])}")
        options.log.parent.mkdir(parents=True, exist_ok=True)
        options.log.write_bytes(b"")
        {"build": build, "push": push}[options.action](images, options)
    except RegrowError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
