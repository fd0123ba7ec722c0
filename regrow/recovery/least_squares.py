"""Linear least squares from streamed normal equations, so that memory does not grow with the data."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
# Single precision is exact enough within a block of rows; blocks are added in double precision.
BLOCK_ROWS = 8192
# A feature of whose variance others leave no larger share unexplained depends on them; sums of single-precision
# products know no better.
DEPENDENT = 1e-6


class NormalEquations:
    """XᵀX, XᵀY and the squares of Y, of ``groups`` independent problems of one size.

    A last feature, the constant 1, stands behind those given, so that a bias is solved with the weights.

    Args:
        groups: problems side by side, g; 1 for a dense layer, one a channel for a depthwise convolution.
        features: columns of X without the constant, d.
        outputs: columns of Y, m.
    """

    def __init__(self, *, groups: int, features: int, outputs: int) -> None:
        self.gram = np.zeros((groups, features + 1, features + 1))
        self.cross = np.zeros((groups, features + 1, outputs))
        self.squares = np.zeros((groups, outputs))

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return int(self.gram[0, -1, -1])

    @property
    def finite(self) -> bool:
        """Whether all sums are numbers."""
        return all(np.isfinite(sums).all() for sums in (self.gram, self.cross, self.squares))

    def add(self, x: Array, y: Array) -> None:
        """Add rows: ``x`` float32 (g, n, d), ``y`` float32 (g, n, m)."""
        with np.errstate(over="ignore", invalid="ignore"):  # `finite` tells
            for start in range(0, x.shape[1], BLOCK_ROWS):
                self._add(x[:, start : start + BLOCK_ROWS], y[:, start : start + BLOCK_ROWS])

    def _add(self, x: Array, y: Array) -> None:
        """Add a block, multiplied less its means: next to a large mean, single precision loses what varies."""
        ones = np.ones_like(x[..., :1])
        means = np.concatenate([x.mean(1, keepdims=True), 0 * ones[:, :1]], axis=-1)
        part = np.concatenate([x, ones], axis=-1)
        part -= means
        y_means = y.mean(1, keepdims=True)
        target = y - y_means
        turned = part.transpose(0, 2, 1)
        gram, cross = turned @ part, turned @ target
        # With X = P + 1cᵀ, XᵀX = PᵀP + c(s + nc/2)ᵀ + (s + nc/2)cᵀ, where s = Pᵀ1; XᵀY likewise.
        c, sums = means.transpose(0, 2, 1).astype(np.float64), gram[:, :, -1:].astype(np.float64)
        half = sums + c * (part.shape[1] / 2)
        self.gram += gram
        self.gram += np.concatenate([c, half], axis=2) @ np.concatenate([half, c], axis=2).transpose(0, 2, 1)
        total = target.sum(1, keepdims=True, dtype=np.float64) + part.shape[1] * y_means.astype(np.float64)
        self.cross += cross
        self.cross += sums @ y_means + c @ total
        self.squares += np.square(y, dtype=np.float64).sum(1)

    def error(self, weights: Array) -> float:
        """‖Y − XW‖² over all groups, for ``weights`` (g, d + 1, m), the bias last."""
        fitted = weights * (self.gram @ weights - 2 * self.cross)
        return max(0.0, float(self.squares.sum() + fitted.sum()))

    def variance(self) -> float:
        """Σ (Y − mean of its column)², what a constant would leave unexplained."""
        return max(0.0, float(self.squares.sum() - (self.cross[:, -1] ** 2).sum() / max(1, self.rows)))


def solve(equations: NormalEquations, start: Array, free: Array, *, ridge: float) -> Array:
    """argmin ‖Y − XW‖² + λ‖W − W₀‖², weights that are not free kept at W₀; the bias is not drawn to anything.

    Each column is solved on its own support; columns with the same support share a factorisation.

    Args:
        equations: of g problems with d features and m outputs.
        start: W₀, (g, d + 1, m).
        free: bool, (g, d + 1, m); the last row says whether there is a bias to solve for.
        ridge: λ as a share of the mean of the diagonal of XᵀX; the mean is each problem's.

    Returns:
        W, float64 (g, d + 1, m).
    """
    weights = np.array(start, np.float64)
    for group, gram in enumerate(equations.gram):
        # Solved for the difference from W₀, so that the pull towards W₀ is a ridge towards zero.
        gap = equations.cross[group] - gram @ weights[group]
        diagonal = np.diagonal(gram)[:-1]
        penalty = np.append(np.full(len(diagonal), ridge * diagonal.mean()), 0.0)
        for columns, support in _supports(free[group]):
            system = gram[np.ix_(support, support)]
            system[np.diag_indices_from(system)] += penalty[support]
            right = gap[np.ix_(support, columns)]
            found = _exactly(system, right) if ridge > DEPENDENT else None
            if found is None:
                found = _shortest(system, right, biased=bool(support[-1] == len(diagonal)))
            weights[group][np.ix_(support, columns)] += found
    return weights


def _supports(free: Array) -> Iterator[tuple[Array, Array]]:
    """Columns of ``free`` (d, m) with equal entries, and the rows at which these are true."""
    patterns, number = np.unique(free, axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        support = np.flatnonzero(pattern)
        if len(support):
            yield np.flatnonzero(number.ravel() == index), support


def _exactly(system: Array, right: Array) -> Array | None:
    try:
        found = np.linalg.solve(system, right)
    except np.linalg.LinAlgError:
        return None
    return found if np.isfinite(found).all() else None


def _shortest(system: Array, right: Array, *, biased: bool) -> Array:
    """Where features depend on each other, the solution nearest to W₀, each feature in units of its deviation.

    With a bias, ``biased``, the last row is that of the constant: it is eliminated first, for next to a large mean
    what varies looks dependent.
    """
    if not biased:
        return _least(system, right)
    rows, sums = system[-1, -1], system[-1:, :-1]
    centred = system[:-1, :-1] - sums.T @ sums / rows
    found = _least(centred, right[:-1] - sums.T @ right[-1:] / rows, beside=np.diagonal(system)[:-1])
    return np.concatenate([found, (right[-1:] - sums @ found) / rows])


def _least(system: Array, right: Array, *, beside: Array | None = None) -> Array:
    """Least squares by normal equations; a feature that varies only by rounding, ``beside`` its square, gets 0."""
    squares = np.diagonal(system)
    alive = squares > 1e-12 * (squares if beside is None else beside)
    if not alive.any():
        return np.zeros_like(right)
    scale = np.zeros_like(squares)
    scale[alive] = 1 / np.sqrt(squares[alive])
    scaled, target = system * np.outer(scale, scale), right * scale[:, None]
    found = _exactly(scaled, target) if alive.all() and _is_regular(scaled) else None
    if found is None:
        found = np.linalg.lstsq(scaled, target, rcond=DEPENDENT)[0]
    return np.asarray(found * scale[:, None])


def _is_regular(scaled: Array) -> bool:
    """Whether no feature, of square 1 each, depends on others."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(scaled))
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() ** 2 > DEPENDENT)
