"""Python's indexing of a tensor: a range of channels stays traceable."""

from typing import Any

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.rule import Outputs
from regrow.graph.ties import Ids


def sliced(call: LayerCall, spec: Any) -> Outputs:
    """The ids of ``tensor[spec]``; the ends of a range of channels follow the channels before them."""
    single = not isinstance(spec, list | tuple)
    parts = [spec] if single else list(spec)
    if any(not isinstance(part, int | dict | slice | None) and part is not Ellipsis for part in parts):
        return call.left_whole("indexes them by a tensor")
    used = sum(part is not None and part is not Ellipsis for part in parts)
    rest = len(call.input.shape) - used
    if Ellipsis not in [part for part in parts if part is Ellipsis]:
        parts.append(Ellipsis)
    found: list[Ids | None] = []
    axis = 0
    for position, part in enumerate(parts):
        if part is None:
            found.append(None)
        elif part is Ellipsis:
            found += call.input.ids[axis : axis + rest]
            axis += rest
        else:
            key: tuple[str | int, ...] = ("slice_spec",) if single else ("slice_spec", position)
            if isinstance(part, int):
                call.pinned(call.input.ids[axis], "picks one by its number")
            else:
                found.append(_ranged(call, call.input.ids[axis], part, key))
            axis += 1
    return tuple(found)


def _ranged(call: LayerCall, ids: Ids | None, part: Any, key: tuple[str | int, ...]) -> Ids | None:
    if ids is None:
        return None
    given = part if isinstance(part, dict) else {n: getattr(part, n) for n in ("start", "stop", "step")}
    start, stop, step = given["start"], given["stop"], given["step"]
    numbers = all(isinstance(value, int | None) for value in (start, stop, step))
    if not numbers or step not in (None, 1):
        call.pinned(ids, "takes some of them by their numbers")
        return None
    first, last, _ = slice(start, stop).indices(len(ids))
    # A bound counted from the end follows the channels behind it.
    for name, value, end in (("start", start, first), ("stop", stop, last)):
        if value is not None and value >= 0:
            call.argument_sized((*key, name), ids[:end])
        elif value is not None:
            call.pinned(ids[end:], "takes all before them")
    whole = start is None and stop is None
    return ids if whole else ids[first:last]
