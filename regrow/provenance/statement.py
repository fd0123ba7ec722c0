"""in-toto v1 statements with a SLSA provenance v1 predicate: what a step made, from what, how and when.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance
"""

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.provenance.digest import digest_of_files, file_digests
from regrow.provenance.environment import Surroundings
from regrow.showing.redaction import redacted_deep
from regrow.storage.artifacts import read_json, write_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://regrow.dev/step/v1"
FILE_NAME = "statement.json"
MLFLOW_RUN = "mlflow_run"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Something a step used: an input directory, raw data or a commit. ``digest`` is by algorithm."""

    name: str
    uri: str = ""
    digest: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The in-toto ResourceDescriptor of this resource, empty fields left out."""
        fields = {
            "name": self.name,
            "uri": self.uri,
            "digest": dict(self.digest),
            "annotations": dict(self.annotations),
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True)
class Statement:
    """A statement as read from or written to ``statement.json``; ``document`` is its JSON."""

    document: Mapping[str, Any]

    @property
    def step(self) -> str:
        """The step's name."""
        return str(self._definition["externalParameters"]["step"])

    @property
    def cache_key(self) -> str:
        """Digest of the inputs, parameters and code; equal keys mean equal work."""
        return str(self._definition["internalParameters"]["cacheKey"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The step's parameters as given."""
        return dict(self._definition["externalParameters"]["parameters"])

    @property
    def figures(self) -> Mapping[str, Any]:
        """Key figures that the step reported."""
        return dict(self.document["predicate"]["runDetails"]["metadata"].get("figures", {}))

    @property
    def invocation(self) -> str:
        """The id of this execution of the step; a cached step keeps its first."""
        return str(self.document["predicate"]["runDetails"]["metadata"]["invocationId"])

    @property
    def seconds(self) -> float:
        """How long the step's work took, in seconds."""
        start, end = self.times
        return (end - start).total_seconds()

    @property
    def times(self) -> tuple[datetime.datetime, datetime.datetime]:
        """When the step's work began and ended, in UTC."""
        metadata = self.document["predicate"]["runDetails"]["metadata"]
        start, end = (datetime.datetime.fromisoformat(metadata[name]) for name in ("startedOn", "finishedOn"))
        return start, end

    @property
    def mlflow_runs(self) -> list[str]:
        """Ids of the MLflow runs that the step streamed to."""
        products = self.document["predicate"]["runDetails"].get("byproducts", [])
        return [item["uri"].removeprefix("runs:/") for item in products if item["name"] == MLFLOW_RUN]

    @property
    def subjects(self) -> dict[str, str]:
        """SHA-256 of each output directory, by output name."""
        return {item["name"]: item["digest"]["sha256"] for item in self.document["subject"]}

    @property
    def dependencies(self) -> list[dict[str, Any]]:
        """What was used, as in-toto ResourceDescriptors."""
        return list(self._definition["resolvedDependencies"])

    @property
    def _definition(self) -> Mapping[str, Any]:
        definition: Mapping[str, Any] = self.document["predicate"]["buildDefinition"]
        return definition

    def files(self, output: str) -> dict[str, str]:
        """SHA-256 of each file of the output ``output``, by relative POSIX path."""
        for item in self.document["subject"]:
            if item["name"] == output:
                return dict(item["annotations"]["files"])
        raise RegrowError(f"the statement of step '{self.step}' has no output '{output}'")

    def verify(self, outputs: Mapping[str, Path]) -> None:
        """Check that ``outputs`` match the statement in every byte.

        Raises:
            RegrowError: an output is missing, or a file is missing, added or changed; it is named.
        """
        for name, directory in outputs.items():
            if not directory.is_dir():
                raise RegrowError(f"{directory}: output '{name}' of step '{self.step}' is missing")
            self.verify_files(name, directory, file_digests(directory))

    def verify_files(self, output: str, directory: Path, found: Mapping[str, str]) -> None:
        """The same for one output, of which ``found`` are the digests of the files in ``directory``."""
        expected = self.files(output)
        for path in sorted({*expected, *found}):
            if path not in found:
                raise RegrowError(f"{directory / path}: is missing, but the step's statement lists it")
            if path not in expected:
                raise RegrowError(f"{directory / path}: is not in the statement of step '{self.step}'")
            if expected[path] != found[path]:
                raise RegrowError(
                    f"{directory / path}: has sha256 {found[path]}, but the statement of step '{self.step}' "
                    f"has {expected[path]}"
                )
        if digest_of_files(expected) != self.subjects[output]:
            raise RegrowError(f"the statement of step '{self.step}' contradicts itself on '{output}'")

    def write(self, directory: Path) -> None:
        """Write ``directory/statement.json``."""
        write_json(directory / FILE_NAME, dict(self.document))


def make_statement(
    *,
    step: str,
    outputs: Mapping[str, Path],
    dependencies: Sequence[Resource],
    parameters: Mapping[str, Any],
    cache_key: str,
    code: str,
    surroundings: Surroundings,
    started: datetime.datetime,
    finished: datetime.datetime,
    figures: Mapping[str, Any],
    mlflow_runs: Sequence[str] = (),
) -> Statement:
    """State that ``step`` made ``outputs`` (directories, hashed here) from ``dependencies``."""
    subjects = []
    for name, directory in outputs.items():
        files = file_digests(directory)
        subjects.append(
            {"name": name, "digest": {"sha256": digest_of_files(files)}, "annotations": {"files": files}}
        )
    document = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"step": step, "parameters": redacted_deep(parameters)},
                "internalParameters": {"cacheKey": cache_key, "python": surroundings.python},
                "resolvedDependencies": [
                    redacted_deep(resource.to_json())
                    for resource in [*dependencies, *_code(code, surroundings)]
                ],
            },
            "runDetails": {
                "builder": {"id": surroundings.image or "https://regrow.dev/builder/local"},
                "metadata": {
                    "invocationId": str(uuid.uuid4()),
                    "startedOn": started.isoformat(),
                    "finishedOn": finished.isoformat(),
                    "figures": redacted_deep(figures),
                },
                "byproducts": [{"name": MLFLOW_RUN, "uri": f"runs:/{run}"} for run in mlflow_runs],
            },
        },
    }
    return Statement(document)


