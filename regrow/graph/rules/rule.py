"""What a rule is, and how one is added.

A rule says what a layer does to channels. It is called once per call of the layer, with a `LayerCall`: it names
the array axes that are indexed by channels, and returns the channels of the layer's outputs. For a layer of your
own that scales each channel::

    from regrow.graph.rules.rule import rule

    @rule("ChannelScale")
    def channel_scale(call):
        call.indexed("scale", 0, call.input.ids[-1])   # array `scale` has one value per input channel
        return call.input.ids                          # and the output has the channels of the input

A layer with a kernel makes channels of its own::

    @rule("MyDense")
    def my_dense(call):
        call.consumed("kernel", 0, call.input.ids[-1])  # rows: one per input channel
        units = call.produced("kernel", 1)              # columns: new channels
        call.sized("units", units)                      # config key that is their number
        call.macs(*call.input.extents(1, -1), "kernel")
        return (*call.input.ids[:-1], units)

A class without a rule is left whole: the channels that flow into it stay, and the report says why. So do channels of
an input that its rule neither names nor returns; where any number of them may be left, as in a sum over channels, the
rule says so by ``call.free(ids)``.
"""

from collections.abc import Callable
from typing import Any

from regrow import extensions
from regrow.graph.ties import Ids

AxisIds = tuple[Ids | None, ...]
Outputs = AxisIds | list[AxisIds]
Rule = Callable[[Any], Outputs]

RULES: dict[str, Rule] = {}


def rule(*class_names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function for layers of these classes; the latest registration holds."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(class_names, function))
        return function

    return register


def rule_for(class_name: str, *, keras: bool) -> Rule | None:
    """The rule of a layer class; Regrow's own rules hold for Keras' classes only, not for namesakes."""
    extensions.load()
    found = RULES.get(class_name)
    if found is None or keras or not found.__module__.startswith("regrow.graph.rules."):
        return found
    return None


def listed(found: Outputs) -> list[AxisIds]:
    """What a rule returned, one entry per output tensor."""
    return found if isinstance(found, list) else [found]
