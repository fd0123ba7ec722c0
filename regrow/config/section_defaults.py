"""Add missing sections to ``params.yaml`` with their defaults; existing text stays unchanged."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from regrow.config.document import read_document
from regrow.errors import RegrowError
from regrow.steps import get_spec

WIDTH = 100
INTRODUCTION = "# The configuration of a run; `regrow keys` lists all keys.\n"


def missing_sections(params_file: Path, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that ``params_file`` lacks; DVC refuses a stage without its parameters."""
    document = read_document(params_file) if params_file.exists() else {}
    return [name for name in names if not document.get(name)]


def add_sections(params_file: Path, names: Sequence[str]) -> None:
    """Write the sections ``names``, missing or empty in ``params_file``, with their defaults; comments stay.

    Raises:
        RegrowError: the file cannot be written, or has a YAML form to which nothing can be added.
    """
    file = params_file.resolve()  # of a link, what it leads to
    given = file.read_bytes().decode() if file.exists() else INTRODUCTION
    before = given.replace("\r\n", "\n")
    wanted = {name: section_defaults(name) for name in names}
    text = _appended(before, wanted) or _rewritten(before, wanted)
    if text is None:
        raise RegrowError(
            f"{params_file}: add the sections {', '.join(names)} yourself; its form of YAML cannot be "
            "extended automatically"
        )
    scratch = file.with_name(f".{file.name}.new")
    try:
        scratch.write_bytes((text if before == given else text.replace("\n", "\r\n")).encode())
        if file.exists():
            scratch.chmod(file.stat().st_mode)
        scratch.replace(file)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise RegrowError(f"{params_file}: cannot be written ({error.strerror or error})") from None


def section_defaults(name: str) -> dict[str, Any]:
    """The defaults of section ``name`` as YAML, without keys that are unset by default."""
    found: dict[str, Any] = get_spec(name).params().model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def _appended(before: str, wanted: Mapping[str, Any]) -> str | None:
    """``before`` followed by ``wanted``; None if YAML would not read it as intended."""
    stream = StringIO(before if before.endswith("\n") or not before else f"{before}\n")
    stream.seek(0, 2)
    for name, section in wanted.items():
        stream.write(f"\n# {get_spec(name).summary}\n")
        _round_trip().dump({name: section}, stream)
    text = stream.getvalue()
    return text if _reads(text) == {**(_reads(before) or {}), **wanted} else None


def _rewritten(before: str, wanted: Mapping[str, Any]) -> str | None:
    """``before`` with ``wanted`` added to its mapping, which may be in braces or have empty sections."""
    document = _round_trip().load(before)
    for name, section in wanted.items():
        document[name] = section
    stream = StringIO()
    _round_trip().dump(document, stream)
    text = stream.getvalue()
    return text if _reads(text) == {**(_reads(before) or {}), **wanted} else None


def _round_trip() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _reads(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None
