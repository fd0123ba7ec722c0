"""Recurrent layers: one unit is a row of the recurrent kernel and a column of each gate in both kernels."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.rule import AxisIds, rule
from regrow.graph.ties import Ids

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


@rule("LSTM", "GRU", "SimpleRNN")
def recurrent(call: LayerCall) -> list[AxisIds]:
    """(batch, steps, inputs) → (batch, units) or (batch, steps, units), and the states where they are returned."""
    return _recurrent(call, call.class_name, ("units",))


@rule("RNN")
def wrapped_cell(call: LayerCall) -> list[AxisIds]:
    """The layer around one of Keras' cells; any other cell is left whole."""
    kind = call.config["cell"]["class_name"].removesuffix("Cell")
    if kind not in GATES:
        return call.left_whole(f"runs a {call.config['cell']['class_name']}, which no rule knows")
    return _recurrent(call, kind, ("cell", "config", "units"))


@rule(*(f"ConvLSTM{rank}D" for rank in (1, 2, 3)))
def convolutional_lstm(call: LayerCall) -> list[AxisIds]:
    """As `recurrent`, with convolutions for products; kernels are (space…, inputs, 4·filters)."""
    rank, first = int(call.class_name[-2]), call.config.get("data_format") == "channels_first"
    axis, space = (-rank - 1, slice(-rank, None)) if first else (-1, slice(-rank - 1, -1))
    positions = math.prod(size or 1 for size in call.shapes[0][space])
    filters = _cell(call, call.input.ids[axis], 4, times=[call.input.extent(1), positions])
    call.sized("filters", filters)
    for traced, ids in call.input.traced():
        if traced != axis % len(call.input.shape):
            call.pinned(ids, "runs over them")
    for state in _states(call):
        call.tied(state.ids[axis], filters)
    return [tuple(filters if a == axis else None for a in range(-len(shape), 0)) for shape in call.shapes]


def _recurrent(call: LayerCall, kind: str, units_key: tuple[str, ...]) -> list[AxisIds]:
    units = _cell(call, call.input.ids[-1], GATES[kind], times=[call.input.extent(1)])
    call.sized(units_key, units)
    call.pinned(call.input.ids[1], "runs over them one by one")
    for state in _states(call):
        call.tied(state.ids[-1], units)
    return [(*(None,) * (len(shape) - 1), units) for shape in call.shapes]


def _cell(call: LayerCall, taken: Ids | None, gates: int, *, times: list[Any]) -> Ids:
    units = call.produced("cell/kernel", -1, copies=gates)
    columns = np.tile(units, gates)
    call.consumed("cell/kernel", -2, taken)
    call.consumed("cell/recurrent_kernel", -2, units)
    call.made("cell/recurrent_kernel", -1, columns)
    call.indexed("cell/bias", -1, columns)
    call.macs(*times, "cell/kernel")
    call.macs(*times, "cell/recurrent_kernel")
    return units


def _states(call: LayerCall) -> Iterable[Axes]:
    """Initial states: behind the input in a list, or as a keyword; a mask is neither."""
    first = call.arguments[0] if call.arguments else call.inputs[0]
    behind = list(first[1:]) if isinstance(first, list | tuple) else []
    if call.arrays:  # inside a wrapper, which hands states on as further inputs
        behind = list(call.inputs[1:])
    named = call.keywords.get("initial_state") or []
    return [state for state in (*behind, *named) if isinstance(state, Axes)]
