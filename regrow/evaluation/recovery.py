"""What a report says of the recovery, from the curve that `recover` wrote."""

from collections.abc import Mapping
from typing import Any

STAGES = {
    "pruned": "the pruned model",
    "rewind": "rewound weights",
    "reinitialise": "new weights",
    "batch_norm_recalibration": "batch-normalisation recalibration",
    "reconstruction": "reconstruction",
    "fine_tuning": "fine-tuning",
}


def undone(curve: Mapping[str, Any]) -> list[str]:
    """The techniques after which the model was put back; of fine-tuning where none of its epochs was kept."""
    stages = dict.fromkeys(point["stage"] for point in curve["points"] if point.get("outcome") == "undone")
    kept = {point["stage"] for point in curve["points"] if point.get("outcome") == "kept"}
    return [STAGES.get(stage, stage) for stage in stages if stage not in kept]


def recovery_notes(curve: Mapping[str, Any]) -> list[str]:
    """What the reader must not miss: a model that is less accurate than before its recovery."""
    kept, pruned = curve["best"], curve["points"][0]
    if kept["val_accuracy"] >= pruned["val_accuracy"]:
        return []
    start = next((point for point in curve["points"] if point["stage"] in ("rewind", "reinitialise")), None)
    why = f": it started from {STAGES[start['stage']]}, as was asked for" if start is not None else ""
    return [
        f"The recovered model is less accurate than the pruned one on validation,"
        f" {100 * kept['val_accuracy']:.2f}% against {100 * pruned['val_accuracy']:.2f}%{why}."
    ]
