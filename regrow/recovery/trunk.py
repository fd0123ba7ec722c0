"""The trunk that the heads share: the model's layers up to the classifier."""

from typing import Any

from regrow.errors import RegrowError


def features_of(model: Any) -> Any:
    """The Keras tensor that the classifier of ``model`` reads.

    Raises:
        RegrowError: the model does not have exactly one classifier, or it is inside a nested model.
    """
    from regrow.graph.heads import head
    from regrow.graph.view import view_of

    call = head(view_of(model), model=model.name)
    if "/" in call.layer:
        raise RegrowError(
            f"recover.multi_task: the classifier '{call.layer}' of model '{model.name}' is inside a nested "
            "model; accepted: a model with the classifier at its top level"
        )
    return model.get_layer(call.layer).get_input_at(call.number)


def last_shared_kernel(model: Any) -> Any:
    """The kernel of the last layer before the classifier of ``model``.

    Raises:
        RegrowError: there is no such layer.
    """
    from regrow.graph.heads import last_shared
    from regrow.graph.kernels import prunable_kernels
    from regrow.graph.view import view_of

    call = last_shared(view_of(model), model=model.name)
    return [kernel for name, kernel in prunable_kernels(model).items() if name.startswith(f"{call.layer}/")][
        -1
    ]
