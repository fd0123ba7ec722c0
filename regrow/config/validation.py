"""Check values against a section's schema; each message names the field, what was found and what is accepted."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from regrow.config.choices import OneOf, OneOfSections
from regrow.config.sections import Parameters
from regrow.errors import RegrowError, nearest

LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
MOST = 20  # faults that are told at once
FEW, DEEPEST = 3, 5  # of keys that are hinted at: their number, and the sections around one
FILLED_IN = ("resolve",)  # what it needs is copied from the other sections
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def validate(
    model: type[Parameters],
    document: Any,
    *,
    where: str,
    overrides: Sequence[str] = (),
    later: Sequence[str] = (),
) -> Any:
    """Validate ``document`` as ``model``; one message lists all errors, one per line.

    An error in a value set by one of ``overrides`` is attributed to it, not to the file. Contradictions within sections
    called ``later`` are not reported yet; if there is no other error, None is returned.

    Raises:
        RegrowError: each error with its field, what was found, and what is accepted.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_url=False):
            if fault["type"] == "value_error" and fault["loc"] and fault["loc"][-1] in later:
                continue
            fault["loc"] = _written(fault["loc"], document)
            field, sentence = _sentence(model, fault)
            said = (_place(field, where, overrides), field, sentence)
            faults.append(": ".join(part for part in said if part))
        if not faults:
            return None
        told = list(dict.fromkeys(faults))
        more = [f"{where}: {len(told) - MOST:,} more errors"] if len(told) > MOST else []
        raise RegrowError(*told[:MOST], *more) from None


def _written(location: tuple[int | str, ...], document: Any) -> tuple[int | str, ...]:
    """``location`` without list positions that ``document`` lacks, because a single value may stand for a list."""
    written: list[int | str] = []
    for part in location:
        if isinstance(part, int) and not isinstance(document, list | tuple):
            continue
        written.append(part)
        # What is not in the document, as the tag of a union, leads nowhere.
        if isinstance(document, Mapping):
            document = document.get(part, document)
        elif isinstance(part, int) and part < len(document):
            document = document[part]
    return tuple(written)


def _place(field: str, where: str, overrides: Sequence[str]) -> str:
    """Where the error in ``field`` comes from: an override, the file, or both together."""
    for text in reversed(overrides):
        if _sets(text, field):
            return f"--set {text}"
    within = [text for text in overrides if text.startswith(f"{field}.")]
    return f"{where} with {' '.join(f'--set {text}' for text in within)}" if within else where


def _sets(override: str, field: str) -> bool:
    key = override.partition("=")[0]
    return field == key or field.startswith(f"{key}.")


