"""The losses that a recipe can name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from driftline.spec.classes import are_in_place
from driftline.spec.parse import FUNCTION_PATTERN
from driftline.spec.registry import Part, Registry

CLASSIFICATION = frozenset({"classification"})
MULTILABEL = frozenset({"multilabel"})
REGRESSION = frozenset({"regression"})


class Loss(Part):
    """What training makes small. ``tasks`` are those it is for."""

    name: str
    tasks: ClassVar[frozenset[str]]

    def reclassed(self, indices: Sequence[int | None]) -> Loss:
        """The same loss for classes with other indices (:func:`driftline.spec.classes.class_indices`)."""
        return self

    def check(self, classes: int | None) -> None:
        """:class:`ValueError` where it does not fit so many classes; None is any number of them."""


class BinaryCrossEntropy(Loss):
    """One class against the rest: the binary cross-entropies of all logits, summed (Rifkin & Klautau 2004)."""

    name: Literal["bce"] = "bce"
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION | MULTILABEL


class ClassBalanced(Loss):
    """Cross-entropy weighted by ``(1 - beta) / (1 - beta^n)``, with ``n`` labels of a class so far (Cui et al. 2019).

    The weights of the classes that have been seen are 1 on average.
    """

    name: Literal["class_balanced"] = "class_balanced"
    beta: float = Field(0.999, ge=0, lt=1, description="how much a class with few labels counts more; near 1 the most")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION


class CrossEntropy(Loss):
    """``-log p(label)``, the label's share smoothed by ``smoothing`` (Szegedy et al. 2016).

    ``weights`` are those of the classes, in their order; 1 for those after the last.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    smoothing: float = Field(0.0, ge=0, lt=1, description="the share of a label that is spread over all classes")
    weights: list[Annotated[float, Field(ge=0, le=1e6)]] = Field(
        [], max_length=100_000, description="the weights of the classes, in their order; 1 after the last"
    )
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def reclassed(self, indices: Sequence[int | None]) -> CrossEntropy:
        if are_in_place(indices):
            return self
        weight_of = {index: weight for index, weight in zip(indices, self.weights, strict=False) if index is not None}
        weights = [weight_of.get(index, 1.0) for index in range(max(weight_of, default=-1) + 1)]
        return self.model_copy(update={"weights": weights})

    def check(self, classes: int | None) -> None:
        if classes is not None and len(self.weights) > classes:
            raise ValueError(f"recipe.loss.weights: there are {len(self.weights)} weights for {classes} classes")


class Custom(Loss):
    """``function(outputs, targets, **arguments)``, which gives the loss of each row ``[batch]``.

    Only what the operator lists in ``DRIFTLINE_FACTORIES``.
    """

    name: Literal["custom"] = "custom"
    function: str = Field(
        pattern=FUNCTION_PATTERN,
        description="the loss, as `package.module:function`; the operator lists what is allowed",
    )
    arguments: dict[str, Any] = Field({}, description="what the function is called with, beside outputs and targets")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION | MULTILABEL | REGRESSION


class Focal(Loss):
    """``-(1 - p)^gamma log p``: what is easy counts less (Lin et al. 2017, equation 4).

    Of a multi-label model the sum over its classes, each present or not, as in that paper.
    """

    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0, le=10, description="how much less counts what is easy")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION | MULTILABEL


class GeneralizedCrossEntropy(Loss):
    """``(1 - p^q) / q``, which wrong labels pull less than cross-entropy (Zhang & Sabuncu 2018, equation 6).

    ``q`` near 0 is cross-entropy, 1 the absolute error.
    """

    name: Literal["generalized_cross_entropy"] = "generalized_cross_entropy"
    q: float = Field(0.7, ge=0.001, le=1, description="near 0 cross-entropy, at 1 the absolute error")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION


class Hinge(Loss):
    """How far the label's logit is from ``margin`` above the highest other one (Crammer & Singer 2001)."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0, le=1000, description="how far above the highest other logit the label's must be")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION


class LogitAdjusted(Loss):
    """Cross-entropy of ``logits + temperature · log prior`` (Menon et al. 2021, equation 10).

    What is served are the logits alone: the answer is then as good on rare classes as on frequent ones. The prior is the
    share of each class among the labels so far, and that of one never seen as if it came next.
    """

    name: Literal["logit_adjusted"] = "logit_adjusted"
    temperature: float = Field(1.0, ge=0, le=10, description="how much the prior counts")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION


class SymmetricCrossEntropy(Loss):
    """``alpha · H(label, p) + beta · H(p, label)``: learns from clean labels, and bears wrong ones (Wang et al. 2019)."""

    name: Literal["symmetric_cross_entropy"] = "symmetric_cross_entropy"
    alpha: float = Field(0.1, ge=0, le=100, description="the weight of cross-entropy")
    beta: float = Field(1.0, ge=0, le=100, description="the weight of the reverse cross-entropy")
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION


class Quantile(Loss):
    """``max(q · (t - y), (q - 1) · (t - y))``: the answer is that ``quantile`` of the targets (Koenker & Bassett 1978)."""

    name: Literal["quantile"] = "quantile"
    quantile: float = Field(0.5, gt=0, lt=1, description="which quantile of the targets is answered")
    tasks: ClassVar[frozenset[str]] = REGRESSION


class SquaredError(Loss):
    """``(y - t)²``."""

    name: Literal["mse"] = "mse"
    tasks: ClassVar[frozenset[str]] = REGRESSION


class AbsoluteError(Loss):
    """``|y - t|``."""

    name: Literal["mae"] = "mae"
    tasks: ClassVar[frozenset[str]] = REGRESSION


class Huber(Loss):
    """Quadratic up to ``delta``, linear beyond: outliers pull no harder than that (Huber 1964)."""

    name: Literal["huber"] = "huber"
    delta: float = Field(1.0, gt=0, description="the error from which on it is linear")
    tasks: ClassVar[frozenset[str]] = REGRESSION


LOSSES = Registry(Loss, __name__)
