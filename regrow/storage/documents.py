"""YAML and JSON from outside, read within bounds: a file of a few kilobytes can ask for endless work.

Integers of thousands of digits, thousands of nested brackets and aliases that double again and again are valid YAML. A
document is therefore bounded in bytes, in depth, in its integers and in what its aliases come to.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.storage.regular_files import read_text

MAX_YAML_BYTES = 256 << 10  # some seconds of the parser's time
MAX_JSON_BYTES = 64 << 20
MAX_DEPTH = 100
MAX_VALUES = 100_000
LARGEST = 1 << 63


class InvalidYamlError(RegrowError):
    """The text is not YAML at all; what is YAML and out of bounds is another matter."""


def read_yaml(path: Path) -> Any:
    """The one document in the file ``path``; None where it is empty.

    Raises:
        RegrowError: no regular file, not UTF-8, no YAML, or more than the bounds of this module allow.
    """
    return parse_yaml(read_text(path, max_bytes=MAX_YAML_BYTES), where=str(path))


def parse_yaml(text: str, *, where: str) -> Any:
    """The document that ``text`` is, of texts, numbers, truth values, dates, lists and mappings.

    Raises:
        RegrowError: it is no YAML, or more than the bounds of this module allow; the sentence begins with ``where``.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if _open_brackets(text) > MAX_DEPTH:
        raise RegrowError(f"{where}: is nested more than {MAX_DEPTH} levels deep")
    try:
        # The pure parser: one in C would end the process where it is nested too deeply.
        document = YAML(typ="safe", pure=True).load(text)
    except RecursionError:
        raise RegrowError(f"{where}: is nested more than {MAX_DEPTH} levels deep") from None
    except Exception as error:  # each kind of value has errors of its own
        said = f"{where}: is not valid YAML ({yaml_fault(error)})"
        kind = InvalidYamlError if isinstance(error, YAMLError) else RegrowError
        raise kind(said) from None
    fault = _fault(document, [], {})
    if isinstance(fault, str):
        raise RegrowError(f"{where}: {fault}")
    return document


def _open_brackets(text: str) -> int:
    """How many brackets are open at most, whether or not they belong to a text: an upper bound for flow style."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        depth = max(depth, 0)
        deepest = max(deepest, depth)
    return deepest


def yaml_fault(error: Exception) -> str:
    """Line, column and problem, without the excerpt that YAML's own message draws, and without values."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return _number_fault(error) or " ".join(str(error).split())
    said = re.sub(r'(found duplicate key "[^"]*") .*', r"\1", str(problem), flags=re.DOTALL)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


def _number_fault(error: Exception) -> str:
    return "an integer has thousands of digits" if "integer string conversion" in str(error) else ""


def _fault(value: Any, parents: list[int], counted: dict[int, int]) -> str | int:
    """How many values ``value`` comes to with its aliases written out, or what is wrong with it."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= LARGEST:
        return f"holds an integer of {value.bit_length()} bits; accepted: at most 63"
    if isinstance(value, str) and "\0" in value:
        return "holds a text with a null character"
    if not isinstance(value, Mapping | list | tuple | set):
        return 1
    if id(value) in parents:
        return "holds an alias of what it is itself a part of"
    if len(parents) >= MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    if id(value) in counted:
        return counted[id(value)]
    inner = [*value, *value.values()] if isinstance(value, Mapping) else list(value)
    number = 1
    for item in inner:
        found = _fault(item, [*parents, id(value)], counted)
        if isinstance(found, str):
            return found
        number += found
        if number > MAX_VALUES:
            return f"comes to more than {MAX_VALUES:,} values, its aliases written out"
    counted[id(value)] = number
    return number


def read_json(path: Path) -> Any:
    """The JSON in the file ``path``.

    Raises:
        RegrowError: no regular file, not UTF-8, no JSON, or more than `parse_json` accepts.
    """
    return parse_json(read_text(path, max_bytes=MAX_JSON_BYTES), where=str(path))


def parse_json(text: str | bytes, *, where: str) -> Any:
    """The value that ``text`` is.

    Raises:
        RegrowError: it is not JSON, is nested too deeply, has an integer of thousands of digits, or names a key twice;
            the sentence begins with ``where``.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise RegrowError(f"{where}: is nested too deeply") from None
    except ValueError as error:  # of JSON, of UTF-8, and of int()
        raise RegrowError(f"{where}: is not valid JSON ({_number_fault(error) or error})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two equal keys counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        known: set[str] = set()
        twice = next(name for name, _ in pairs if name in known or known.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key '{twice}' stands there twice")
    return found
