"""What a retrain would give, and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from driftline.learning.reports.evaluation import cost
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.recipe_changes import NO_VERSIONS, Versions, examples_an_update
from driftline.networks.describe import describe_edits
from driftline.networks.edit_session import Sources
from driftline.networks.model import Model
from driftline.networks.price import UNLIMITED, ModelBudget
from driftline.networks.sequential import example_rows


def dry_run(
    before: Model,
    retrain_plan: RetrainPlan,
    epochs: int,
    examples: int,
    factories: Collection[str],
    versions: Versions = NO_VERSIONS,
    budget: ModelBudget = UNLIMITED,
) -> dict[str, Any]:
    """What a retrain of ``before`` would give, and cost; nothing is changed.

    Args:
        examples: how many there are at most to train on.
        versions: the weights of those that the retrain plan names.
        budget: what the model may take.

    Returns:
        ``before`` and ``after`` as :func:`driftline.networks.describe.describe` gives them, ``keeps_function``, and
        ``training``: ``examples``, ``updates`` at most, and ``flops``, the operations of all of these: a backward pass counts
        twice a forward one. With a race also ``race``: of each entry what
        :func:`driftline.learning.reports.evaluation.cost` gives, and ``keeps_function``; ``after`` is what all of them begin
        with.

    Raises:
        InvalidInput: the recipe, an edit or an entry does not fit.
    """
    sources = Sources(versions, example_rows(retrain_plan.spec), budget=budget)
    found = describe_edits(retrain_plan.edits, dataclasses.replace(before, spec=retrain_plan.spec), sources)
    specs, costs = [], []
    for edited in retrain_plan.models(before.classes, before.module, sources, factories):
        specs.append(edited.spec)
        size = cost(edited.model)
        costs.append({**size, "keeps_function": edited.keeps_function})
    retrain_plan.check_examples(examples)
    halving = retrain_plan.budget(specs, examples, epochs)
    flops = [3 * size["flops"] * examples_an_update(spec) for size, spec in zip(costs, specs, strict=True)]
    training = {"examples": examples, "updates": halving.most([1] * len(specs)), "flops": halving.most(flops)}
    rows = [{**entry.as_json(), **size} for entry, size in zip(retrain_plan.entries, costs, strict=True)]
    return {**found, **({"race": rows} if len(rows) > 1 else {}), "training": training}
