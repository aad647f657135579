"""What trials are judged by: the model's own measure, whatever losses they are trained with."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.monitoring.stream_metrics import label_log_loss, log_loss
from driftline.learning.promotion.gate import class_shares, errors_of
from driftline.networks.served_model import ServedModel, evaluating

CHUNK = 256


@torch.no_grad()
def evaluate(module: ServedModel, examples: Examples, rows: Tensor) -> dict[str, float]:
    """``accuracy`` and ``log_loss`` of the answers to some ``rows`` of the examples, where the recipe decides ``balanced`` the
    accuracy in which every class counts alike; of a multi-label model ``hamming_loss``
    and ``log_loss``, of a regression ``mae`` and ``rmse``.
    """
    chunks = (examples.take(some) for some in torch.split(rows, CHUNK))
    outputs = torch.cat([evaluating(module).predict(chunk.inputs, in_order=False) for chunk in chunks])
    targets = module.positions(examples.targets[rows])
    error = errors_of(module, outputs, targets).double()
    if module.is_regression:
        return {"mae": float(error.mean()), "rmse": float((error**2).mean().sqrt())}
    if module.is_multilabel:
        return {"hamming_loss": float(error.mean()), "log_loss": label_log_loss(outputs.numpy(), targets.numpy())}
    if module.prior is not None:
        error *= class_shares(targets)
    return {"accuracy": float((1 - error).mean()), "log_loss": log_loss(_likelihoods(outputs, targets))}


def _likelihoods(outputs: Tensor, targets: Tensor) -> list[float]:
    """The probability that each label was given; 0 for a class that is not answered, and where it is not a number."""
    # One more column stands for every class that is not answered.
    padded = torch.nn.functional.pad(torch.nan_to_num(outputs), (0, 1))
    found: list[float] = padded.gather(1, targets.clamp(max=outputs.shape[1]).unsqueeze(1))[:, 0].tolist()
    return found


def rank(scores: dict[str, float]) -> tuple[float, float]:
    """Sorts scores, the best first: by the accuracy, then the log loss; by the Hamming loss, then the log loss; by the absolute
    error, then the squared one.
    """
    if "accuracy" in scores:
        return -scores["accuracy"], scores["log_loss"]
    if "hamming_loss" in scores:
        return scores["hamming_loss"], scores["log_loss"]
    return scores["mae"], scores["rmse"]
