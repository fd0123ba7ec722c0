"""Which epoch is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.training.selection import Selection, standard_error

Epochs = list[tuple[int, int]]


def chosen(epochs: Epochs, *, examples: int = 100) -> tuple[Selection, int]:
    selection = Selection(examples)
    for number, (right, loss) in enumerate(epochs, start=1):
        metrics = {"val_accuracy": right / examples, "val_loss": loss / 10}
        selection.offer(number, metrics, lambda number=number: [number])
    return selection, selection.chosen.epoch


def test_the_lowest_loss_within_one_standard_error_of_the_highest_accuracy() -> None:
    # One standard error at 90 of 100 is 3 points.
    assert chosen([(80, 1), (90, 9), (88, 5), (86, 2)])[1] == 3


def test_an_earlier_epoch_is_still_there_when_a_later_one_is_only_luckier() -> None:
    selection, epoch = chosen([(90, 2), (92, 8)])
    assert epoch == 1
    assert selection.chosen.weights == [1]


@pytest.mark.parametrize(
    ("start", "epoch"),
    [((91, 1), 2), ((92, 9), 2), ((89, 3), 1), ((90, 1), 2), ((95, 1), 1)],
)
def test_an_epoch_that_improves_on_the_start_is_preferred(start: tuple[int, int], epoch: int) -> None:
    """Of two that cannot be told apart, the one with the lower loss would be undone for being below the start."""
    as_it_came = {"val_accuracy": start[0] / 100, "val_loss": start[1] / 10}
    selection = Selection(100, start=as_it_came)
    for number, (right, loss) in enumerate([(90, 2), (92, 8)], start=1):
        metrics = {"val_accuracy": right / 100, "val_loss": loss / 10}
        selection.offer(number, metrics, lambda number=number: [number])
    assert selection.chosen.epoch == epoch


def test_the_standard_error_of_an_accuracy() -> None:
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    assert standard_error(1.0, 100) == 0


@given(st.lists(st.tuples(st.integers(50, 100), st.integers(0, 40)), min_size=1, max_size=30))
def test_what_is_thrown_away_is_never_wanted_later(epochs: Epochs) -> None:
    selection, epoch = chosen(epochs)
    highest = max(right for right, _ in epochs) / 100
    near: list[Any] = [
        (loss, number)
        for number, (right, loss) in enumerate(epochs, start=1)
        if right / 100 >= highest - standard_error(highest, 100)
    ]
    assert epochs[epoch - 1][1] == min(near)[0]
    assert len(selection.candidates) <= len(near)
