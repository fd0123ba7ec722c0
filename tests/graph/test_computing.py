import numpy as np
import pytest

from regrow.graph.computing import activations
from regrow.graph.graph import Graph

from .checking import inputs_of, outputs_of
from .operation_cases import CASES


@pytest.mark.parametrize("name", ["a_model_at_each_step", "shared_and_nested", "sliced", "transformer"])
def test_call_by_call_gives_what_the_model_gives(name: str) -> None:
    model = CASES[name]()
    view, inputs = Graph.of(model).view, inputs_of(model)
    found = {}
    for call, outputs in activations(model, view, inputs):
        assert [value.shape[1:] for value in outputs] == [view.shapes[number][1:] for number in call.outputs]
        found.update(zip(call.outputs, outputs, strict=True))
    for number, wanted in zip(view.outputs, outputs_of(model, inputs), strict=True):
        np.testing.assert_allclose(found[number], wanted, rtol=1e-5, atol=1e-6)
