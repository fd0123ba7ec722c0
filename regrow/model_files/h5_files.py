"""HDF5 files from outside: nothing is taken from other files, and nothing expands without bound."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from regrow.errors import RegrowError

# What compressed data may expand to, whatever the size of the file, and as a multiple of it.
SMALL = 1 << 28
EXPANSION = 100
# deflate, shuffle, fletcher32 and LZF: what h5py writes. Others are rarely used, and seldom built in.
FILTERS = frozenset({1, 2, 3, 32000})
NUMBERS = frozenset("biuf")
BFLOAT16 = "|V2"  # two bytes of no meaning: HDF5 has no such type
# HDF5 files written by Keras nest as deep as its models do.
DEEPEST = 200


@dataclass(frozen=True)
class Stored:
    """``bytes`` of all arrays in a file, and the outermost ``layers`` that have real ones in an archive, by name."""

    bytes: int
    layers: frozenset[str]


def stored(h5: Any, *, size: int) -> Stored:
    """What the open HDF5 file ``h5``, which itself has ``size`` bytes, says it holds. No array is read.

    Raises:
        RegrowError: it takes data from another file, or holds data that are not numbers, use a filter that is not
            h5py's own or expand out of proportion; the sentence lacks the name of the file.
    """
    total, layers = 0, set()
    for name, item in _data_sets(h5):
        if item.dtype.str == BFLOAT16:
            raise RegrowError(
                f"'{name}' is bfloat16, which HDF5 does not support and tf_keras does not read; save the "
                "model with float32 weights, as policy mixed_bfloat16 does"
            )
        if item.dtype.kind not in NUMBERS:
            raise RegrowError(f"'{name}' holds {item.dtype}; accepted in a model's weights: numbers")
        plan = item.id.get_create_plist()
        numbers = {plan.get_filter(place)[0] for place in range(plan.get_nfilters())}
        if numbers - FILTERS:
            raise RegrowError(
                f"'{name}' is compressed by HDF5's filter {min(numbers - FILTERS)}; accepted: gzip, LZF or none"
            )
        total += item.size * item.dtype.itemsize
        if name.startswith("/layers/") and item.dtype.kind == "f":
            layers.add(name.split("/")[2])
        if total > max(SMALL, EXPANSION * size):
            raise RegrowError(
                f"its data would expand to more than {max(SMALL, EXPANSION * size):,} bytes, but it has "
                f"only {size:,}"
            )
    return Stored(total, frozenset(layers))


def _data_sets(h5: Any) -> Iterator[tuple[str, Any]]:
    """All data sets of ``h5`` by name, each once, whatever number of links leads to it or round in circles."""
    import h5py

    seen: set[int] = set()
    waiting = [(h5, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > DEEPEST:
            raise RegrowError(f"'{group.name[:100]}…' is nested more than {DEEPEST} groups deep")
        for name in group:
            path = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise RegrowError(f"'{path}' points to another file, which is not followed")
            if isinstance(link, h5py.SoftLink):  # leads to what another name leads to, or nowhere
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise RegrowError(f"'{path}' points to another file, which is not followed")
                yield path, item
