"""One version of a model, ready to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from driftline.networks.input_tensors import input_tensors
from driftline.networks.served_model import ServedModel
from driftline.rows.rows import Rows
from driftline.settings import Settings
from driftline.spec import Factory, ModelSpec

from .field_tensors import FieldTensors
from .inference_protocol import Tensors
from .json_rows import BodyDecoder


@dataclass(frozen=True)
class Limits:
    """How a model is served: most rows a batch, seconds that a batch waits for more of them, seconds until an answer is
    late, most rows that wait, and the share of batches that are recorded."""

    max_batch: int
    max_wait: float
    deadline: float
    max_queue: int
    record_share: float

    @classmethod
    def of(cls, spec: ModelSpec, settings: Settings) -> Limits:
        """What the spec says, and else the settings."""
        given = spec.serving.model_dump(exclude_none=True)
        share = {"all": 1.0, "none": 0.0, "sample": given.get("record_share", settings.record_share)}
        return cls(
            max_batch=given.get("max_batch", settings.max_batch),
            max_wait=given.get("max_wait", 0.0),
            deadline=given.get("deadline", settings.predict_timeout),
            max_queue=given.get("max_queue", settings.max_queue),
            record_share=share[given.get("record", settings.record)],
        )


@dataclass(frozen=True)
class Snapshot:
    """One version, ready to answer. Immutable: a swap replaces it.

    ``raw_spec`` is the spec as the manifest holds it. ``decision_factors`` ``[classes]`` are what probabilities are multiplied
    by before the class of the largest is answered; None: they count as they are. ``failure`` is what its network raised in
    warm-up; None: nothing. ``offset`` is the number of the newest record that the version has learned.
    """

    uid: str
    version: int
    spec: ModelSpec
    raw_spec: dict[str, Any]
    classes: Sequence[int | str]
    module: ServedModel
    device: torch.device
    limits: Limits
    decision_factors: NDArray[np.float64] | None = None
    failure: str | None = None
    offset: int = 0

    @cached_property
    def may_hold_loop(self) -> bool:
        """Whether it computes here and at once: on the CPU, by layers that are not of a user's own."""
        return self.device.type == "cpu" and not isinstance(self.spec.network, Factory)

    @cached_property
    def body(self) -> BodyDecoder:
        """Parses the body of a predict call."""
        return BodyDecoder(self.spec)

    @cached_property
    def tensors(self) -> Tensors | FieldTensors:
        """Reads the inputs of an infer call."""
        return Tensors(self.spec) if self.spec.fields is None else FieldTensors(self.spec.fields)

    @cached_property
    def label_texts(self) -> list[bytes]:
        """Each class as JSON; ``null`` stands last, for no class at all."""
        return [*map(msgspec.json.encode, self.classes), b"null"]

    @cached_property
    def answer_head(self) -> bytes:
        """The beginning of the JSON of every answer."""
        name, classes = msgspec.json.encode(self.spec.name), b",".join(self.label_texts[:-1])
        classes = b'"classes":[%b],' % classes if self.spec.kind.has_classes else b""
        return b'{"model":%b,"version":%d,%b"predictions":[' % (name, self.version, classes)

    def compute(self, rows: Rows) -> tuple[NDArray[np.float32], bytes]:
        """Probabilities ``[rows, classes]``, or values of a regression with the ends of their intervals ``[rows, width]``; and
        their traces, if they have any."""
        with torch.inference_mode():
            outputs, trace = self.module.answer(input_tensors(self.spec, rows.tensors))
            return outputs.numpy(), b"" if trace is None else trace.numpy().tobytes()
