"""The installed versions for each step: the digest of Regrow's code, and the versions of libraries in its cache key."""

import importlib.metadata

from regrow.provenance.code import code_digest
from regrow.steps import NAMES, get_spec

ABSENT = "absent"


def code_versions() -> dict[str, dict[str, str]]:
    """By step, ``code`` (SHA-256 over the sources it can reach) and the version of each library in its cache key."""
    return {
        name: {
            "code": code_digest(spec.module),
            **{package: _version(package) for package in sorted(spec.packages)},
        }
        for name in NAMES
        for spec in [get_spec(name)]
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT
