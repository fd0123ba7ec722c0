"""What `regrow inspect` and `regrow prune` print, in a terminal of the usual width."""

import re

from rich.console import Console

from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.model_files.group_table import groups_table
from regrow.model_files.inspection import inspection, render
from regrow.pruning.channels import prune_channels
from regrow.pruning.tables import outcome_tables
from regrow.pruning.targets import ChannelOptions, Target
from tests.deferred import deferred

keras = deferred("tf_keras")


def test_names_of_common_length_are_whole_in_80_columns() -> None:
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for block in range(8):  # a residual stream that many layers make
        kept = keras.layers.Conv2D(512, 1, name=f"conv4_block{block}_3_conv")(x)
        kept = keras.layers.BatchNormalization(name=f"conv4_block{block}_3_norm")(kept)
        x = keras.layers.Add()([x, kept]) if block else kept
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    console = Console(width=80, record=True)
    console.print(groups_table(trace(Graph.of(model))), render(model))
    report = prune_channels(model, ChannelOptions(criterion="random"), target=Target(macs=0.5)).report
    console.print(outcome_tables(inspection(model), inspection(model), blocks=None, channels=report))
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    words = set(re.findall(r"\w+", text))
    assert {"conv4_block0_3_conv", "conv4_block0_3_norm", "BatchNormalization"} <= words
    assert all(word.endswith(("_conv", "_norm")) for word in words if word.startswith("conv4_"))


def test_groups_that_lose_nothing_are_summed_up() -> None:
    rows = [
        {"name": name, "layers": [name], "before": 8, "after": after} | more
        for name, after, more in (
            ("shrunk", 4, {}),
            ("kept", 8, {}),
            ("other", 8, {}),
            ("pinned", 8, {"left_whole": "it is"}),
        )
    ]
    costs = {"macs": 1, "parameters": 1, "bytes": 1}
    report = {"before": costs, "after": costs, "left_whole": {}, "groups": rows, "notes": ["look"]}
    found = inspection(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    console = Console(width=200, record=True)
    console.print(outcome_tables(found, found, blocks=None, channels=report))
    text = console.export_text()
    assert (
        "lost nothing: 2 groups of 16 channels (kept; other): other channels scored lower, or floor, "
        "min_channels and round_to allow no smaller size\n"
    ) in text
    assert "left whole: pinned: it is" in text
    assert "note: look\n" in text
    assert text.rstrip().endswith("--latency measures both models as fp32 and int8 TFLite")
    report["groups"] = rows[:1]
    console.print(outcome_tables(found, found, blocks=None, channels=report))
    assert "lost nothing" not in console.export_text()
