"""The keys of ``params.yaml`` as rows to read: key, type, default, meaning."""

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from regrow.config.choices import OneOf, OneOfSections
from regrow.config.document import config_model
from regrow.errors import RegrowError, nearest

WIDE = 120  # columns that a table of keys needs
FILLED = frozenset({"resolve.source", "resolve.model_name", "resolve.start", "resolve.fingerprint"})


class Key(NamedTuple):
    """One key; a choice between kinds has one row per kind and key, such as ``prepare.source (kind: csv).label``.

    A list of sections of one kind looks like ``sweep.targets[].macs``.
    """

    name: str
    type: str
    default: str
    meaning: str


def keys(section: str | None = None) -> list[Key]:
    """The keys of ``section``, or of all sections; ``prune.channels`` is a section too.

    Raises:
        RegrowError: there is no such section.
    """
    model = config_model()
    top, _, below = (section or "").partition(".")
    if section is not None and top not in model.model_fields:
        raise RegrowError(f"params.yaml has no section '{top}'{nearest(top, model.model_fields)}")
    chosen = [top] if section is not None else list(model.model_fields)
    found = [key for name in chosen for key in _rows(name, model.model_fields[name])]
    if not below:
        return found
    inside = [
        key for key in found if key.name == section or key.name.startswith((f"{section}.", f"{section} ("))
    ]
    if not inside:
        parts = {key.name.removeprefix(f"{top}.").replace(" ", ".").split(".")[0] for key in found}
        raise RegrowError(f"section '{top}' of params.yaml has no '{below}'{nearest(below, sorted(parts))}")
    return inside


def _rows(name: str, field: FieldInfo, preset: Any = PydanticUndefined) -> Iterator[Key]:
    """Rows of ``field``; ``preset`` is its default if the enclosing section sets one."""
    if name in FILLED:
        return
    meaning = " ".join((field.description or "").split())
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    inner = [item for item in _members(annotation) if _is_section(item)]
    plain = [item for item in _members(annotation) if not _is_section(item)]
    if len(inner) == 1 and not _many(field.annotation):
        section = inner[0]
        if plain:
            yield Key(
                name,
                f"section{''.join(f' or {_type(item)}' for item in plain)}",
                _default(field, preset),
                meaning,
            )
        own = _value(field, preset)
        for key, value in section.model_fields.items():
            given = getattr(own, key) if isinstance(own, section) else PydanticUndefined
            yield from _rows(f"{name}.{value.alias or key}", value, given)
    elif inner:
        yield Key(
            name,
            "one of several" if not _many(field.annotation) else "list",
            _default(field, preset),
            meaning,
        )
        for section in inner:
            tag, choice = _tag(section)
            which = f"{name}[]" if len(inner) == 1 else f"{name} ({tag}: {choice})"
            for key, value in section.model_fields.items():
                if key != tag:
                    yield from _rows(f"{which}.{value.alias or key}", value)
    else:
        yield Key(name, " or ".join(_type(item) for item in plain), _default(field, preset), meaning)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> list[Any]:
    """The alternatives of ``annotation``, sections inside lists included."""
    if hasattr(annotation, "__metadata__"):
        for mark in annotation.__metadata__:
            if isinstance(mark, OneOfSections):
                return list(mark.sections().values())
            if isinstance(mark, OneOf):
                return [Literal[*mark.names()]]
        return _members(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for item in get_args(annotation) for member in _members(item)]
    if _many(annotation) and any(_is_section(item) for item in _members(get_args(annotation)[0])):
        return _members(get_args(annotation)[0])
    return [annotation]


def _many(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, list)


def _tag(section: type[BaseModel]) -> tuple[str, str]:
    for name, field in section.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return name, str(get_args(field.annotation)[0])
    return "with", section.__name__


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin in (tuple, list):
        return f"list of {' or '.join(dict.fromkeys(_type(item) for item in get_args(annotation) if item is not ...))}"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__)
    if origin is dict:
        return f"{' to '.join(_type(item) for item in get_args(annotation))}, by key"
    if _is_section(annotation):
        return "section"
    names = {int: "whole number", float: "number", str: "text", bool: "true | false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _value(field: FieldInfo, preset: Any) -> Any:
    if preset is not PydanticUndefined or field.is_required():
        return preset
    return field.get_default(call_default_factory=True)


def _default(field: FieldInfo, preset: Any) -> str:
    value = _value(field, preset)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True) or {}
        tagged = {key: item for key, item in value.items() if isinstance(item, str | int | float)}
        return ", ".join(f"{key}: {item}" for key, item in tagged.items()) or "as below"
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_keys(found: Sequence[Key], console: Console) -> None:
    """Print ``found`` as a table, or on a narrow ``console`` one below the other."""
    if console.width < WIDE:
        for key in found:
            default = "required" if key.default == "required" else f"default {key.default or 'empty'}"
            console.print(Text.assemble((key.name, "bold"), f"  {key.type}; {default}"))
            console.print(Padding(Text(key.meaning), (0, 0, 0, 4)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("key", no_wrap=True)
    for name in ("type", "default"):
        table.add_column(name, overflow="fold")
    table.add_column("meaning", overflow="fold", ratio=1)
    for key in found:
        table.add_row(*map(str, key))
    console.print(table, markup=False, highlight=False)
