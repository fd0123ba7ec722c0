"""The chain of statements behind a model: verifying its links, and digests that identify it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from regrow.config.sections import canonical_json
from regrow.errors import RegrowError
from regrow.provenance.digest import digest_of_files, text_digest, tree_digest, tree_files
from regrow.provenance.statement import Statement

JUDGES = ("resolve", "evaluate")
# Names of what `resolve` used, besides the raw data.
PACKAGE = "regrow"
PACKAGES = "packages"
OUTSIDE = "outside"


def chain_digest(statements: Mapping[str, Statement]) -> str:
    """SHA-256 that names this run of the pipeline: everything that its steps made, by step and output."""
    return text_digest(canonical_json({step: item.subjects for step, item in statements.items()}))


def model_digest(statements: Mapping[str, Statement]) -> str:
    """SHA-256 that names the model and how it was made.

    Steps that only look and measure are left out: a run that was killed after it promoted its model finds a
    new champion and new latencies when it is started again, but its model is the same and has its version.
    """
    made = {step: item.subjects for step, item in statements.items() if step not in JUDGES}
    return text_digest(canonical_json(made))


def pipeline_run_digest(statements: Mapping[str, Statement]) -> str:
    """SHA-256 that names one run of the pipeline: `resolve` is never cached, so that no two runs share it."""
    return text_digest(canonical_json({step: item.invocation for step, item in statements.items()}))


def check_chain(statements: Mapping[str, Statement], artifacts: Mapping[str, Path]) -> None:
    """Check that ``artifacts`` are what the statements say, and that each step used what another made.

    Raises:
        RegrowError: a digest does not match; the artifact and the step are named.
    """
    made = {name: (step, sha) for step, item in statements.items() for name, sha in item.subjects.items()}
    for name, path in artifacts.items():
        if name in made and tree_digest(path) != made[name][1]:
            step = made[name][0]
            raise RegrowError(
                f"{path}: differs from the '{name}' in the statement of step '{step}'; run '{step}' again"
            )
    for step, item in statements.items():
        for used in item.dependencies:
            name, sha = str(used.get("name")), used.get("digest", {}).get("sha256")
            if name in made and made[name][0] != step and sha and sha != made[name][1]:
                raise RegrowError(
                    f"step '{step}' used a different '{name}' from the one made by step '{made[name][0]}', "
                    f"so the chain of statements is broken; run '{step}' again"
                )


def package_digest() -> str:
    """SHA-256 over all of Regrow's own source files: the code version where there is no commit."""
    root = Path(__file__).resolve().parent.parent
    kinds = {".py", ".html", ".css", ".j2"}
    files = [path for path in tree_files(root) if path.suffix in kinds]
    return digest_of_files({path.relative_to(root).as_posix(): tree_digest(path) for path in files})


def data_version(resources: Sequence[Mapping[str, object]]) -> str:
    """One digest for the raw data: the DVC hash or SHA-256 of a single resource, or a SHA-256 over all.

    At most 36 characters, MLflow's limit for a dataset's digest (DVC's ``md5.dir`` has exactly as many).
    """
    digests = [item.get("digest") for item in resources]
    if len(digests) == 1 and isinstance(digests[0], Mapping) and digests[0]:
        digest = digests[0]
        return str(digest.get("md5") or digest.get("sha256") or next(iter(digest.values())))[:36]
    return text_digest(canonical_json(list(resources)))[:36]
