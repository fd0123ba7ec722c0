"""What a pruning method returns: surgery and masks, as one value."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regrow.artifacts import read_json, write_json
from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels

Array = np.ndarray[Any, np.dtype[Any]]
EPOCH = (1980, 1, 1, 0, 0, 0)
SURGERY, MASKS = "surgery.json", "masks.npz"


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """``surgery``: kept indices of the parent by array axis; empty where all were kept.

    ``masks``: uint8 arrays of 0 and 1 by prunable kernel, in the kernel's shape; kernels without one are dense.
    """

    masks: Mapping[str, Array]
    surgery: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, model: Any) -> None:
        """Set the masked weights of ``model`` to +0, in place; a product would leave −0 and NaN.

        Raises:
            RegrowError: the model has no such kernel, or it has another shape.
        """
        kernels = _matching(self.masks, model)
        for name, mask in self.masks.items():
            weights = kernels[name].numpy()
            kernels[name].assign(np.where(mask == 0, np.zeros_like(weights), weights))

    def verify(self, model: Any) -> None:
        """Check that every masked weight of ``model`` is zero.

        Raises:
            RegrowError: one is not; its kernel is named.
        """
        kernels = _matching(self.masks, model)
        for name, mask in self.masks.items():
            wrong = int(np.count_nonzero(kernels[name].numpy()[mask == 0]))
            if wrong:
                raise RegrowError(f"{name}: {wrong} pruned weights are no longer zero")

    def write(self, directory: Path) -> None:
        """Write ``surgery.json`` and ``masks.npz``; equal prunings give equal bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / SURGERY, {"schema_version": 1, "axes": dict(self.surgery)})
        with zipfile.ZipFile(directory / MASKS, "w") as archive:
            for name in sorted(self.masks):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(self.masks[name], np.uint8))
                info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, buffer.getvalue())

    @classmethod
    def read(cls, directory: Path) -> "Pruning":
        """Read what `write` wrote.

        Raises:
            RegrowError: a file is missing or broken.
        """
        surgery = read_json(directory / SURGERY)
        axes = surgery.get("axes") if isinstance(surgery, dict) else None
        if not isinstance(axes, dict):
            raise RegrowError(
                f"{directory / SURGERY}: 'axes' must be an object of kept indices by array axis"
            )
        try:
            # np.load would leave a broken file open.
            with (directory / MASKS).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                masks = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise RegrowError(f"{directory / MASKS}: cannot be read as masks ({error})") from None
        for name, mask in masks.items():
            if mask.dtype != np.uint8 or mask.max(initial=0) > 1:
                raise RegrowError(f"{directory / MASKS}: '{name}' is not a uint8 array of 0 and 1")
        return cls(masks=masks, surgery=axes)


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
