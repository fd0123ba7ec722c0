"""Distillation losses between student and teacher tensors; each is a scalar float32, the mean over the batch."""

from typing import Any

FLOOR = 1e-8  # of a variance
# A variance below this share of the mean square is that of too few rows, such as a last batch of one example, or of
# features that say nothing. Those of ResNet-8 on CIFAR-10 are 0.39 of it and more.
LEAST_SHARE = 0.1


def softened_divergence(teacher: Any, student: Any, *, temperature: float) -> Any:
    """T²·KL(p_T^teacher ‖ p_T^student) of distributions softened by temperature T (Hinton 2015).

    p_T = softmax(z/T). Log-probabilities are logits up to a constant for each example, which softmax forgets, so
    that softmax(log p/T) is the same. T² keeps the gradient's size independent of T.

    Args:
        teacher: log-probabilities or logits, float32 (batch, classes).
        student: the same of the student.
        temperature: T > 0.
    """
    import tensorflow as tf

    wanted = tf.nn.log_softmax(teacher / temperature)
    found = tf.nn.log_softmax(student / temperature)
    divergence = tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1)
    return temperature**2 * tf.reduce_mean(divergence)


def unexplained_variance(teacher: Any, features: Any) -> Any:
    """Σ(A_t − A)²/Σ(A_t − mean A_t)²: the share of the teacher's variance that ``features`` do not explain.

    The squared error of FitNets' hints (Romero 2015), divided by the variance of the batch's features, so that layers
    of any scale count equally: 0 if equal, 1 for the best constant. The variance counts as `LEAST_SHARE` of the mean
    square where it is less, so that a batch of one example has no boundless loss.

    Args:
        teacher: float (batch, …, channels); the mean is taken for each channel.
        features: of the same shape, the student's after its adapter.
    """
    import tensorflow as tf

    teacher, features = tf.cast(teacher, tf.float32), tf.cast(features, tf.float32)
    axes = list(range(teacher.shape.rank - 1))
    mean = tf.reduce_mean(teacher, axis=axes)
    variance = tf.reduce_mean(tf.math.squared_difference(teacher, mean))
    variance = tf.maximum(variance, LEAST_SHARE * tf.reduce_mean(tf.square(teacher)))
    return tf.reduce_mean(tf.math.squared_difference(teacher, features)) / tf.maximum(variance, FLOOR)


def attention_map(features: Any) -> Any:
    """Where a layer is active: Σ_c |A_c|² at each position, of Euclidean norm 1 (Zagoruyko & Komodakis 2017).

    Args:
        features: float (batch, …, channels).

    Returns:
        float32 (batch, positions), positions in row order; zeros where all features are.
    """
    import tensorflow as tf

    channels, positions = features.shape[-1], 1
    for length in features.shape[1:-1]:
        positions = -1 if length is None or positions < 0 else positions * length
    squares = tf.square(tf.reshape(tf.cast(features, tf.float32), [-1, channels]))
    # On a CPU a product with ones is faster than a sum over a short last axis.
    energy = tf.matmul(squares, tf.ones([channels, 1]))
    return tf.math.l2_normalize(tf.reshape(energy, [tf.shape(features)[0], positions]), axis=-1)


def attention_distance(teacher: Any, student: Any) -> Any:
    """½‖Q_t − Q_s‖² = 1 − cosine of two attention maps, 0 to 1 whatever the number of positions.

    Args:
        teacher: what `attention_map` gave, float32 (batch, positions).
        student: the same of the student.
    """
    import tensorflow as tf

    return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(teacher, student), axis=-1))
