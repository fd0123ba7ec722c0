"""The kinds of raw-data source, and what identifies the data in each."""

import contextlib
import hashlib
import json
import shutil
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from regrow.dataset import remote
from regrow.dataset.class_list import ClassedSource
from regrow.dataset.dvc_access import dvc_files, reason
from regrow.dataset.remote import check_address
from regrow.dataset.table_sources import Csv, Digits, Idx, IdxNames, Npz, TableColumns
from regrow.dataset.unpacking import MAX_BYTES, MAX_RATIO
from regrow.errors import RegrowError
from regrow.provenance.digest import source_digest, tree_digest, tree_files
from regrow.provenance.statement import Resource
from regrow.showing.redaction import holds_credentials
from regrow.storage.artifacts import is_full
from regrow.storage.regular_files import MISSING, irregular, open_regular
from regrow.storage.walking import Links

RAW_DATA = "raw_data"
HEAD = "HEAD"  # not what lies uncommitted in a local folder: no commit would say what was used
LEGACY_MD5 = "md5-dos2unix"  # DVC 2 turned line ends of text before it hashed


class Folder(ClassedSource):
    """A folder of class folders of images, with or without ``train`` and ``test`` above them."""

    kind: Literal["folder"]
    path: Path = Field(
        description="path of the folder; images are at [train|validation|test/]CLASS/FILE in it"
    )
    links: Links = Field(
        "inside",
        description="which links to folders are followed: to folders inside `path`, or to any folder",
    )


class Archive(ClassedSource):
    """A zip or tar of an image folder. ``max_bytes`` bounds what its members add up to, unpacked.

    ``max_ratio`` bounds the same relative to the archive's own size.
    """

    kind: Literal["archive"]
    path: Path = Field(
        description="path of the zip or tar; images are at [train|validation|test/]CLASS/FILE in it"
    )
    max_bytes: int = Field(MAX_BYTES, gt=0, description="largest size when unpacked, in bytes")
    max_ratio: float = Field(MAX_RATIO, gt=0, description="largest ratio of unpacked to packed size")


class Elsewhere(ClassedSource, TableColumns, IdxNames):
    """Data that is fetched first. ``format`` is format of the data."""

    format: Literal["folder", "archive", "npz", "idx", "csv"] = Field(description="format of the data")
    label: str | None = Field(None, description="for csv: the label column")

    @model_validator(mode="after")
    def _csv_needs_a_label(self) -> Self:
        if self.format == "csv" and self.label is None:
            raise ValueError("format csv needs 'label', the name of the label column")
        for kind, names in {
            "csv": ("label", *TableColumns.model_fields),
            "idx": IdxNames.model_fields,
        }.items():
            given = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
            if given and kind != self.format:
                verb = "belongs" if len(given) == 1 else "belong"
                raise ValueError(f"{' and '.join(given)} {verb} to format {kind}, not to {self.format}")
        return self

    def at(self, path: Path) -> "Folder | Archive | Npz | Idx | Csv":
        """The local source that this one is, once it has been fetched to ``path``."""
        kind = FORMATS[self.format]
        given = {name: getattr(self, name) for name in kind.model_fields if name in type(self).model_fields}
        return kind.model_validate({**given, "kind": self.format, "path": path})


class Dvc(Elsewhere):
    """A path tracked by DVC in a git repository, at a revision."""

    kind: Literal["dvc"]
    repo: str = Field(description="address or folder of the git repository")
    rev: str | None = Field(None, description="commit, tag or branch; default: HEAD")
    path: str = Field(description="path in the repository, tracked by DVC")

    def __str__(self) -> str:
        return f"{self.repo}@{self.rev or HEAD}: {self.path}"

    @field_validator("repo")
    @classmethod
    def _no_credentials(cls, repo: str) -> str:
        """Parameters end in statements and in MLflow; a user name alone (``ssh://git@…``) is no secret."""
        if holds_credentials(repo):
            raise ValueError(
                "contains credentials, which would be recorded; use git's credential helper instead"
            )
        return repo


class Remote(Elsewhere):
    """A file or folder in S3, or a file on a web server; credentials come from the environment."""

    kind: Literal["remote"]
    url: Annotated[str, AfterValidator(check_address)] = Field(
        description="address: s3://BUCKET/PATH for a file or folder, https://HOST/PATH for a file"
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="expected SHA-256 of the file; required for http://"
    )
    max_bytes: int = Field(MAX_BYTES, gt=0, description="largest size in bytes, both downloaded and unpacked")

    def __str__(self) -> str:
        return self.url

    @model_validator(mode="after")
    def _can_be_verified(self) -> Self:
        if self.url.startswith("http:") and self.sha256 is None:
            raise ValueError(
                "the address is not encrypted; accepted: https://, or http:// with the file's sha256"
            )
        if self.format not in FILES and not self.url.startswith("s3:"):
            raise ValueError(
                f"format {self.format} is a folder, which needs s3://; accepted: {', '.join(FILES)}"
            )
        if self.format not in FILES and self.sha256 is not None:
            raise ValueError(f"sha256 applies to a file, but format {self.format} is a folder")
        return self


FILES = ("archive", "npz", "csv")
FORMATS: dict[str, type[Folder] | type[Archive] | type[Npz] | type[Idx] | type[Csv]] = {
    "folder": Folder,
    "archive": Archive,
    "npz": Npz,
    "idx": Idx,
    "csv": Csv,
}
Source = Annotated[Digits | Folder | Archive | Npz | Idx | Csv | Dvc | Remote, Field(discriminator="kind")]


