"""Functions of ``keras.ops`` in several forms of their arguments: shape and dtype of two inputs, what is computed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.deferred import deferred

ops = deferred("keras.ops")

Case = tuple[tuple[int | None, ...], str, Callable[[Any, Any], Any]]

IMAGE, FLAT, STEPS = (6, 4, 3), (6,), (4, 6)
OPS: dict[str, Case] = {}


def of(shape: tuple[int | None, ...], dtype: str = "float32", **cases: Callable[[Any, Any], Any]) -> None:
    suffix = "" if dtype == "float32" else f" of {dtype}"
    for name, compute in cases.items():
        assert f"{name}{suffix}" not in OPS
        OPS[f"{name}{suffix}"] = (shape, dtype, compute)


def gated(value: Any, gate: Any) -> Any:
    return value * ops.sigmoid(gate)


of(
    IMAGE,
    split=lambda x, y: ops.split(x, 3, axis=-1),
    split_positional=lambda x, y: ops.split(x, 2, 2),
    split_at_places=lambda x, y: ops.split(x, [1, 4], axis=1),
    unstack=lambda x, y: ops.unstack(x, axis=-1)[1] * 2.0,
    pad=lambda x, y: ops.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]]),
    pad_with_ones=lambda x, y: ops.pad(x, ((0, 0), (1, 2), (0, 3), (1, 0)), constant_values=1.5),
    pad_reflect=lambda x, y: ops.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], mode="reflect"),
    pad_symmetric=lambda x, y: ops.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], "symmetric"),
    repeat=lambda x, y: ops.repeat(x, 2, axis=1),
    repeat_by_a_list=lambda x, y: ops.repeat(x, [1, 0, 2], axis=-1),
    repeat_flat=lambda x, y: ops.repeat(x, 2),
    tile=lambda x, y: ops.tile(x, [1, 2, 1, 3]),
    tile_short=lambda x, y: ops.tile(x, [2, 1]),
    tile_number=lambda x, y: ops.tile(x, 2),
    swapaxes=lambda x, y: ops.swapaxes(x, 1, -1),
    moveaxis=lambda x, y: ops.moveaxis(x, 1, -1),
    moveaxes=lambda x, y: ops.moveaxis(x, [1, 2], [3, 1]),
    transpose=lambda x, y: ops.transpose(x, [0, 3, 1, 2]),
    flip=lambda x, y: ops.flip(x, axis=1),
    flip_two=lambda x, y: ops.flip(x, axis=(1, -1)),
    flip_all=lambda x, y: ops.flip(x),
    rot90=lambda x, y: ops.rot90(x, 1, axes=(1, 2)),
    rot90_half_of_squares=lambda x, y: ops.rot90(x[:, :3, :3], -2, axes=(2, 1)),
    rot90_back=lambda x, y: ops.rot90(x, k=-1, axes=(2, 1)),
    roll=lambda x, y: ops.roll(x, 2, axis=1),
    roll_two=lambda x, y: ops.roll(x, (1, -1), axis=(1, 2)),
    roll_flat=lambda x, y: ops.roll(x, 5),
    ravel=lambda x, y: ops.ravel(x),
    reshape=lambda x, y: ops.reshape(x, (-1, 12, 6)),
    expand_dims=lambda x, y: ops.expand_dims(x, -2),
    expand_two=lambda x, y: ops.expand_dims(x, (1, -1)),
    squeeze=lambda x, y: ops.squeeze(x[:, :1, :, :1]),
    squeeze_two=lambda x, y: ops.squeeze(x[:, :1, :, :1], axis=(1, 3)),
    squeeze_negative=lambda x, y: ops.squeeze(x[..., :1], -1),
    concatenate=lambda x, y: ops.concatenate([x, y], axis=-1),
    concatenate_default=lambda x, y: ops.concatenate([x, y]),
    append=lambda x, y: ops.append(x, y, axis=2),
    stack=lambda x, y: ops.stack([x, y]),
    stack_last=lambda x, y: ops.stack([x, y], axis=-1),
    hstack=lambda x, y: ops.hstack([x, y]),
    vstack=lambda x, y: ops.vstack([x, y]),
    dstack=lambda x, y: ops.dstack([x, y]),
    take=lambda x, y: ops.take(x, [2, 0, -1], axis=1),
    take_one=lambda x, y: ops.take(x, 1, axis=-1),
    take_by_an_array=lambda x, y: ops.take(x, np.array([[0, 1], [2, -2]]), axis=3),
    take_by_a_tensor=lambda x, y: ops.take(
        np.arange(12.0, dtype="float32").reshape(6, 2), ops.argmax(x, axis=1), axis=0
    ),
    slice_=lambda x, y: ops.max(x, axis=0, keepdims=True)[:, 1:3],
    einsum=lambda x, y: ops.einsum("bhwc,bhwd->bhcd", x, y),
    einsum_outer=lambda x, y: ops.einsum("bhwc,bhvd->bhwvcd", x, y),
    einsum_ellipsis=lambda x, y: ops.einsum("b...c,b...c->b...", x, y),
    einsum_one=lambda x, y: ops.einsum("bhwc->bch", x),
    einsum_three=lambda x, y: ops.einsum("bhwc,bhwd,bhwc->bwd", x, y, x),
    einsum_over_two=lambda x, y: ops.einsum("bhwc,bhwd->bcd", x, y),
    einsum_constant_first=lambda x, y: ops.einsum("cd,bhwc->bdhw", np.ones((3, 2), "float32") * 0.5, x),
    einsum_constant=lambda x, y: ops.einsum("bhwc,cd->bhwd", x, np.ones((3, 2), "float32") * 0.5),
    tensordot=lambda x, y: ops.tensordot(x, np.arange(24.0, dtype="float32").reshape(4, 3, 2), axes=2),
    tensordot_axes=lambda x, y: ops.tensordot(
        x, np.arange(12.0, dtype="float32").reshape(2, 6), axes=[[1], [1]]
    ),
    dot=lambda x, y: ops.dot(x, np.arange(6.0, dtype="float32").reshape(3, 2)),
    matmul=lambda x, y: ops.matmul(x, ops.swapaxes(y, -1, -2)),
    matmul_vector=lambda x, y: ops.matmul(x, np.array([1.0, 2.0, -1.0], "float32")),
    average_pool=lambda x, y: ops.average_pool(x, 2),
    average_pool_same=lambda x, y: ops.average_pool(x, (3, 2), strides=(2, 1), padding="same"),
    max_pool=lambda x, y: ops.max_pool(x, 2, strides=1, padding="same"),
    max_pool_positional=lambda x, y: ops.max_pool(x, (2, 2), 2),
    max_pool_first=lambda x, y: ops.max_pool(x, 2, data_format="channels_first"),
    average_pool_first=lambda x, y: ops.average_pool(x, 2, 1, "valid", "channels_first"),
    space_to_depth=lambda x, y: ops.space_to_depth(x, 2),
    depth_to_space=lambda x, y: ops.depth_to_space(ops.concatenate([x, y, x, y], axis=-1), 2),
    resize=lambda x, y: ops.image.resize(x, (9, 5)),
    resize_nearest=lambda x, y: ops.image.resize(x, (12, 8), interpolation="nearest"),
    resize_bicubic=lambda x, y: ops.image.resize(x, (3, 2), "bicubic", antialias=True),
    resize_first=lambda x, y: ops.image.resize(x, (8, 6), data_format="channels_first"),
    rgb_to_grayscale=lambda x, y: ops.image.rgb_to_grayscale(x),
    rgb_to_grayscale_first=lambda x, y: ops.image.rgb_to_grayscale(
        ops.transpose(x, (0, 3, 1, 2)), data_format="channels_first"
    ),
    pad_images=lambda x, y: ops.image.pad_images(x, 1, 2, 3, 0),
    pad_images_to=lambda x, y: ops.image.pad_images(
        x, top_padding=1, left_padding=2, target_height=10, target_width=8
    ),
    crop_images=lambda x, y: ops.image.crop_images(x, 1, 1, 2, 0),
    crop_images_to=lambda x, y: ops.image.crop_images(
        x, top_cropping=1, left_cropping=1, target_height=3, target_width=2
    ),
    crop_images_first=lambda x, y: ops.image.crop_images(x, 1, 1, 1, 0, data_format="channels_first"),
    extract_patches=lambda x, y: ops.image.extract_patches(x, 2),
    extract_patches_dense=lambda x, y: ops.image.extract_patches(x, (3, 2), strides=1, padding="same"),
    normalize=lambda x, y: ops.normalize(x),
    normalize_1=lambda x, y: ops.normalize(x, axis=1, order=1),
    normalize_3=lambda x, y: ops.normalize(x, axis=-1, order=3, epsilon=1e-3),
    normalize_zeros=lambda x, y: ops.normalize(ops.relu(x) * 1e-5, axis=-1, epsilon=1e-3),
    norm=lambda x, y: ops.norm(x, axis=-1, keepdims=True) * x,
    norm_1=lambda x, y: ops.norm(x, ord=1, axis=1),
    norm_0=lambda x, y: ops.norm(ops.relu(x), ord=0, axis=1),
    norm_3=lambda x, y: ops.norm(x, ord=3, axis=-1),
    norm_inf=lambda x, y: ops.norm(x, ord=float("inf"), axis=2),
    norm_minus_inf=lambda x, y: ops.norm(x, ord=-float("inf"), axis=2),
    norm_of_matrices=lambda x, y: ops.norm(x, axis=(1, 2)),
    mean=lambda x, y: ops.mean(x, axis=(1, 2), keepdims=True),
    mean_all=lambda x, y: ops.mean(x),
    sum_=lambda x, y: ops.sum(x, -1),
    var=lambda x, y: ops.var(x, axis=[1, 2]),
    std=lambda x, y: ops.std(x, axis=-1, keepdims=True),
    prod=lambda x, y: ops.prod(x, axis=1),
    max_initial=lambda x, y: ops.max(x, axis=1, initial=0.5),
    min_initial=lambda x, y: ops.min(x, axis=-1, keepdims=True, initial=0.0),
    amax=lambda x, y: ops.amax(x, axis=1) - ops.amin(x, axis=1),
    count_nonzero=lambda x, y: ops.count_nonzero(ops.relu(x), axis=1),
    average=lambda x, y: ops.average(x, axis=1),
    average_weighted=lambda x, y: ops.average(x, axis=1, weights=ops.exp(y)),
    moments=lambda x, y: ops.moments(x, axes=[1, 2], keepdims=True),
    logsumexp=lambda x, y: ops.logsumexp(x, axis=-1, keepdims=True),
    argmax=lambda x, y: ops.argmax(x, axis=-1),
    argmax_all=lambda x, y: ops.argmax(x),
    argmax_kept=lambda x, y: ops.argmax(x, axis=1, keepdims=True),
    argmin=lambda x, y: ops.argmin(x, 2),
    argmin_all_kept=lambda x, y: ops.argmin(x, keepdims=True),
    cumsum=lambda x, y: ops.cumsum(x, axis=1),
    cumsum_all=lambda x, y: ops.cumsum(x),
    cumprod=lambda x, y: ops.cumprod(x, axis=-1),
    sort=lambda x, y: ops.sort(x, axis=1),
    sort_default=lambda x, y: ops.sort(x),
    argsort=lambda x, y: ops.argsort(x, axis=1),
    top_k=lambda x, y: ops.top_k(x, 2),
    top_k_values=lambda x, y: ops.top_k(x, k=2, sorted=True)[0] * 2.0,
    one_hot=lambda x, y: ops.one_hot(ops.argmax(x, axis=-1), 3),
    one_hot_axis=lambda x, y: ops.one_hot(ops.argmax(x, axis=-1), 5, axis=1, dtype="int32"),
    softmax=lambda x, y: ops.softmax(x, axis=1),
    softmax_all=lambda x, y: ops.softmax(x, axis=None),
    log_softmax=lambda x, y: ops.log_softmax(x, axis=-2),
    where=lambda x, y: ops.where(x > y, x, 0),
    clip=lambda x, y: ops.clip(x, -1, 0.5),
    logical=lambda x, y: ops.logical_xor(x > 0, ops.logical_not(y > 0)),
    logical_of_numbers=lambda x, y: ops.logical_or(ops.relu(x), ops.relu(y)),
    comparison=lambda x, y: ops.cast(ops.less_equal(x, y), "int32") + ops.cast(ops.not_equal(x, 0), "int32"),
    any_=lambda x, y: ops.any(ops.relu(x), axis=-1),
    all_=lambda x, y: ops.all(ops.relu(x), axis=(1, 2), keepdims=True),
    isfinite=lambda x, y: ops.isfinite(ops.log(x)),
    isnan=lambda x, y: ops.isnan(ops.log(x)),
    isinf=lambda x, y: ops.isinf(1.0 / ops.relu(x)),
    nan_to_num=lambda x, y: ops.nan_to_num(ops.log(x), nan=-7.0),
    nan_to_num_ends=lambda x, y: ops.nan_to_num(x / ops.relu(y), posinf=9.0, neginf=-9.0),
    full_like=lambda x, y: ops.full_like(x, 2.5) + ops.zeros_like(x, dtype="float32") + ops.ones_like(y),
    broadcast_to=lambda x, y: ops.broadcast_to(ops.max(x, axis=0, keepdims=True), (2, 6, 4, 3)),
    tril=lambda x, y: ops.tril(x),
    tril_below=lambda x, y: ops.tril(x, k=-1),
    triu=lambda x, y: ops.triu(x, 1),
    diff=lambda x, y: ops.diff(x, axis=1),
    diff_twice=lambda x, y: ops.diff(x, n=2, axis=2),
    inner=lambda x, y: ops.inner(x, np.ones((2, 3), "float32")),
    vdot=lambda x, y: ops.vdot(x, y),  # noqa: PLW0108  # `ops` is imported when it is called
    leaky_relu=lambda x, y: ops.leaky_relu(x) + ops.leaky_relu(y, 0.1),
    relu=lambda x, y: ops.relu(x) + ops.relu6(6 * y) + ops.silu(x) + ops.swish(y),
    elu=lambda x, y: ops.elu(x) + ops.elu(y, alpha=0.5) + ops.selu(x),
    celu=lambda x, y: ops.celu(x, 0.5) + ops.celu(y),
    gelu=lambda x, y: ops.gelu(x) + ops.gelu(y, approximate=False),
    glu=lambda x, y: ops.glu(x, axis=1),
    sigmoids=lambda x, y: (
        ops.sigmoid(x) + ops.log_sigmoid(y) + ops.hard_sigmoid(x) + ops.sparse_sigmoid(3 * y)
    ),
    hard=lambda x, y: (
        ops.hard_silu(4 * x) + ops.hard_tanh(2 * y) + ops.hard_shrink(x, 0.3) + ops.hard_swish(y)
    ),
    soft=lambda x, y: ops.soft_shrink(x, threshold=0.2) + ops.softplus(y) + ops.softsign(x),
    other_activations=lambda x, y: ops.squareplus(x, b=2) + ops.sparse_plus(3 * y) + ops.tanh_shrink(x),
    threshold=lambda x, y: ops.threshold(x, 0.2, -3.0),
    rms_norm=lambda x, y: ops.rms_normalization(x, scale=np.array([1.0, 2.0, 3.0], "float32"), epsilon=1e-2),
    rms_norm_plain=lambda x, y: ops.rms_normalization(x, axis=(1, 2)),
    layer_norm=lambda x, y: ops.layer_normalization(
        x, np.array([1.0, 2.0, 3.0], "float32"), np.array([0.5, 0.0, 1.0], "float32"), axis=-1, epsilon=1e-2
    ),
    copy_=lambda x, y: ops.copy(x) + ops.hsplit(y, [6])[0],
    batch_norm=lambda x, y: ops.batch_normalization(
        x, np.ones(3, "float32"), np.full(3, 2.0, "float32"), axis=-1, scale=np.arange(3.0, dtype="float32")
    ),
    attention=lambda x, y: ops.dot_product_attention(x, y, y),
    attention_causal=lambda x, y: ops.dot_product_attention(x, y, y, is_causal=True, scale=0.5),
    attention_masked=lambda x, y: ops.dot_product_attention(x, y, y, mask=np.tri(6, dtype=bool)[None, None]),
    trigonometry=lambda x, y: ops.sin(x) + ops.cos(y) + ops.tan(x) + ops.arctan(y) + ops.arctan2(x, y),
    arcs=lambda x, y: ops.arcsin(ops.tanh(x)) + ops.arccos(ops.tanh(y)) + ops.arctanh(ops.tanh(x)),
    hyperbolic=lambda x, y: ops.sinh(x) + ops.cosh(y) + ops.arcsinh(x) + ops.arccosh(1 + ops.square(y)),
    logarithms=lambda x, y: ops.log2(ops.exp(x)) + ops.log10(ops.exp(y)) + ops.logaddexp(x, y) + ops.exp2(x),
    roots=lambda x, y: ops.cbrt(x) + ops.hypot(x, y) + ops.rsqrt(ops.exp(x)) + ops.sqrt(ops.abs(y)),
    angles=lambda x, y: ops.deg2rad(x) + ops.rad2deg(y),
    rounding=lambda x, y: ops.round(3 * x) + ops.trunc(3 * y) + ops.floor(x) + ops.ceil(y),
    round_to=lambda x, y: ops.round(x, 1) + ops.round(y, decimals=2),
    error_functions=lambda x, y: ops.erf(x) + ops.erfc(y) + ops.erfinv(ops.tanh(x)),
    division=lambda x, y: ops.divide_no_nan(x, ops.relu(y)) + ops.mod(x, 0.7) + x // 0.3,
    extremes=lambda x, y: ops.fmax(x, y) - ops.fmin(x, 0) + ops.fabs(x),
    ptp=lambda x, y: ops.ptp(x, axis=1),
)
of(
    FLAT,
    outer=lambda x, y: ops.outer(x, np.arange(3.0, dtype="float32")),
    meshgrid=lambda x, y: ops.meshgrid(ops.sum(x, axis=0), np.arange(3.0, dtype="float32")),
    meshgrid_ij=lambda x, y: ops.meshgrid(ops.sum(x, axis=0), ops.sum(y, axis=0), indexing="ij"),
    flips=lambda x, y: ops.fliplr(x) + ops.flipud(y),
    top_k_of_rows=lambda x, y: ops.top_k(x, 3)[1],
    matrices=lambda x, y: ops.matmul(x, np.ones((6, 2), "float32")) @ np.ones((2, 3), "float32"),
    mixed=lambda x, y: ops.cast(x, "int32") + y,
    mixed_joined=lambda x, y: ops.concatenate([ops.cast(x * 3, "int32"), y], axis=-1),
    mixed_compared=lambda x, y: ops.cast(ops.cast(3 * x, "int32") > y, "float32"),
    saturate_cast=lambda x, y: ops.saturate_cast(200 * x, "uint8"),
)
of(
    STEPS,
    pool_of_steps=lambda x, y: ops.average_pool(x, 2, strides=1, padding="same") + ops.max_pool(y, 1),
    attention_by_hand=lambda x, y: ops.einsum(
        "bst,btd->bsd", ops.softmax(ops.einsum("bsd,btd->bst", x, y) / 6**0.5), y
    ),
    gated=lambda x, y: gated(*ops.split(x, 2, axis=-1)),
)
of((None, 6), einsum_open=lambda x, y: ops.einsum("bsd,btd->bst", x, y))
of(
    FLAT,
    "int32",
    mean=lambda x, y: ops.mean(x, axis=-1),
    std=lambda x, y: ops.std(x, axis=-1) + ops.var(y, axis=1),
    division=lambda x, y: x / (y + 5) + ops.true_divide(x, 4),
    sum_=lambda x, y: ops.sum(x, axis=-1),
    roots=lambda x, y: ops.sqrt(ops.abs(x)) + ops.exp(y) + ops.floor(x) + ops.sin(y),
    arithmetic=lambda x, y: x * 2 + y - 1,
    with_real_numbers=lambda x, y: x * 1.5 + ops.maximum(y, 0.5),
    comparison=lambda x, y: ops.logical_and(x > 0.5, ops.equal(y, 1)),
    norm=lambda x, y: ops.norm(x, axis=-1),
    one_hot=lambda x, y: ops.one_hot(x, 4),
    argmax=lambda x, y: ops.argmax(x, axis=-1),
    cumsum=lambda x, y: ops.cumsum(x, axis=-1, dtype="float32"),
    where=lambda x, y: ops.where(x > 0, x, 0.5),
)
of(FLAT, "uint8", sum_=lambda x, y: ops.sum(x * 60, axis=-1), mean=lambda x, y: ops.mean(x, axis=1))
of(FLAT, "bool", sum_=lambda x, y: ops.sum(x, axis=-1), mean=lambda x, y: ops.mean(x, axis=-1))
