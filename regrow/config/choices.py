"""Values chosen by name from records that a user may add to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from regrow.errors import RegrowError, nearest


@dataclass(frozen=True)
class OneOf:
    """Marks a text field that holds one of the names that ``names`` gives when it is validated.

    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> TypeAdapter(Annotated[str, OneOf(lambda: ["red", "blue"])]).validate_python("red")
    'red'
    """

    names: Callable[[], list[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": self.names(), "type": "string"}

    def _known(self, name: str) -> str:
        if name not in (names := self.names()):
            raise ValueError(f"'{name}' is not known{nearest(name, names)}")
        return name


@dataclass(frozen=True)
class OneOfSections:
    """Marks a field that holds one of several sections, told apart by ``name``; the name alone takes its defaults.

    ``sections`` gives them by name when a value is validated.
    """

    what: str
    sections: Callable[[], Mapping[str, type[BaseModel]]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._section,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        sections = self.sections()
        if not sections:
            return {"not": {}}  # there is none to choose
        kinds = [handler(section.__pydantic_core_schema__) for section in sections.values()]
        return {"anyOf": [{"enum": list(sections), "type": "string"}, *kinds]}

    def _section(self, value: Any) -> BaseModel:
        sections = self.sections()
        if isinstance(value, tuple(sections.values())):
            assert isinstance(value, BaseModel)
            return value
        name = value.get("name") if isinstance(value, Mapping) else value
        if name is None:
            raise ValueError(f"needs a name{nearest('', sections)}")
        if not isinstance(name, str) or name not in sections:
            hint = nearest(str(name), sections) or f"; no {self.what} has been added"
            raise ValueError(f"unknown {self.what} '{name}'{hint}")
        return sections[name].model_validate(value if isinstance(value, Mapping) else {"name": name})


def name_of(section: type[BaseModel], *, what: str) -> str:
    """The name by which ``section`` is chosen: the default of its field ``name``, a `Literal` of that one name.

    Raises:
        RegrowError: it has none; ``what`` it is for is said.
    """
    is_section = isinstance(section, type) and issubclass(section, BaseModel)
    field = section.model_fields.get("name") if is_section else None
    names = (
        get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    )
    if field is None or len(names) != 1 or field.default != names[0]:
        given = section.__name__ if is_section else repr(section)
        raise RegrowError(
            f"{what}: {given} has no name; accepted: a section (`regrow.config.sections.Parameters`) with the"
            ' field name: Literal["NAME"] = "NAME"'
        )
    return str(names[0])


def check_addition(what: str, name: Any, added: Any, *, taken: Any = None) -> None:
    """Refuse what cannot be added under ``name``; what is ``taken`` by it already may be defined anew in its place.

    Raises:
        RegrowError: ``name`` is no name, ``added`` cannot be called, or the name is ``taken`` by something else.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        given = repr(name) if isinstance(name, str | int | float | None) else f"a {type(name).__name__}"
        raise RegrowError(
            f'{what}: its name is {given}; accepted: letters, digits and "_", such as @{what}("mine")'
        )
    if not callable(added):
        raise RegrowError(f"{what} '{name}': is a {type(added).__name__}; accepted: a function")
    # The same cell of a notebook, its function renamed or not, or a module that is imported anew, takes its own place.
    if (
        taken is None
        or _place(taken) == _place(added)
        or {_place(taken)[0], _place(added)[0]} == {"__main__"}
    ):
        return
    raise RegrowError(f"{what} '{name}': the name is taken by {'.'.join(_place(taken))}")


def _place(added: Any) -> tuple[str, str]:
    """Module and name of a function; of an object that can be called, those of its class."""
    named = added if hasattr(added, "__qualname__") else type(added)
    return str(named.__module__), str(named.__qualname__)
