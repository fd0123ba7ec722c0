"""The result of a pruning method: surgery and masks, as one value."""

import io
import itertools
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.kernels import layers, prunable_kernels
from regrow.graph.removal import Surgery
from regrow.graph.variables import variables
from regrow.storage.artifacts import read_json

Array = np.ndarray[Any, np.dtype[Any]]
EPOCH = (1980, 1, 1, 0, 0, 0)
SURGERY, MASKS = "surgery.json", "masks.npz"


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """``surgery``: which indices of the parent's arrays were kept; empty if all were. An axis of which none was kept
    means that the array was removed with its layer.

    ``masks``: uint8 arrays of 0 and 1 by prunable kernel, in the shape that the kernel has after surgery; kernels
    without one are dense.

    On disk: ``masks.npz`` holds the masks by kernel, ``surgery.json`` holds under ``axes``, by array and axis, the
    indices of the parent that are left, ascending, and under ``scale`` a factor where an array has one::

        {"schema_version": 1, "axes": {"conv1/kernel": {"3": [0, 2, 5]}, "conv2/kernel": {"2": [0, 2, 5]}}}
    """

    masks: Mapping[str, Array]
    surgery: Surgery = field(default_factory=Surgery)

    def then(self, later: "Pruning") -> "Pruning":
        """This pruning followed by ``later``, a pruning of its result, as one pruning of the parent.

        Masks are cut like their kernels and removed with them; a weight is masked if either pruning masks it.
        """
        cut = {name: Surgery(kept=later.surgery.kept).apply(name, mask) for name, mask in self.masks.items()}
        masks = {name: mask for name, mask in cut.items() if mask.size}
        for name, mask in later.masks.items():
            masks[name] = mask & masks[name] if name in masks else mask
        return Pruning(masks=masks, surgery=self.surgery.then(later.surgery))

    def apply(self, model: Any) -> None:
        """Set the masked weights of ``model`` to +0, in place; multiplying by the mask would leave −0 and NaN.

        Raises:
            RegrowError: the model has no such kernel, or it has another shape.
        """
        kernels = _matching(self.masks, model)
        for name, mask in self.masks.items():
            weights = kernels[name].numpy()
            kernels[name].assign(np.where(mask == 0, np.zeros_like(weights), weights))

    def verify(self, model: Any) -> None:
        """Check that every masked weight of ``model`` is zero and every array has the length that surgery left.

        Raises:
            RegrowError: one does not; the message names its kernel or array.
        """
        self._verify_sizes(model)
        kernels = _matching(self.masks, model)
        for name, mask in self.masks.items():
            wrong = int(np.count_nonzero(kernels[name].numpy()[mask == 0]))
            if wrong:
                raise RegrowError(f"{name}: {wrong} pruned weights are no longer zero")

    def _verify_sizes(self, model: Any) -> None:
        if not self.surgery.kept:
            return
        shapes = {
            f"{path}/{name}": tuple(variable.shape)
            for path, layer in layers(model)
            for name, variable in variables(layer).items()
        }
        for name, axes in self.surgery.kept.items():
            if not all(len(kept) for kept in axes.values()):
                if name in shapes:
                    raise RegrowError(f"{name}: the model has this array, but surgery removed it")
                continue
            if name not in shapes:
                raise RegrowError(f"the model has no array '{name}', which the surgery names")
            for axis, kept in axes.items():
                length = shapes[name][axis] if axis < len(shapes[name]) else 0
                if length != len(kept):
                    raise RegrowError(f"{name}: axis {axis} has {length}, but surgery left {len(kept)}")

    def write(self, directory: Path) -> None:
        """Write ``surgery.json`` and ``masks.npz``; equal prunings give equal bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / SURGERY).write_text(_surgery_text(self.surgery), "utf-8")
        with zipfile.ZipFile(directory / MASKS, "w") as archive:
            for name in sorted(self.masks):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(self.masks[name], np.uint8))
                info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, buffer.getvalue())

    @classmethod
    def read(cls, directory: Path) -> "Pruning":
        """Read the files written by `write`.

        Raises:
            RegrowError: a file is missing or broken.
        """
        surgery = read_json(directory / SURGERY)
        cut = _surgery(directory / SURGERY, surgery.get("axes") if isinstance(surgery, dict) else None)
        try:
            # np.load would leave a broken file open.
            with (directory / MASKS).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                masks = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise RegrowError(f"{directory / MASKS}: cannot be read as masks ({error})") from None
        for name, mask in masks.items():
            if mask.dtype != np.uint8 or mask.max(initial=0) > 1:
                raise RegrowError(f"{directory / MASKS}: '{name}' is not a uint8 array of 0 and 1")
        return cls(masks=masks, surgery=cut)


def _surgery_text(surgery: Surgery) -> str:
    """JSON with one array per line, because a large model has several hundred thousand indices."""
    lines = [
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(axes, allow_nan=False)}"
        for name, axes in sorted(surgery.to_json().items())
    ]
    joined = ",\n".join(lines)
    return '{\n "schema_version": 1,\n "axes": {' + (f"\n{joined}\n }}" if lines else "}") + "\n}\n"


def _surgery(file: Path, axes: Any) -> Surgery:
    if not isinstance(axes, dict) or not all(isinstance(by_axis, dict) for by_axis in axes.values()):
        raise RegrowError(f"{file}: 'axes' must be an object of kept indices by array and axis")
    for name, by_axis in axes.items():
        for axis, kept in by_axis.items():
            number = axis == "scale" and isinstance(kept, float) and math.isfinite(kept)
            if not number and not (axis.isdecimal() and _ascending(kept)):
                raise RegrowError(
                    f"{file}: axes.{name}.{axis}: must be a list of ascending indices, or a number under 'scale'"
                )
    return Surgery.from_json(axes)


def _ascending(values: Any) -> bool:
    return (
        isinstance(values, list)
        and all(isinstance(value, int) and value >= 0 for value in values)
        and all(low < high for low, high in itertools.pairwise(values))
    )


def _matching(masks: Mapping[str, Array], model: Any) -> dict[str, Any]:
    kernels = prunable_kernels(model)
    for name, mask in masks.items():
        if name not in kernels:
            raise RegrowError(f"the model has no kernel '{name}', which the masks name")
        if tuple(kernels[name].shape) != mask.shape:
            raise RegrowError(
                f"{name}: has shape {tuple(kernels[name].shape)}, but its mask has {mask.shape}"
            )
    return kernels
