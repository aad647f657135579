"""How a model is trained on what it is told: the strategies that a recipe can name."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from driftline.spec.registry import Part, Registry


class Strategy(Part):
    """Parameters of a strategy. ``serves_experts``: a mixture of experts is served beside the network, in the same module."""

    name: str
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel", "regression"})
    serves_experts: ClassVar[bool] = False


class Agem(Strategy):
    """Takes from each gradient what would raise the loss of the memory (A-GEM, Chaudhry et al. 2019).

    ``replayed`` examples from memory give the gradient that it is compared with.
    """

    name: Literal["agem"] = "agem"
    replayed: int = Field(64, ge=1, le=100_000, description="examples from memory for the gradient to compare with")


class Der(Strategy):
    """Replays what the network once answered beside the labels (DER++, Buzzega et al. 2020).

    ``alpha`` weighs the distance to the logits of then, ``beta`` the loss of the replayed labels.
    """

    name: Literal["der"] = "der"
    replayed: int = Field(64, ge=1, le=100_000, description="examples from memory for each update")
    alpha: float = Field(0.3, ge=0, le=100, description="the weight of the distance to former logits")
    beta: float = Field(0.7, ge=0, le=100, description="the weight of the loss of replayed labels")


class Ewc(Strategy):
    """Holds on to the weights that mattered (online EWC, Schwarz et al. 2018, after Kirkpatrick et al. 2017).

    The penalty is ``strength / 2 · Σ F (θ − θ*)²``. Every ``every`` labels the weights of then become ``θ*``; the importance
    ``F`` is the mean squared gradient, of which a share of ``decay`` is kept from one time to the next.
    """

    name: Literal["ewc"] = "ewc"
    strength: float = Field(100.0, ge=0, le=1e9, description="how strongly weights are held")
    decay: float = Field(0.9, ge=0, le=1, description="the share of the importance that stays")
    every: int = Field(512, ge=1, le=1_000_000, description="labels between two references")


class Experts(Strategy):
    """Serves the network in a mixture: with trees, linear models, small networks, neighbours and what the labels alone say.

    The network is trained by replay; the others learn by their own rules. The weights follow how each had predicted, as
    served, so that a drift moves weight at once instead of after retraining. Rows of more than 4,096 numbers are left to the
    network alone. What the mixture was before drift was detected sleeps, and is gone on with where it is true again.
    """

    name: Literal["experts"] = "experts"
    replayed: int = Field(64, ge=1, le=100_000, description="examples from memory for each update")
    sleeping: int = Field(
        6, ge=0, le=64, description="former mixtures that sleep at most, to be woken when a concept returns; 0: none"
    )
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    serves_experts: ClassVar[bool] = True


class Finetune(Strategy):
    """Trains on what is new and remembers nothing: the base line of continual learning."""

    name: Literal["finetune"] = "finetune"


class Gdumb(Strategy):
    """Trains on the memory alone, and from new weights after an alarm (GDumb, Prabhu et al. 2020).

    An alarm is followed by ``epochs`` rounds through the memory. Between alarms each update takes ``replayed`` of its
    examples.
    """

    name: Literal["gdumb"] = "gdumb"
    replayed: int = Field(64, ge=1, le=100_000, description="examples from memory for each update")
    epochs: int = Field(10, ge=1, le=1000, description="rounds through the memory after an alarm")


class Lwf(Strategy):
    """Keeps answering as an older champion did (LwF, Li & Hoiem 2016): new labels, and distillation on the new inputs.

    ``strength`` weighs the distillation, at ``temperature`` (Hinton et al. 2015); in a regression it is the squared distance.
    """

    name: Literal["lwf"] = "lwf"
    strength: float = Field(1.0, ge=0, le=100, description="the weight of the distillation")
    temperature: float = Field(2.0, gt=0, le=100, description="what softens both answers")


class Replay(Strategy):
    """New labels with as many again, or more, from memory (ER, Chaudhry et al. 2019)."""

    name: Literal["replay"] = "replay"
    replayed: int = Field(64, ge=1, le=100_000, description="examples from memory for each update")


STRATEGIES = Registry(Strategy, __name__)
