"""How the parent was trained, as `train` wrote it down: what schedules of recovery look back at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from regrow.artifacts import read_json
from regrow.errors import RegrowError
from regrow.training.settings import FitSettings


@dataclass(frozen=True, kw_only=True)
class ParentTraining:
    """``settings`` are those of its training, None where it was imported; ``epochs`` is how many were trained, those
    with a frozen backbone included, 0 where it was imported.

    ``norm_drop`` is what pruning took of the weights' norm, as `regrow.recovery.norm_drop.norm_drop` measures it;
    1 stands for all of it, as for a model that starts anew.
    """

    settings: FitSettings | None
    epochs: int
    norm_drop: float = 1.0

    @classmethod
    def read(cls, training: Path, *, norm_drop: float = 1.0) -> Self:
        """Read ``settings.json`` and ``history.json`` in ``training``, what `train` gave.

        Raises:
            RegrowError: a file is missing or broken.
        """
        history = read_json(training / "history.json")
        if not isinstance(history, list):
            raise RegrowError(f"{training / 'history.json'}: must be a list of epochs")
        if is_imported(training):
            return cls(settings=None, epochs=0, norm_drop=norm_drop)
        file = training / "settings.json"
        try:
            settings = FitSettings.model_validate(read_json(file))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise RegrowError(f"{file}: {place}: {fault['msg']}; train again") from None
        return cls(settings=settings, epochs=len(history), norm_drop=norm_drop)


def is_imported(training: Path) -> bool:
    """Whether the parent came from outside, so that nothing is known of its training."""
    return (training / "imported.json").exists()
