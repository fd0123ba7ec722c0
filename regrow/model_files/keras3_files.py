"""Model files of Keras 3: read into `tf_keras` models and written from them.

Reading needs no Keras 3: the config is data, and so are the weights; only a model with masks is held against its
Keras 3 form. Writing builds the model with Keras 3, which saves
it itself; the archive is then freed of dates, addresses and counters, so that equal models give equal bytes.
"""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.model_files.architecture import architecture
from regrow.model_files.archives import normalise_archive

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def read_keras3(file: Path) -> Any:
    """The `tf_keras` model that answers as the Keras 3 model in ``file`` does, not compiled.

    Raises:
        RegrowError: a layer, an operation or an argument that `tf_keras` lacks, weights that do not fit, or masks that
            the two libraries treat differently.
    """
    import h5py

    from regrow.keras3.reading import Reader
    from regrow.keras3.weights import FileWeights

    config = architecture(file)
    try:
        reader = Reader()
        model = reader.model(config)
        with zipfile.ZipFile(file) as archive:
            if WEIGHTS not in archive.namelist():
                raise RegrowError(f"has no {WEIGHTS}")
            content = io.BytesIO(archive.read(WEIGHTS))
        with h5py.File(content) as h5:
            FileWeights(h5, reader).load(config)
        _check_masks(model)
    except RegrowError as error:
        text = str(error)
        raise RegrowError(text if text.startswith(f"{file}: ") else f"{file}: {text}") from None
    except Exception as error:  # what is missing or misplaced in a damaged config can fail anywhere
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RegrowError(f"{file}: cannot be read as a model of Keras 3 ({reason})") from None
    return model


def _check_masks(model: Any) -> None:
    """Hold a model with masks that was read against what it is in Keras 3, which only such a model needs for reading.

    Raises:
        RegrowError: the two answer differently, or the model cannot be written for Keras 3 again.
    """
    from regrow.keras3.agreement import has_masks, refuse_lost_masks, refuse_other_answers
    from regrow.keras3.writing import Writer

    if has_masks(model):
        refuse_lost_masks(model)
        writer = Writer()
        refuse_other_answers(model, writer.model(model), writer.pairs)


def write_keras3(model: Any, file: Path) -> None:
    """Write the `tf_keras` model as a ``.keras`` archive that plain Keras 3 loads, without optimizer.

    Raises:
        RegrowError: a layer, an operation or an argument that Keras 3 lacks, or other answers of the Keras 3 model.
    """
    from regrow.keras3.agreement import refuse_lost_masks, refuse_other_answers
    from regrow.keras3.writing import Writer

    try:
        refuse_lost_masks(model)
        writer = Writer()
        converted = writer.model(model)
        refuse_other_answers(model, converted, writer.pairs)
    except RegrowError as error:
        raise RegrowError(f"{file}: cannot be written for Keras 3: {error}") from None
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        written = Path(folder) / "model.keras"
        converted.save(written)
        normalise_archive(written, {CONFIG: _plain_config, WEIGHTS: _plain_weights})
        written.replace(file)


def _plain_config(content: bytes) -> bytes:
    """The config with objects that are shared numbered in their order, not by their addresses."""
    numbers: dict[int, int] = {}

    def numbered(value: Any) -> Any:
        if isinstance(value, list):
            return [numbered(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else numbered(item)
            for key, item in value.items()
        }

    return json.dumps(numbered(json.loads(content))).encode()


def _plain_weights(content: bytes) -> bytes:
    """The HDF5 file without names that Keras counts over the life of a process."""
    import h5py

    target = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(target, "w") as copy:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                copy.create_dataset(name, data=item[()]).attrs.update(item.attrs)
            else:
                copy.require_group(name)

        source.visititems(visit)
    return target.getvalue()
