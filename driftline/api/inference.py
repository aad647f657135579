"""Messages of the Open Inference Protocol v2. A request is a struct, which its bytes are decoded to at full speed."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import msgspec
from msgspec import Meta
from typing_extensions import TypedDict

from driftline.api.message import closed, message

Parameters = dict[str, Any]


class InputTensor(msgspec.Struct, frozen=True):
    """One input of a request."""

    name: Annotated[str, Meta(description="The input's name.")]
    shape: Annotated[list[int], Meta(description="Its shape: rows, then the shape of a row.")]
    datatype: Annotated[str, Meta(description="`FP32`, `INT64`, …: any type whose numbers fit the model's.")]
    parameters: Annotated[Parameters, Meta(description="`binary_data_size`, where bytes follow the JSON.")] = {}
    data: Annotated[
        msgspec.Raw | msgspec.UnsetType,
        Meta(description="Its elements, flat or nested; without it bytes follow the JSON."),
    ] = msgspec.UNSET


class OutputRequest(msgspec.Struct, frozen=True):
    """An output that is asked for."""

    name: Annotated[
        str, Meta(description="`label`, `labels`, `probabilities`, `value`, `values`, `interval` or `prediction_id`.")
    ]
    parameters: Annotated[Parameters, Meta(description="`binary_data`: whether its bytes follow the JSON.")] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request; fields that the protocol's extensions add are passed over."""

    inputs: Annotated[list[InputTensor], Meta(description="A tensor for each of the model's inputs.")]
    id: Annotated[str, Meta(description="Comes back with the answer.")] = ""
    parameters: Annotated[
        Parameters,
        Meta(
            description="`binary_data_output`: whether outputs are bytes. `keys`: your own name of each row, in a list."
        ),
    ] = {}
    outputs: Annotated[list[OutputRequest], Meta(description="What is asked for; else all but `prediction_id`.")] = []


@message
class OutputTensor(TypedDict):
    """One output of an answer."""

    name: str
    """The output's name."""
    datatype: str
    """``FP32``, ``INT64`` or ``BYTES``."""
    shape: list[int]
    """Its shape."""
    parameters: NotRequired[Parameters]
    """``binary_data_size``, where its bytes follow the JSON."""
    data: NotRequired[list[Any]]
    """Its elements, flat; without it bytes follow the JSON."""


@closed
class InferAnswer(TypedDict):
    """The answer to infer."""

    model_name: str
    """The model's name."""
    model_version: str
    """The version that answered."""
    id: NotRequired[str]
    """The request's id."""
    parameters: NotRequired[Parameters]
    """``prediction_id``: the id of each row's prediction, with commas between them."""
    outputs: list[OutputTensor]
    """The outputs."""


@message
class TensorDescription(TypedDict):
    """An input or output of a model."""

    name: str
    """Its name."""
    datatype: str
    """Its type."""
    shape: list[int]
    """Its shape; -1 stands for any number of rows."""


@message
class ModelDescription(TypedDict):
    """A model, as the protocol describes it."""

    name: str
    """The model's name."""
    versions: list[str]
    """Its kept versions."""
    platform: str
    """What it runs on."""
    inputs: list[TensorDescription]
    """Its inputs."""
    outputs: list[TensorDescription]
    """Its outputs."""


@message
class ServerDescription(TypedDict):
    """The server, as the protocol describes it."""

    name: str
    """Its name."""
    version: str
    """The version of Driftline."""
    extensions: list[str]
    """The extensions of the protocol that it knows."""


@message
class LiveProbe(TypedDict):
    """Whether the process is alive."""

    live: bool
    """It is."""


@message
class ReadyProbe(TypedDict):
    """Whether the server, or a model, can answer."""

    ready: bool
    """It can."""
