"""What a model expects of a user's examples: checks, and conversion to one form. No TensorFlow here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from regrow.dataset.rows import Array
from regrow.errors import RegrowError, nearest

Kind = Literal["classes", "binary", "values", "free"]
SUM_TOLERANCE = 1e-3  # of shares, which are to sum up to 1
CHECKED_BYTES = 1 << 26  # of an array, looked at a piece at a time
ACCEPTED = (
    "accepted: arrays (x, y), a tf.data.Dataset or a Keras PyDataset of such batches, or the directory of a regrow"
    " dataset"
)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the features and labels of a model look like.

    Attributes:
        names: of the model's inputs.
        shapes: of one example of each, None where any length will do.
        dtypes: of each.
        output: the shape of one answer.
        kind: what labels are: ``classes`` (class numbers, or shares of the classes), ``binary`` (0 or 1), ``values`` of
            the output's shape, or ``free``: whatever a loss of the user's own takes.
        classes: how many, with the first two kinds.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[str, ...]
    output: tuple[int | None, ...]
    kind: Kind
    classes: int | None = None

    def parts(self, x: Any, *, name: str) -> list[Any]:
        """The inputs that ``x`` holds, in the model's order: itself, or those in a dict by name or in a list.

        Raises:
            RegrowError: there are others.
        """
        if len(self.names) == 1:
            if isinstance(x, Mapping) and tuple(x) == self.names:
                return [x[self.names[0]]]
            if isinstance(x, Mapping):
                raise RegrowError(
                    f"{name}: its features are a dict of {_listed(x)}; accepted: one array, because the "
                    "model has one input"
                )
            return [x]
        listed = ", ".join(self.names)
        if isinstance(x, Mapping):
            for key in x:
                if key not in self.names:
                    raise RegrowError(
                        f"{name}: the model has no input '{key}'{nearest(str(key), self.names)}"
                    )
            missing = [key for key in self.names if key not in x]
            if missing:
                raise RegrowError(f"{name}: lacks the input '{missing[0]}'; accepted: a dict of {listed}")
            return [x[key] for key in self.names]
        if isinstance(x, list | tuple) and len(x) == len(self.names):
            return list(x)
        raise RegrowError(
            f"{name}: its features are {told(x)}, but the model has {len(self.names)} inputs; accepted: a dict or a"
            f" tuple of {listed}"
        )

    def features(self, x: Any, *, name: str) -> list[Array]:
        """The checked inputs in ``x``, arrays (examples, …) in the model's order and types.

        Raises:
            RegrowError: they are no numbers, have another shape, hold NaN or infinity, or differ in number.
        """
        found = []
        for part, key, shape, dtype in zip(
            self.parts(x, name=name), self.names, self.shapes, self.dtypes, strict=True
        ):
            of = f" of input '{key}'" if len(self.names) > 1 else ""
            array = as_numbers(part, name=name, what=f"its features{of}")
            if array.ndim == 0 or not fits(array.shape[1:], shape):
                raise RegrowError(
                    f"{name}: its examples{of} have shape {shown(array.shape[1:])}, but the model takes {shown(shape)}"
                )
            _refuse_not_finite(array, name=name, what=f"features{of}")
            if np.dtype(dtype).kind in "iu" and array.dtype.kind == "f" and (array != np.floor(array)).any():
                raise RegrowError(
                    f"{name}: the features{of} are not whole numbers, but the model takes {dtype}, such as indices"
                )
            small = array.dtype.kind in "bu" or array.dtype.itemsize <= np.dtype(dtype).itemsize
            found.append(array if small else array.astype(dtype))
        if len(set(map(len, found))) > 1:
            counts = ", ".join(f"{key} {len(part):,}" for key, part in zip(self.names, found, strict=True))
            raise RegrowError(f"{name}: its inputs differ in number of examples: {counts}")
        return found

    def labels(self, y: Any, *, name: str) -> Array:
        """The checked labels in ``y``: int32 (examples,), or float32 (examples, …).

        Raises:
            RegrowError: they are no numbers, out of range, of another shape, or not finite.
        """
        array = as_numbers(y, name=name, what="its labels")
        if array.ndim == 0:
            raise RegrowError(f"{name}: its labels are one number; accepted: one for each example")
        _refuse_not_finite(array, name=name, what="labels")
        if self.kind == "classes":
            return self._classes(array, name)
        if self.kind == "binary":
            return self._numbers(array, name, "0 and 1")
        if self.kind == "values":
            return self._values(array, name)
        return array.astype(np.int32 if array.dtype.kind in "biu" else np.float32)

    def _classes(self, array: Array, name: str) -> Array:
        accepted = f"0 to {(self.classes or 0) - 1}"
        if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
            return self._numbers(array, name, accepted)
        if array.shape[1:] != (self.classes,):
            raise RegrowError(
                f"{name}: its labels have shape {shown(array.shape[1:])} per example, but the model has {self.classes}"
                f" classes; accepted: class numbers {accepted}, or {self.classes} shares"
            )
        shares = array.astype(np.float32)
        off = np.abs(shares.sum(axis=1) - 1) > SUM_TOLERANCE
        if len(shares) and (shares.min() < 0 or off.any()):
            wrong = int(np.argmax(off | (shares.min(axis=1) < 0)))
            raise RegrowError(
                f"{name}: the label of example {wrong:,} is "
                f"{np.array2string(shares[wrong], threshold=8, precision=4)}; accepted: non-negative shares "
                f"that sum to 1, or class numbers {accepted}"
            )
        return shares

    def _numbers(self, array: Array, name: str, accepted: str) -> Array:
        if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
            raise RegrowError(
                f"{name}: its labels have shape {shown(array.shape[1:])} per example; accepted: one number, {accepted}"
            )
        flat = array.reshape(-1)
        wrong = np.flatnonzero((flat != np.floor(flat)) | (flat < 0) | (flat >= (self.classes or 0)))
        if len(wrong):
            raise RegrowError(
                f"{name}: label {flat[wrong[0]]:g} of example {wrong[0]:,} is not a class of the model; "
                f"accepted: {accepted}"
            )
        return flat.astype(np.int32)

    def _values(self, array: Array, name: str) -> Array:
        if array.ndim == 1 and self.output == (1,):
            array = array[:, None]
        if not fits(array.shape[1:], self.output):
            raise RegrowError(
                f"{name}: its labels have shape {shown(array.shape[1:])} per example, but the model's "
                f"outputs have {shown(self.output)}"
            )
        return array.astype(np.float32)


def one_hot(labels: Array) -> bool:
    """Whether shares (examples, classes) are all 0 and 1."""
    return labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all())


def pair_of(element: Any, *, name: str) -> tuple[Any, Any]:
    """Features and labels of a batch.

    Raises:
        RegrowError: it is no pair.
    """
    if isinstance(element, tuple | list) and len(element) == 3:
        raise RegrowError(
            f"{name}: contains (features, labels, sample weights), but weights are not supported; accepted: "
            "(features, labels)"
        )
    if not isinstance(element, tuple | list) or len(element) != 2 or element[1] is None:
        raise RegrowError(f"{name}: contains {told(element)}; accepted: pairs (features, labels)")
    return element[0], element[1]


def as_numbers(value: Any, *, name: str, what: str) -> Array:
    """``value`` as an array of real numbers.

    Raises:
        RegrowError: it is none.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise RegrowError(f"{name}: {what} cannot be read as an array ({error})") from None
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise RegrowError(f"{name}: {what} are {told(value)} of {array.dtype}; accepted: an array of numbers")
    return array


def fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether an example of shape ``found`` can be given where ``wanted`` is taken, None being any length."""
    return len(found) == len(wanted) and all(
        length in (None, other) for length, other in zip(wanted, found, strict=True)
    )


def shown(shape: tuple[int | None, ...]) -> str:
    """A shape for a sentence."""
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def told(value: Any) -> str:
    """What ``value`` is, for a sentence."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if isinstance(value, Mapping | list | tuple):
        return f"a {kind} of {len(value)}"
    return f"a{'n' if kind[:1].lower() in 'aeiou' or kind.startswith('nd') else ''} {kind}"


def _listed(x: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, x)) or "nothing"


def _refuse_not_finite(array: Array, *, name: str, what: str) -> None:
    if array.dtype.kind != "f":
        return
    step = max(1, CHECKED_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        fine = np.isfinite(array[start : start + step])
        if not fine.all():
            place = start + int(np.argwhere(~fine)[0][0])
            raise RegrowError(
                f"{name}: the {what} of example {place:,} contain NaN or infinity; accepted: finite numbers"
            )