def _sentence(model: type[BaseModel], fault: ErrorDetails) -> tuple[str, str]:
    """The field as a user writes it, and what is wrong with it."""
    location, sections = _walk(model, [str(part) for part in fault["loc"]])
    field, found, kind = ".".join(location), fault.get("input"), fault["type"]
    context = fault.get("ctx", {})
    if kind == "extra_forbidden":
        hint = nearest(location[-1], _names(sections))
        elsewhere = "" if "did you mean" in hint else _elsewhere(model, location) or _below(model, location)
        return field, f"unknown key{elsewhere or hint}"
    if kind == "missing":
        return field, "is required"
    if kind in ("literal_error", "enum") and isinstance(found, str):
        several = _takes_several(sections, location[-1])
        return field, _not_accepted(found, str(context.get("expected", "")), several=several)
    if kind == "union_tag_invalid":
        key = str(context.get("discriminator", "")).strip("'")
        return f"{field}.{key}", _not_accepted(str(context["tag"]), str(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return f"{field}.{str(context.get('discriminator', '')).strip(chr(39))}", "is required"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        keys = f" with the keys {', '.join(inner)}" if (inner := _keys(model, location)) else ""
        return field, f"is a section{keys}, not a value (found {_as_written(found)})"
    if kind in ("tuple_type", "list_type"):
        return (
            field,
            f"is a list, not a value (found {_as_written(found)}){_items(sections, location[-1], found)}",
        )
    if kind == "string_pattern_mismatch" and (such := _examples(sections, location[-1])):
        return field, f"'{found}' is not accepted; accepted: such as {' or '.join(such)}"
    if bounds := _bounds(sections, location[-1]) if kind in OUT_OF_RANGE else "":
        return field, f"is out of range (found {_as_written(found)}; accepted: {bounds})"
    message = str(context["error"]) if "error" in context else fault["msg"]
    shown = (
        ""
        if isinstance(found, Mapping | BaseModel) or "error" in context
        else f" (found {_as_written(found)})"
    )
    return field, f"{message[:1].lower()}{message[1:]}{shown}"


def _elsewhere(model: type[BaseModel], location: Sequence[str]) -> str:
    """A hint such as ``; did you mean 'prune.sparsity'?`` if another section has this key; else ""."""
    *section, name = location
    known = [path for path in _paths(model, DEEPEST) if path[-1] == name and path[0] not in FILLED_IN]
    inside = [path for path in known if path[: len(section)] == tuple(section)]
    found = sorted({f"'{'.'.join(path)}'" for path in inside or known})
    return f"; did you mean {' or '.join(found)}?" if 0 < len(found) <= FEW else ""


def _below(model: type[BaseModel], location: Sequence[str]) -> str:
    """A hint such as ``; did you mean 'recover.fit.epochs'?`` where a key below has nearly this name; else ""."""
    *section, name = location
    inside = [path for path in _paths(model, DEEPEST) if path[: len(section)] == tuple(section)]
    close = difflib.get_close_matches(name, {path[-1] for path in inside}, n=1, cutoff=0.8)
    found = sorted(
        {".".join(path) for path in inside if path[-1] in close}, key=lambda text: (text.count("."), text)
    )
    return f"; did you mean '{found[0]}'?" if found else ""


def _items(sections: Sequence[type[BaseModel]], name: str, found: Any) -> str:
    """What may stand in the list ``name``, where that is one of a few words; else ""."""
    for section in sections:
        field = section.model_fields.get(name)
        for inner in get_args(field.annotation) if field is not None else ():
            words = [word for item in (inner, *get_args(inner)) for word in _words(item)]
            if words:
                texts = [str(word) for word in words]
                such = (difflib.get_close_matches(str(found), texts, n=1) or texts)[0]
                return f"; accepted: a list such as [{such}], of {', '.join(texts)}"
    return ""


def _words(kind: Any) -> list[str]:
    """The words that ``kind`` allows; none where it allows others."""
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    return [
        word for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, OneOf) for word in mark.names()
    ]


def _paths(model: type[BaseModel], depth: int) -> Iterator[tuple[str, ...]]:
    """Every key of ``model`` with the sections that lead to it, as many as ``depth``."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield (key,)
        for inner in _inner(field) if depth else ():
            yield from ((key, *path) for path in _paths(inner, depth - 1))


def _as_written(value: Any) -> str:
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)


def _examples(sections: Sequence[type[BaseModel]], name: str) -> list[str]:
    """Example values for the field ``name``."""
    fields = [field for section in sections if (field := section.model_fields.get(name)) is not None]
    return [str(item) for field in fields for item in field.examples or ()]


def _bounds(sections: Sequence[type[BaseModel]], name: str) -> str:
    """The range of the field ``name`` in words; empty if the ``sections`` have several fields of this name."""
    found = {
        tuple(
            (sign, getattr(item, limit))
            for item in field.metadata
            for limit, sign in LIMITS.items()
            if getattr(item, limit, None) is not None
        )
        for section in sections
        if (field := section.model_fields.get(name)) is not None
    }
    return " and ".join(f"{sign} {limit:,}" for sign, limit in found.pop()) if len(found) == 1 else ""


def _takes_several(sections: Sequence[type[BaseModel]], name: str) -> bool:
    """Whether the field ``name`` is a list."""
    fields = [field for section in sections if (field := section.model_fields.get(name)) is not None]
    return any(get_origin(field.annotation) in (tuple, list) for field in fields)


def _not_accepted(found: str, expected: str, *, several: bool = False) -> str:
    accepted = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    hint = nearest(found, accepted)
    every = "" if "accepted:" in hint else f" (accepted: {', '.join(accepted)})"
    parts = [part.strip() for part in found.split(",")]
    if several and len(parts) > 1 and set(parts) <= set(accepted):
        return f"'{found}' is one value; write several as [{', '.join(parts)}]"
    return f"'{found}' is not accepted{hint}{every}"


def _keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys of the section at ``location``."""
    return _names(_walk(model, [*location, ""])[1])


def _walk(model: type[BaseModel], location: Sequence[str]) -> tuple[list[str], list[type[BaseModel]]]:
    """``location`` without union tags, which users never write, and the sections that its last key may be in."""
    candidates: list[type[BaseModel]] = [model]
    written: list[str] = []
    for number, part in enumerate(location):
        fields = [
            field
            for item in candidates
            for name, field in item.model_fields.items()
            if part in (name, field.alias)
        ]
        tagged = [item for item in candidates if _tag_is(item, part)]
        last = number == len(location) - 1
        if fields or last or not tagged:
            written.append(part)
        if last:
            break
        # The keys of a plain mapping are whatever they are.
        inside = [inner for field in fields for inner in _inner(field)]
        candidates = inside if fields else tagged or candidates
    return written, candidates


def _names(sections: Sequence[type[BaseModel]]) -> list[str]:
    return sorted(
        {field.alias or name for section in sections for name, field in section.model_fields.items()}
    )


def _tag_is(model: type[BaseModel], tag: str) -> bool:
    return any(
        field.default == tag or tag in get_args(field.annotation) for field in model.model_fields.values()
    )


def _inner(field: FieldInfo) -> list[type[BaseModel]]:
    """The sections that the value of ``field`` may be, or hold."""
    return [model for part in (field.annotation, *field.metadata) for model in _models(part)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, OneOfSections):
        return list(annotation.sections().values())
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in get_args(annotation) for model in _models(argument)]
