"""The head of a model, and the last layer of its trunk."""

from collections.abc import Sequence

from regrow.errors import RegrowError
from regrow.graph.kernels import KERNELS
from regrow.graph.view import Call, View


def head(view: View, *, model: str) -> Call:
    """The call of the last layer with a kernel before the output of ``model``: the classifier.

    Raises:
        RegrowError: there is none, or several branches with one meet behind it.
    """
    found = _nearest_kernels(view, view.outputs)
    if len(found) != 1:
        raise RegrowError(
            f"model '{model}': {len(found) or 'no'} layers with a kernel end in its output; accepted: one, a Dense or "
            f"convolution layer"
        )
    return found[0]


def last_shared(view: View, *, model: str) -> Call:
    """The call of the last layer with a kernel that the head of ``model`` depends on.

    Raises:
        RegrowError: there is none.
    """
    found = _nearest_kernels(view, head(view, model=model).inputs)
    if not found:
        raise RegrowError(f"model '{model}': no layer with a kernel comes before its head")
    return found[-1]


def _nearest_kernels(view: View, tensors: Sequence[int]) -> list[Call]:
    """The calls with a kernel from which a way without another one leads to ``tensors``, in the model's order."""
    producers = {tensor: call for call in view.calls for tensor in call.outputs}
    pending, seen = list(tensors), set[int]()
    while pending:
        call = producers.get(pending.pop())
        if call is None or id(call) in seen:
            continue
        seen.add(id(call))
        if call.class_name not in KERNELS:
            pending += call.inputs
    return [call for call in view.calls if id(call) in seen and call.class_name in KERNELS]