def identify(source: Source) -> list[Resource]:
    """What the data in ``source`` is, by digest, without reading it as data.

    Raises:
        RegrowError: the data cannot be reached.
    """
    if isinstance(source, Digits):
        return [_digits()]
    if isinstance(source, Dvc):
        return [_dvc(source)]
    if isinstance(source, Remote):
        return [_remote(source)]
    path = require(source.path)
    links = source.links if isinstance(source, Folder) else None
    return [Resource(name=RAW_DATA, uri=path.name, digest={"sha256": source_digest(path, links=links)})]


def require(path: Path) -> Path:
    """``path``, which must be a file or folder.

    Raises:
        RegrowError: it is missing, or is a pipe, a socket or a device.
    """
    if path.is_dir():
        return path
    fault = irregular(path)
    if fault == MISSING:
        fault = "no such file or folder"
    if fault:
        raise RegrowError(f"prepare.source.path: {path}: {fault}")
    return path


def digits_file() -> Path:
    """Scikit-learn's file of digits, found without importing scikit-learn.

    Raises:
        RegrowError: scikit-learn is not installed.
    """
    import importlib.util

    found = importlib.util.find_spec("sklearn")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise RegrowError("prepare.source: 'digits' comes with scikit-learn, which is not installed")


def _digits() -> Resource:
    import importlib.metadata

    digest = tree_digest(digits_file())
    version = importlib.metadata.version("scikit-learn")
    return Resource(name=RAW_DATA, uri=f"pkg:pypi/scikit-learn@{version}#digits", digest={"sha256": digest})


def _dvc(source: Dvc) -> Resource:
    with _dvc_faults(source, "cannot be reached"), dvc_files(source.repo, source.rev or HEAD) as files:
        info = files.info(source.path)
        commit = str(getattr(files.repo, "get_rev", lambda: "")() or source.rev or "")
    tracked = info.get("dvc_info") or {}
    digest = {name: str(tracked[name]) for name in ("md5", LEGACY_MD5) if tracked.get(name)}
    if not digest:
        inside = " by itself; name the tracked folder, or a file in it" if tracked else ""
        raise RegrowError(f"prepare.source: {source}: is not tracked by DVC at that revision{inside}")
    return Resource(
        name=RAW_DATA,
        uri=f"dvc+{source.repo}@{commit}#{source.path}",
        digest=digest,
        annotations={"dvc_rev": commit, "path": source.path},
    )


def _remote(source: Remote) -> Resource:
    """What the server states of the data; without a statement the file is read for its digest."""
    found = remote.look(source.url)
    digest = dict(found.digest)
    if source.sha256 is not None:
        digest = {"sha256": source.sha256}
    elif not digest:
        digest = {"sha256": remote.content_digest(source.url, max_bytes=source.max_bytes)}
    return Resource(name=RAW_DATA, uri=source.url, digest=digest, annotations=found.annotations)


def fetch_remote(source: Remote, target: Path, *, digest: Mapping[str, str]) -> Path:
    """Download what ``source`` names into the folder ``target``, emptied first; the path of it there.

    Raises:
        RegrowError: it cannot be fetched, is too large, or is not what ``digest`` says.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    place = target / (Path(urllib.parse.unquote(urllib.parse.urlsplit(source.url).path)).name or "data")
    found = remote.look(source.url)
    if "sha256" not in digest and dict(found.digest) != dict(digest):
        raise RegrowError(f"prepare.source: {source}: changed during the step; run again")
    verified = "sha256" in digest
    remote.download(source.url, place, found=found, max_bytes=source.max_bytes, verified=verified)
    if verified:
        remote.require_digest(source.url, place, digest["sha256"])
    return place


def pin(source: Source, resources: Sequence[Resource]) -> Source:
    """``source`` at the commit that ``resources``, what `identify` gave for it, were found at: a branch moves on."""
    commit = next((item.annotations.get("dvc_rev") for item in resources), None)
    return source.model_copy(update={"rev": commit}) if isinstance(source, Dvc) and commit else source


@contextlib.contextmanager
def _dvc_faults(source: Dvc, what: str) -> Iterator[None]:
    """Turn what git, DVC or a remote says of ``source`` into one sentence; a full disk is left to the caller.

    Raises:
        RegrowError: one sentence.
    """
    try:
        yield
    except ImportError as error:
        raise RegrowError(f"prepare.source: kind 'dvc' needs DVC, which is not installed ({error})") from None
    except Exception as error:  # every kind of remote has errors of its own
        if is_full(error):
            raise
        raise RegrowError(f"prepare.source: {source}: {what} ({reason(error)})") from error


def fetch(source: Dvc, target: Path, *, digest: Mapping[str, str]) -> Path:
    """Download what ``source`` names into the folder ``target``, emptied first; the path of it there.

    Raises:
        RegrowError: it cannot be fetched, or what came is not what ``digest`` says (DVC 3's; DVC 2's is not checked).
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    place = target / Path(source.path).name
    faults = _dvc_faults(source, "cannot be downloaded from its DVC remote")
    with faults, dvc_files(source.repo, source.rev or HEAD, scratch=target) as files:
        files.get(source.path, str(place), recursive=True)
    expected = digest.get("md5")
    if expected and dvc_hash(place) != expected:
        raise RegrowError(
            f"prepare.source: {source}: the download has DVC hash {dvc_hash(place)}, not {expected}"
        )
    return place


def dvc_hash(path: Path) -> str:
    """DVC's hash of a file (MD5 of its bytes) or folder (MD5 of the JSON list of its files', plus ``.dir``)."""
    if path.is_file():
        with open_regular(path) as file:
            return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    files = [(item.relative_to(path).as_posix(), dvc_hash(item)) for item in tree_files(path)]
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(files, key=lambda f: f[0].split("/"))]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"
