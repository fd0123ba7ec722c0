"""Criteria from weights alone; they need no data and take well under a second for millions of weights."""

import numpy as np

from regrow.pruning.criteria.criterion import criterion
from regrow.pruning.criteria.evidence import Array, Evidence, is_weight, unit_sums


@criterion("l1")
def group_l1(evidence: Evidence) -> Array:
    """Σ |w| over all coupled slices, those that make the channel and those that take it in (Li 2017, Fang 2023)."""
    return evidence.over_weights(np.abs)


@criterion("l2")
def group_l2(evidence: Evidence) -> Array:
    """Σ w² over all coupled slices (DepGraph, Fang 2023)."""
    return evidence.over_weights(np.square)


@criterion("relative_l2", comparable=True, shares=True)
def relative_l2(evidence: Evidence) -> Array:
    """Σ over arrays of the share of the array's squares that the unit's slices hold: the share of each layer that would
    be lost.

    A unit counts in all layers that make or read its channels, so scores of different groups are comparable without
    normalisation.
    """

    def shares(array: Array) -> Array:
        squares = np.square(array, dtype=np.float64)
        total = squares.sum()
        return squares / total if total > 0 else squares

    return evidence.over_weights(shares)


@criterion("lamp", comparable=True, shares=True)
def lamp(evidence: Evidence) -> Array:
    """LAMP (Lee 2021) with units instead of weights: s_u / Σ_{v: s_v ≥ s_u} s_v within each group.

    s is the group L2 of the unit. The largest unit of a group scores 1, so no group becomes empty before all others;
    scores of different groups are comparable without normalisation.
    """
    squares, scores = group_l2(evidence), np.zeros(evidence.channels.count)
    for group in evidence.channels.groups:
        ordered = group.units[np.argsort(squares[group.units], kind="stable")]
        remaining = np.cumsum(squares[ordered][::-1])[::-1]
        scores[ordered] = np.divide(
            squares[ordered], remaining, out=np.zeros(len(ordered)), where=remaining > 0
        )
    return scores


@criterion("batch_norm_scale", lacking="batch normalisation")
def batch_norm_scale(evidence: Evidence) -> Array:
    """Σ |γ| over the unit's batch normalisations (network slimming, Liu 2017); NaN for a unit that has none."""
    channels = evidence.channels
    arrays = channels.graph.arrays
    scales = [
        slot
        for slot in channels.slots
        if slot.array.endswith("/gamma") and f"{slot.array.removesuffix('gamma')}moving_mean" in arrays
    ]
    found = unit_sums(channels, lambda name: np.abs(arrays[name]), scales)
    normalised = np.zeros(channels.count, np.bool_)
    for slot in scales:
        normalised[slot.units] = True
    return np.where(normalised, found, np.nan)


@criterion("random", comparable=True)
def random(evidence: Evidence) -> Array:
    """Uniform in [0, 1), reproducible by seed: the baseline that any criterion must beat."""
    return np.random.default_rng(evidence.seed).random(evidence.channels.count)


@criterion("geometric_median")
def geometric_median(evidence: Evidence) -> Array:
    """Σ_v ‖w_u − w_v‖ over the group: how far a filter is from all others (FPGM, He 2019).

    Other filters can replace one near the geometric median. The sum runs over all layers that make the same channels,
    and over all indices of a unit on one axis.
    """
    channels = evidence.channels
    total = np.zeros(channels.count)
    for slot in channels.slots:
        if slot.role == "output" and is_weight(slot):
            filters = np.moveaxis(channels.graph.arrays[slot.array], slot.axis, 0)
            distances = _distances(filters.reshape(len(slot.units), -1))
            total += np.bincount(slot.units, distances, minlength=channels.count)
    return total


def _distances(rows: Array) -> Array:
    """Σ_j ‖row_i − row_j‖ for each row, from the Gram matrix; rows are centred first to limit cancellation."""
    centred = rows - rows.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    apart = squares[:, None] + squares[None, :] - 2 * (centred @ centred.T)
    found: Array = np.sqrt(np.maximum(apart, 0, out=apart)).sum(axis=1, dtype=np.float64)
    return found
