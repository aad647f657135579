"""Networks by name, for those who do not want to choose layers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from driftline.spec.parts.layers import LAYERS, Layer
from driftline.spec.registry import Part


class Preset(Part):
    """``mlp``: hidden layers of ``hidden`` units with relu. ``cnn``: a block of 3 × 3 convolutions for each number in
    ``channels``, halving the image, and then the same; for rows ``[height, width]`` or ``[channels, height, width]``.
    """

    preset: Literal["mlp", "cnn"] = Field(description="which network: fully connected, or convolutional")
    hidden: list[Annotated[int, Field(ge=1, le=100_000)]] = Field(
        [128, 64], max_length=50, description="the units of each hidden layer"
    )
    channels: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        [16, 32], min_length=1, max_length=20, description="the channels of each convolution, of `cnn`"
    )

    def layers(self) -> list[Layer]:
        """The layers that the name stands for, before the output."""
        found: list[dict[str, object]] = []
        if self.preset == "cnn":
            for channels in self.channels:
                found += [{"type": "conv2d", "channels": channels}, {"type": "relu"}, {"type": "max_pool"}]
        found.append({"type": "flatten"})
        for features in self.hidden:
            found += [{"type": "linear", "features": features}, {"type": "relu"}]
        return [LAYERS.parse(layer) for layer in found]
