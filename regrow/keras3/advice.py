"""What to write instead of an operation or a layer of Keras 3 that is not read."""

_PREPARES = "it prepares data: do that before the model, and prune the model that begins behind it"
_VARIES = "it varies training examples alone: leave it out of the model, and use Regrow's step augment"
_POOLS = (
    "put AveragePooling, MaxPooling or, for one output, GlobalAveragePooling or GlobalMaxPooling in its place"
)

LAYERS: dict[str, str] = {
    **dict.fromkeys(
        [
            "TextVectorization",
            "StringLookup",
            "IntegerLookup",
            "Hashing",
            "HashedCrossing",
            "Discretization",
            "MelSpectrogram",
            "STFTSpectrogram",
            "Pipeline",
            "AutoContrast",
            "Equalization",
            "Solarization",
            "MaxNumBoundingBoxes",
            "ContrastLimitedAdaptiveHistogramEqualization",
        ],
        _PREPARES,
    ),
    **dict.fromkeys(
        [
            "AugMix",
            "CutMix",
            "MixUp",
            "RandAugment",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomElasticTransform",
            "RandomErasing",
            "RandomGaussianBlur",
            "RandomGrayscale",
            "RandomHue",
            "RandomInvert",
            "RandomPerspective",
            "RandomPosterization",
            "RandomSaturation",
            "RandomSharpness",
            "RandomShear",
        ],
        _VARIES,
    ),
    "RandomCrop": "put CenterCrop, which is what it does outside training where images are large enough, in its place",
    **dict.fromkeys((f"Adaptive{kind}Pooling{n}D" for kind in ("Average", "Max") for n in (1, 2, 3)), _POOLS),
    "RMSNormalization": "put LayerNormalization(center=False) in its place and train on, or write it with keras.ops",
    "SpectralNormalization": "outside training the layer inside it answers the same: put that one in its place",
    **dict.fromkeys(
        ("GroupQueryAttention", "GroupedQueryAttention"),
        "put MultiHeadAttention, with the key's and value's heads repeated, in its place",
    ),
    "ReversibleEmbedding": "put Embedding, and Dense for the way back, in its place",
    "TFSMLayer": "it runs a SavedModel, which is code; build the model of keras.layers",
}
_CODE = "it holds Python code, which is not carried over; express it with keras.layers"
OPERATIONS: dict[str, str] = {
    "nn.Conv": "put layer Conv1D, Conv2D or Conv3D in its place",
    "nn.DepthwiseConv": "put layer DepthwiseConv2D in its place",
    "nn.SeparableConv": "put layer SeparableConv2D in its place",
    "nn.ConvTranspose": "put layer Conv2DTranspose in its place",
    "nn.AdaptiveAveragePool": _POOLS,
    "nn.AdaptiveMaxPool": _POOLS,
    "numpy.TakeAlongAxis": "put keras.ops.take, or one_hot and a product, in its place",
    "math.STFT": _PREPARES,
    "math.RFFT": _PREPARES,
    **dict.fromkeys(
        [
            "core.Cond",
            "core.WhileLoop",
            "core.Map",
            "core.Scan",
            "core.AssociativeScan",
            "core.ForiLoop",
            "core.VectorizedMap",
            "core.Switch",
            "linalg.JVP",
        ],
        _CODE,
    ),
}
OTHERWISE = "express it with the layers and operations that docs/keras3.md lists"


def advice(kind: str) -> str:
    """A clause for the end of a refusal of ``kind``: a layer's class, or an operation such as ``nn.Conv``."""
    return OPERATIONS.get(kind) or LAYERS.get(kind) or OTHERWISE