def _code(code: str, around: Surroundings) -> list[Resource]:
    """The commit, the lock file and the step's own sources as dependencies."""
    resources = [Resource(name="code", digest={"sha256": code})]
    if around.git_commit:
        resources.append(
            Resource(
                name="commit",
                uri=f"git+{around.git_url}" if around.git_url else "",
                digest={"gitCommit": around.git_commit},
                annotations={"dirty": around.git_dirty},
            )
        )
    if around.lock_digest:
        resources.append(Resource(name="requirements.lock", digest={"sha256": around.lock_digest}))
    if around.image:
        resources.append(Resource(name="image", uri=around.image))
    return resources


def read_statement(directory: Path) -> Statement:
    """Read ``directory/statement.json`` and check its form with the in-toto library.

    Raises:
        RegrowError: no statement is there, or it is not an in-toto v1 statement of a Regrow step.
    """
    path = directory / FILE_NAME
    document = read_json(path)
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement as intoto
    from in_toto_attestation.v1 import statement_pb2

    try:
        parsed = json_format.ParseDict(document, statement_pb2.Statement())
        intoto.Statement.copy_from_pb(parsed).validate()
        statement = Statement(document)
        if document["predicateType"] != PREDICATE_TYPE:
            raise ValueError(f"predicateType is {document['predicateType']!r}, accepted: {PREDICATE_TYPE!r}")
        _ = statement.step, statement.cache_key, statement.seconds, statement.subjects
    except (json_format.ParseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegrowError(f"{path}: is not a statement of a Regrow step ({error})") from None
    return statement
