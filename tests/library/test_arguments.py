"""What is wrong with an argument of `regrow.prune` is one sentence: its name, what was found, what is accepted."""

import inspect
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.pruning.arguments import METHODS, OPTIONS, section
from regrow.pruning.parameters import PruneParams
from regrow.pruning.targets import ChannelOptions, LayerOptions, Target


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "prune: nothing says how far; pass exactly one of macs, parameters or bytes"),
        ({"macs": 1.5}, "macs: is out of range (found 1.5; accepted: > 0 and < 1)"),
        ({"bytes": 0}, "bytes: is out of range (found 0; accepted: > 0 and < 1)"),
        ({"parameters": "half"}, "parameters: input should be a number (found 'half')"),
        ({"macs": True}, "macs: input should be a number (found true)"),
        ({"macs": float("nan")}, "macs: input should be a finite number (found nan)"),
        (
            {"macs": 0.5, "sparsity": 0.8},
            "sparsity: cannot be combined with macs in one call; pass exactly one of",
        ),
        (
            {"sparsity": 0.8, "criterion": "l1"},
            "criterion: does not belong to sparsity, which prunes by method",
        ),
        ({"n_m": (2, 4), "floor": 0.1}, "floor: does not belong to n_m"),
        ({"macs": 0.5, "criterion": "tailor"}, "criterion: 'tailor' is not known; did you mean 'taylor'?"),
        ({"n_m": 4}, "n_m: got 4; accepted: a pair of whole numbers"),
        ({"n_m": (4, 2)}, "n_m: got (4, 2); accepted: a pair of whole numbers"),
        ({"n_m": (0.5, 4)}, "n_m: got (0.5, 4); accepted"),
        ({"blocks": 0}, "blocks: is out of range (found 0; accepted: ≥ 1)"),
        (
            {"sparsity": 0.8, "method": "channels"},
            "method: got 'channels'; accepted with sparsity: 'magnitude'",
        ),
        ({"macs": 0.5, "method": "chanels"}, "method: got 'chanels'; did you mean 'channels'?"),
        ({"macs": 0.5, "between": {"epoch": 3}}, "between.epoch: unknown key; did you mean 'epochs'?"),
        ({"macs": 0.5, "skip": 3}, "skip: is a list, not a value (found 3)"),
        (
            {"macs": 0.5, "criterion": "lamp", "normalise": "mean"},
            "normalise 'mean' cannot be combined with criterion 'lamp'",
        ),
        (
            {"macs": 0.5, "criterion": "taylor"},
            "criterion: 'taylor' scores channels on examples; pass data=(x, y)",
        ),
        (
            {"blocks": 1, "criterion": "apoz"},
            "criterion: 'apoz' scores channels on examples; pass data=(x, y)",
        ),
        ({"macs": 0.5, "rounds": 3}, "rounds: 3 rounds train in between; pass data=(x, y)"),
        (
            {"macs": 0.5, "sparse_training": {"penalty": "slimming"}},
            "sparse_training: trains before channels are",
        ),
        (
            {"sparsity": 0.5, "schedule": "gradual"},
            "schedule: 'gradual' trains while it prunes; pass data=(x, y)",
        ),
        ({"mac": 0.5}, "mac: is not an argument of prune; did you mean 'macs'?"),
        ({"macs": 0.5, "dataset": "data"}, "dataset: is not an argument of prune"),
    ],
)
def test_it_is_said_before_the_model_is_looked_at(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(regrow.RegrowError) as caught:
        regrow.prune("there is no such file.keras", **arguments)
    message = str(caught.value)
    assert message.startswith(sentence)
    assert "\n" not in message
    assert "--" not in message
    assert "prune." not in message


def test_numbers_of_numpy_are_numbers() -> None:
    found = section({"macs": np.float32(0.5), "min_channels": np.int64(2)})
    assert found.target == Target(macs=0.5)
    assert found.channels.min_channels == 2


def test_each_key_of_the_section_is_an_argument_and_each_argument_a_key() -> None:
    keys = {
        *PruneParams.model_fields,
        *Target.model_fields,
        *ChannelOptions.model_fields,
        *LayerOptions.model_fields,
    }
    keys = keys - {"target", "layers", "channels", "n", "m"} | {"n_m"}
    arguments = set(inspect.signature(regrow.prune).parameters) - {
        "model",
        "data",
        "validation",
        "loss",
        "unknown",
    }
    assert arguments == keys
    taken = {name for places in OPTIONS.values() for names in places.values() for name in names}
    assert arguments == taken | METHODS.keys() | {"method"}


def test_options_are_those_of_the_section() -> None:
    found = section({"macs": 0.6, "criterion": "l1", "skip": "conv*", "seed": 3, "rounds": None})
    assert found == PruneParams.model_validate(
        {"target": {"macs": 0.6}, "channels": {"criterion": "l1"}, "skip": ["conv*"], "seed": 3}
    )
    assert section({"blocks": 2, "examples": 8}) == PruneParams.model_validate(
        {"method": "layers", "layers": {"blocks": 2, "examples": 8}}
    )
    assert section({"n_m": (1, 4)}) == PruneParams.model_validate({"method": "n_m", "n": 1, "m": 4})
