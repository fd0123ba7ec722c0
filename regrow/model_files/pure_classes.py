"""The classes that a model file of `tf_keras` may name: Keras' own, which compute and do nothing else."""

import functools
import inspect

# Not here: Lambda and DenseFeatures, which hold code or read files, and Layer and others that are made to be derived.
LAYERS = """
Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
AveragePooling2D AveragePooling3D BatchNormalization BatchNormalizationV1 Bidirectional CategoryEncoding CenterCrop
ClassMethod Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D
ConvLSTM3D Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM CustomScaleLayer Dense DepthwiseConv1D DepthwiseConv2D
Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing Identity InputLayer InstanceMethod InstanceProperty
IntegerLookup LSTM LSTMCell LayerNormalization LayerScale LeakyReLU LocallyConnected1D LocallyConnected2D Masking
MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RNN
RandomBrightness RandomContrast RandomCrop RandomFlip RandomFourierFeatures RandomHeight RandomRotation
RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D
SimpleRNN SimpleRNNCell SlicingOpLambda Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
SpectralNormalization StackedRNNCells StochasticDepth StringLookup Subtract SyncBatchNormalization TFOpLambda
TextVectorization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
MODELS = "Functional Model Sequential"
# How both of Keras' formats write what JSON lacks, dtype policies, and functions, whose names are checked apart.
VALUES = """
InputSpec LossScaleOptimizer Policy PolicyV1 TensorShape TypeSpec __bytes__ __ellipsis__ __numpy__ __tensor__ __tuple__
__typespec__ function
"""


@functools.cache
def pure_layers() -> frozenset[str]:
    """Names of layers, of models, and of values in their configs."""
    return frozenset(f"{LAYERS} {MODELS} {VALUES}".split())


@functools.cache
def keras_objects() -> frozenset[str]:
    """Names of initializers, regularizers, constraints, optimizers, losses and metrics: all of Keras' compute only."""
    from tf_keras import constraints, initializers, losses, metrics, optimizers, regularizers

    modules = (constraints, initializers, losses, metrics, optimizers, optimizers.schedules, regularizers)
    return frozenset(name for module in modules for name, _ in inspect.getmembers(module, inspect.isclass))
