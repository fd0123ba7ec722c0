"""What a report says of the recovery, from the curve and the settings that `recover` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.storage.artifacts import read_json

Rows = list[tuple[str, str]]
ENDS = {
    "epochs": "all that were planned",
    "early_stopping": "ended by early stopping",
    "stop_at": "ended by stop_when",
    "time_budget": "ended by the time budget",
}

SHORT = 0.01  # of accuracy below the parent's, from which on advice is given
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


def advice(settings: Mapping[str, Any], curve: Mapping[str, Any]) -> str | None:
    """What to switch on where the recovered model is a point or more below its parent on validation; None otherwise."""
    lost = curve["parent"]["val_accuracy"] - curve["best"]["val_accuracy"]
    if lost < SHORT:
        return None
    rewound = settings["initialise"]["name"] == "reinitialise"
    found = []
    if not settings["reconstruct"]["enabled"] and not rewound:
        found.append("recover.reconstruct.enabled: true fits each layer to the parent's, without training")
    if not settings["fine_tune"]:
        found.append("recover.fine_tune: true trains on")
    else:
        if settings.get("distill") is None:
            found.append("recover.distill: {logits: {}} has fine-tuning follow the parent's answers")
        if curve.get("fine_tuning", {}).get("ended") == "epochs":
            found.append(f"recover.fit.epochs: more than {settings['fit']['epochs']}")
    if not found:
        found.append("prune less, or in more rounds (prune.rounds)")
    return (
        f"Recovery fell {100 * lost:.2f} points short of the parent on validation. What may help:"
        f" {'; '.join(found)}."
    )


def control_verdict(curve: Mapping[str, Any]) -> str | None:
    """The sentence where new weights came further than the recovered ones with the same budget (Liu et al. 2019)."""
    control, kept = curve.get("from_scratch"), curve["best"]
    if not control or control["val_accuracy"] <= kept["val_accuracy"]:
        return None
    return (
        f"The same architecture trained from scratch with the same budget comes further on validation,"
        f" {100 * control['val_accuracy']:.2f}% against {100 * kept['val_accuracy']:.2f}%: pruning has found an"
        f" architecture here, and no weights."
    )


def recovery_facts(recovery: Path, curve: Mapping[str, Any]) -> Rows:
    """What `recover` did, technique by technique, from its directory ``recovery``; an old one has no settings."""
    if not (recovery / "settings.json").is_file():
        return []
    return recovery_rows(read_json(recovery / "settings.json"), curve)


def recovery_rows(settings: Mapping[str, Any], curve: Mapping[str, Any]) -> Rows:
    """Labels and values: ``settings`` as in section `recover`, and what the ``curve`` says came of them."""
    outcomes = {point["stage"]: point.get("outcome", "") for point in curve["points"] if "epoch" not in point}
    calibration, least_squares = settings["recalibrate"], settings["reconstruct"]
    rows = [
        ("initialise", _values(settings["initialise"])),
        ("recalibrate", _switched(calibration, outcomes.get("batch_norm_recalibration"))),
        ("reconstruct", _switched(least_squares, outcomes.get("reconstruction"))),
    ]
    told = curve.get("fine_tuning", {})
    if not settings["fine_tune"]:
        return [*rows, ("fine-tuning", "off")]
    if "learning_rate" not in told:
        return [*rows, ("fine-tuning", f"none: {told.get('left_out', 'not recorded')}")]
    return [*rows, *_fine_tuning(settings, curve, told)]


def _fine_tuning(settings: Mapping[str, Any], curve: Mapping[str, Any], told: Mapping[str, Any]) -> Rows:
    fit, start = settings["fit"], told["started_from"]
    foreign = {"learning_rate"} if fit["optimizer"]["name"] == "sgd" else {"learning_rate", "momentum"}
    optimizer = {key: value for key, value in fit["optimizer"].items() if key not in foreign}
    schedule = {key: fit[key] for key in ("warmup", "milestones", "factor")}
    rate = f"{told['learning_rate']:g}"
    if told["by_range_test"]:
        rate += ", chosen by the range test"
    if told["attempts"] > 1:
        halvings = told["attempts"] - 1
        rate += f", halved {halvings} time{'s' * (halvings > 1)}, as training diverged"
    chosen = {**fit, **settings, "multi_task": _multi_task(settings.get("multi_task"))}
    techniques = {name: _values(chosen.get(name)) for name in curve.get("techniques", [])}
    if "plain_epochs" in techniques:
        plain = told["trained"] - max(0, told["planned"] - fit["plain_epochs"])
        techniques["plain_epochs"] = f"the last {fit['plain_epochs']}, of which {max(0, plain)} trained"
    return [
        ("fine-tuning from", f"{STAGES.get(start['stage'], start['stage'])}, {_share(start)}"),
        *((name.replace("_", " "), value) for name, value in techniques.items()),
        ("optimiser", f"{_values(optimizer)}, batches of {fit['batch_size']}"),
        ("schedule", _values({"name": fit["schedule"], **schedule})),
        ("peak learning rate", rate),
        ("epochs", f"{told['trained']} of {fit['epochs']}{_planned(told, fit)}: {ENDS[told['ended']]}"),
        ("epoch kept", _kept(curve, told)),
    ]


def _multi_task(settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The section without what says nothing: a task named as its kind, settings of another weighting."""
    if settings is None:
        return None
    tasks = [
        {key: value for key, value in task.items() if key != "name" or value != task["kind"]}
        for task in settings["tasks"]
    ]
    rest = {
        key: value for key, value in settings.items() if key != "gradnorm" or settings["weighting"] == key
    }
    return {**rest, "tasks": tasks}


def _planned(told: Mapping[str, Any], fit: Mapping[str, Any]) -> str:
    return "" if told["planned"] == fit["epochs"] else f" ({told['planned']} planned for the time budget)"


def _kept(curve: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    best = curve["best"]
    if "epoch" in best:
        attempt = f" of attempt {best['attempt']}" if "attempt" in best else ""
        return f"{best['epoch']}{attempt}, {_share(best)}"
    return (
        f"none: no epoch was better than where it started from; {STAGES.get(best['stage'])}, {_share(best)}"
    )


def _share(point: Mapping[str, Any]) -> str:
    return f"{100 * point['val_accuracy']:.2f}% on validation"


def _switched(settings: Mapping[str, Any], outcome: str | None) -> str:
    """The values of a technique that can be switched off, and what came of it."""
    if not settings["enabled"]:
        return "off"
    values = _values({key: value for key, value in settings.items() if key != "enabled"})
    return f"{values}: {outcome or 'nothing to do'}"


def _values(value: Any) -> str:
    """A setting in words: ``name`` first, keys with their values, without those that are null or off."""
    if isinstance(value, Mapping):
        parts = []
        for key, item in value.items():
            if item is None or item is False:
                continue
            shown = _values(item)
            inner = f" ({shown})" if isinstance(item, Mapping) and shown else f" {shown}"
            label = key.replace("_", " ")
            if key in ("name", "kind"):
                parts.append(shown)
            else:
                parts.append(label if item is True else f"{label}{inner}".rstrip())
        return ", ".join(parts)
    if isinstance(value, list):
        return "; ".join(_values(item) for item in value)
    return "on" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
