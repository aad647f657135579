"""The parameters of the layers that a spec can name; :mod:`driftline.networks.layers` builds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from driftline.spec.registry import Part, Registry


class Layer(Part):
    """One layer of a network. ``name`` is given by type and order (``linear1``, ``relu1``) where a spec names none.

    A ``frozen`` one keeps its weights while others are trained. ``units`` is the field that says how many units it has;
    ``can_be_identity`` whether it can start by letting rows through as they are in evaluation mode.
    """

    type: str = Field(description="names what this is")
    name: str | None = Field(
        None, pattern=r"^[A-Za-z_]\w{0,63}$", description="what edits call it; else its type and number"
    )
    frozen: bool = Field(False, description="whether it is left out of training")
    units: ClassVar[str | None] = None
    can_be_identity: ClassVar[bool] = False


LAYERS = Registry(Layer, __name__, tag="type")


class Adapter(Part):
    """A trained change of a frozen weight by a matrix of low ``rank`` (LoRA, Hu et al. 2021)."""

    rank: int = Field(ge=1, le=10_000, description="the rank of the change")


class Adaptable(Layer):
    """A layer whose weight may have an adapter: the weight then stays, and the adapter is trained."""

    adapter: Adapter | None = Field(None, description="a trained change of its weight, which itself stays")


class Linear(Adaptable):
    """``y = xW' + b`` over the last dimension."""

    type: Literal["linear"] = "linear"
    features: int = Field(ge=1, le=1_000_000, description="its units")
    bias: bool = Field(True, description="whether it adds a bias")
    units: ClassVar[str | None] = "features"
    can_be_identity: ClassVar[bool] = True


class Conv2d(Adaptable):
    """Two-dimensional convolution of rows ``[channels, height, width]``; ``[height, width]`` has one channel."""

    type: Literal["conv2d"] = "conv2d"
    channels: int = Field(ge=1, le=100_000, description="channels that it gives")
    kernel: int = Field(3, ge=1, le=1000, description="height and width of the kernel")
    stride: int = Field(1, ge=1, le=1000, description="steps between two places")
    padding: int | Literal["same", "valid"] = Field(
        "same", description="zeros around an image: as many, `same` size, or none (`valid`)"
    )
    bias: bool = Field(True, description="whether it adds a bias")
    units: ClassVar[str | None] = "channels"
    can_be_identity: ClassVar[bool] = True


class Embedding(Layer):
    """A learned vector of ``features`` numbers for each integer below ``count``; other integers share the last one.

    A ``sparse`` one is for many integers: an update reads and writes the vectors of its batch alone, and an integer that was
    never seen has the last vector until it comes, from which its own then starts. With ``expires`` one that has not come for so
    many labels is as if never seen.
    """

    type: Literal["embedding"] = "embedding"
    count: int = Field(ge=1, le=100_000_000, description="how many integers have a vector of their own")
    features: int = Field(ge=1, le=100_000, description="the numbers of a vector")
    sparse: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="whether an update changes the vectors of its batch alone",
    )
    expires: int | None = Field(
        None,
        ge=1,
        le=2**53,
        exclude_if=lambda value: value is None,
        description="the labels after which a vector that did not come in them is unknown again; of a sparse one",
    )
    units: ClassVar[str | None] = "features"

    @model_validator(mode="after")
    def _expires_by_rows(self) -> Embedding:
        if self.expires is not None and not self.sparse:
            raise ValueError("expires is of a sparse embedding: set sparse to true")
        return self


class BatchNorm(Layer):
    """Batch normalisation over the first dimension of a row (Ioffe & Szegedy 2015)."""

    type: Literal["batch_norm"] = "batch_norm"
    can_be_identity: ClassVar[bool] = True


class LayerNorm(Layer):
    """Layer normalisation over the last dimension (Ba et al. 2016)."""

    type: Literal["layer_norm"] = "layer_norm"


class MaxPool(Layer):
    """The largest number of each ``kernel`` × ``kernel`` square."""

    type: Literal["max_pool"] = "max_pool"
    kernel: int = Field(2, ge=1, description="height and width of a square")
    can_be_identity: ClassVar[bool] = True


class AveragePool(Layer):
    """The mean of each ``kernel`` × ``kernel`` square; without ``kernel``, of the whole image."""

    type: Literal["average_pool"] = "average_pool"
    kernel: int | None = Field(None, ge=1, description="height and width of a square; else the whole image")
    can_be_identity: ClassVar[bool] = True


class Flatten(Layer):
    """One dimension of all."""

    type: Literal["flatten"] = "flatten"
    can_be_identity: ClassVar[bool] = True


class Reshape(Layer):
    """The same numbers as rows of another ``shape``."""

    type: Literal["reshape"] = "reshape"
    shape: list[int] = Field(min_length=1, max_length=6, description="the new shape of a row")
    can_be_identity: ClassVar[bool] = True


class Dropout(Layer):
    """Zeroes a ``share`` of the numbers while training (Srivastava et al. 2014)."""

    type: Literal["dropout"] = "dropout"
    share: float = Field(0.5, ge=0, lt=1, description="the share of numbers that becomes zero")
    can_be_identity: ClassVar[bool] = True


def _layer(value: Any) -> Any:
    return value if isinstance(value, Layer) else LAYERS.parse(value)


class Blend(Part):
    """What an activation was before, and in how many updates it becomes what it is."""

    old: Annotated[SerializeAsAny[Layer], BeforeValidator(_layer)] = Field(description="the activation before")
    steps: int = Field(ge=1, le=10_000_000, description="updates that it takes")


class Activation(Layer):
    """An elementwise function. With ``blend`` it starts as another one."""

    blend: Blend | None = Field(None, description="the activation that it starts as")


class Relu(Activation):
    type: Literal["relu"] = "relu"


class LeakyRelu(Activation):
    type: Literal["leaky_relu"] = "leaky_relu"
    negative_slope: float = Field(0.01, ge=0, le=1, description="the slope below zero")


class Prelu(Activation):
    type: Literal["prelu"] = "prelu"
    can_be_identity: ClassVar[bool] = True


class Elu(Activation):
    type: Literal["elu"] = "elu"
    alpha: float = Field(1.0, gt=0, description="how far below zero it goes")


class Gelu(Activation):
    type: Literal["gelu"] = "gelu"


class Silu(Activation):
    type: Literal["silu"] = "silu"


class Tanh(Activation):
    type: Literal["tanh"] = "tanh"


class Sigmoid(Activation):
    type: Literal["sigmoid"] = "sigmoid"


class Softplus(Activation):
    type: Literal["softplus"] = "softplus"


if TYPE_CHECKING:
    LayerField: TypeAlias = Layer
else:
    LayerField = LAYERS.field()
