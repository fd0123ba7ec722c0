"""What a recovery from Python gives: the model, and what each technique gained."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from regrow.pruning.pruning import Pruning
from regrow.recovery.curve import RecoveryCurve
from regrow.recovery.parameters import RecoverParams
from regrow.showing.tables import Shown
from regrow.storage.artifacts import new_directory, refuse_other_contents, write_json

if TYPE_CHECKING:
    import pandas as pd

PRUNING, SETTINGS, HEADS = "pruning", "settings.json", "with_heads"
RESULTS = frozenset(
    {
        "model.keras",
        PRUNING,
        SETTINGS,
        HEADS,
        "curve.json",
        "curve.csv",
        "reconstruction.json",
        "range_test.json",
    }
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recovered(Shown):
    """A recovered model.

    Attributes:
        model: the recovered model; what was pruned is zero in it to the last bit.
        curve: the validation accuracy (or loss) after each technique and epoch.
        pruning: surgery and masks, those of the pruned model.
        parent: the model before pruning.
        section: the techniques and their settings, defaults included.
        with_heads: the model that keeps the heads of auxiliary tasks, where that was asked for.
    """

    model: Any
    curve: RecoveryCurve
    pruning: Pruning
    parent: Any
    section: RecoverParams
    with_heads: Any = None

    def table(self) -> RenderableType:
        """That of the curve."""
        return self.curve.table()

    def frame(self) -> "pd.DataFrame":
        """That of the curve."""
        return self.curve.frame()

    def save(self, directory: str | Path) -> Path:
        """Write ``model.keras``, ``pruning/``, ``curve.json``, ``curve.csv`` and ``settings.json`` to ``directory``.

        It is replaced where it is there.

        Raises:
            RegrowError: a file cannot be written, or ``directory`` holds something else.
        """
        from regrow.model_files.live import save_live

        target = Path(directory)
        refuse_other_contents(target, RESULTS)
        with new_directory(target) as place:
            save_live(self.model, place)
            self.pruning.write(place / PRUNING)
            self.curve.write(place)
            write_json(place / SETTINGS, self.section.model_dump(mode="json"))
            if self.with_heads is not None:
                save_live(self.with_heads, place / HEADS)
        return target
