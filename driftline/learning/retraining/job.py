"""A retrain job: trials over the examples, and distilled from the champion, that it was given when it was forked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch

from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.successive_halving import SuccessiveHalving
from driftline.learning.retraining.trial import Trial
from driftline.learning.stateful import State, Stateful, part
from driftline.learning.training.train_state import ReferenceModels
from driftline.networks.build import rebuilt
from driftline.networks.clone import sibling
from driftline.networks.edit_session import EditSession
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.serving import continued
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import ClassTable, added, are_in_place, class_indices


class RetrainJob(Stateful):
    """Trials over the examples of a job, most often a single one; ``learned_meanwhile`` is what the stream has learned since.

    ``classes`` are those of the stream at the fork.
    ``is_waiting``: it is done, and it has been said that it waits for a promotion.
    """

    STATE = ("job", "classes", "halving", "learned_meanwhile", "examples", "teacher")
    DERIVED = ("is_waiting", "max_learned", "max_compared")

    def __init__(
        self,
        job: str,
        halving: SuccessiveHalving,
        teacher: Model,
        classes: Sequence[int | str],
        *,
        max_learned: int = 20_000,
        max_compared: int = 500,
    ) -> None:
        self.job = job
        self.halving = halving
        self.classes = list(classes)
        self.learned_meanwhile = halving.examples.take(slice(0, 0))
        self.is_waiting = False
        self.teacher = teacher
        self.max_learned, self.max_compared = max_learned, max_compared
        self._refer_to_teacher()

    def _refer_to_teacher(self) -> None:
        for trial in self.halving.trials:
            reference = answering(self.teacher, trial.course.classes)
            trial.course.state.references = ReferenceModels(reference, reference)

    @classmethod
    def fork(
        cls,
        job: str,
        retrain_plan: RetrainPlan,
        models: Sequence[Model],
        examples: Examples,
        epochs: int,
        seed: int,
        teacher: Model,
        stream: Course,
    ) -> RetrainJob:
        """A job over what a retrain plan makes of the stream's model, with what its weight hooks need of the stream.

        Args:
            examples: those of a class that some model does not answer are left out.

        Raises:
            InvalidInput: there are too few examples to judge a race by.
        """
        table = stream.state.table
        for model in models:
            model.module.set_class_ids(table.add(model.classes))
        examples = examples.answered_by(*(model.module for model in models))
        budget = retrain_plan.budget([model.spec for model in models], len(examples), epochs)
        pairs = zip(budget.rung_schedules, models, strict=True)
        trials = [
            Trial(number, rung_schedule, model, table, seed) for number, (rung_schedule, model) in enumerate(pairs)
        ]
        for trial in trials:
            trial.course.state.count(examples)
            trial.course.weight_hooks.inherit(stream.weight_hooks)
        halving = SuccessiveHalving(
            [entry.as_json() for entry in retrain_plan.entries], trials, budget.keeps, examples, seed
        )
        if len(trials) > 1:
            retrain_plan.check_examples(halving.split.distinct)
        return cls(job, halving, teacher, stream.classes)

    @property
    def examples(self) -> Examples:
        """Those that the job was given."""
        return self.halving.examples

    @property
    def course(self) -> Course:
        """That of the winner; while there is none yet, of the first trial that runs."""
        return self.halving.leader.course

    @property
    def is_done(self) -> bool:
        return self.halving.is_done

    @property
    def progress(self) -> float:
        """The share of the updates that are made, 0 to 1. Where a race costs less than it can, it leaps."""
        return self.progress_after(0)

    def progress_after(self, updates: int) -> float:
        """The progress when so many more updates are made."""
        done, left = self.halving.done, self.halving.left
        return min(1.0, (done + updates) / (done + left)) if left else 1.0

    def advance(self, updates: int) -> None:
        """Makes some of the updates that are left.

        Raises:
            TrainingFailed: no trial is left.
        """
        for _ in range(updates):
            if not self.is_done:
                self.halving.advance()

    def parts(self, count: int) -> list[RetrainJob]:
        """What can be trained at the same time, in ``count`` parts at most: the trials of a race, up to the next rung.

        One alone is all that is left of the job.
        """
        halvings = self.halving.parts(count)
        if len(halvings) < 2:
            return [self]
        found = [copy.copy(self) for _ in halvings]
        for part_of_it, halving in zip(found, halvings, strict=True):
            part_of_it.halving = halving
        return found

    def take_trained(self, states: Sequence[State], table: ClassTable, factories: Sequence[str]) -> None:
        """Goes on from what the ``halving`` of each of its :meth:`parts` has come to in another process: their states.

        Raises:
            TrainingFailed: no trial is left.
        """
        parts = [SuccessiveHalving.from_state(state, self.examples, table, factories) for state in states]
        self.halving = self.halving.joined(parts)
        self._refer_to_teacher()

    def observe(self, examples: Examples, is_live: Sequence[bool]) -> None:
        """Notes what the stream learns meanwhile, and which of it the model was served to; the newest are kept."""
        noted = examples.noted(is_live=torch.tensor(is_live, dtype=torch.float32).unsqueeze(1))
        self.learned_meanwhile = _last(self.learned_meanwhile.joined(noted), self.max_learned)

    def revise(self, corrected: Examples) -> None:
        """Gives what the stream has learned meanwhile the labels that it has now."""
        self.learned_meanwhile = self.learned_meanwhile.revised(corrected)

    def newest(self, count: int) -> Examples:
        """Once it has rejoined, the newest that were learned, here or by the stream meanwhile; ``count`` at most."""
        both = _last(self.examples, count).joined(_last(self.learned_meanwhile, count))
        return _last(both, count)

    def rejoin(self, stream: Course, remembered: Examples) -> Comparison | None:
        """Makes the updates that are left, catches up with the stream, and takes over what is kept beside the network.

        Gives how the winner did on what has arrived meanwhile, before it learned that.

        Args:
            remembered: what the stream's replay buffer keeps.

        Raises:
            TrainingFailed: no trial is left.
        """
        while not self.is_done:
            self.halving.advance()
        new = added(self.course.classes, stream.classes[len(self.classes) :])
        compared = self._compare_learned_meanwhile(stream, new)
        self.course.add_classes(new)
        self.learned_meanwhile = self.learned_meanwhile.answered_by(self.course.module)
        self.halving.leader.go_through(self.learned_meanwhile)
        self.course.renew_strategy(stream.strategy, stream.classes, remembered.answered_by(self.course.module))
        self.course.take_encoder(stream)
        return compared

    def _compare_learned_meanwhile(self, stream: Course, new: Sequence[int | str]) -> Comparison | None:
        """The winner and the champion of the fork, on the newest live labels since: neither was trained on these.

        None where their strategies differ, or a mixture is served and their classes differ: the winner gets its own at the end.
        Labels of classes that the job has removed are left out.
        """
        own = self.course
        has_same_classes = are_in_place(class_indices(stream.classes, [*own.classes, *new]))
        is_other_strategy = self.teacher.spec.strategy != own.spec.strategy
        is_other_mixture = self.teacher.module.experts is not None and not has_same_classes
        if is_other_strategy or is_other_mixture or not len(self.learned_meanwhile):
            return None
        targets = self.learned_meanwhile.targets
        stays = own.module.answers(targets)
        if new:
            stays |= torch.isin(targets, torch.tensor(own.state.table.add(new)))
        is_live = self.learned_meanwhile.notes["is_live"][:, 0] > 0
        live = _last(self.learned_meanwhile.take(is_live & stays), self.max_compared)
        candidate = beside(self.teacher, own.candidate(), own.spec)
        ours, others = (gate.errors(module, live, in_order=False) for module in (candidate, self.teacher.module))
        return Comparison("labels since the fork", ours, others)

    def report(self, newer: Mapping[int, Any] | None = None) -> dict[str, Any]:
        """What is to be told of the job beside the gate's decision: the table of its ``halving``, if it is one.

        ``newer`` are the rows of it that processes have told since.
        """
        if len(self.halving.entries) < 2:
            return {}
        return {"race": list({**self.halving.table(), **(newer or {})}.values())}

    def packed(self, name: str) -> Any:
        if name == "teacher":
            described = {"spec": self.teacher.spec.model_dump(mode="json"), "classes": self.teacher.classes}
            return State(dict(self.teacher.module.state_dict()), described)
        return super().packed(name)

    @classmethod
    def from_state(cls, state: State, table: ClassTable, factories: Sequence[str]) -> RetrainJob:
        """The job that :meth:`state_dict` described."""
        examples = Examples.from_tensors(part(state.tensors, "examples"))
        halving = SuccessiveHalving.from_state(state.below("halving"), examples, table, factories)
        teacher = state.below("teacher")
        spec, classes = parse(ModelSpec, teacher.data["spec"]), list(teacher.data["classes"])
        champion = Model(spec, classes, rebuilt(spec, classes, teacher.tensors, factories))
        champion.module.set_class_ids(table.add(classes))
        found = cls(state.data["job"], halving, champion, state.data["classes"])
        found.learned_meanwhile = Examples.from_tensors(part(state.tensors, "learned_meanwhile"))
        return found


def beside(champion: Model, module: ServedModel, spec: ModelSpec) -> ServedModel:
    """A copy of a network, of a ``spec``, with what the champion served beside its own.

    It answers the champion's classes and maybe more.
    """
    whole, experts = sibling(module), champion.module.experts
    whole.take_error_unit(champion.module.error_unit)
    whole.experts = continued(experts, spec) if isinstance(experts, Mixture | RegressionMixture) else None
    if isinstance(whole.experts, Mixture) and module.width > champion.module.width:
        whole.experts.add_classes(module.width - champion.module.width)
    return whole


def answering(champion: Model, classes: Sequence[int | str]) -> ServedModel:
    """The champion's network with these classes as its outputs, up to the first that it does not know: what is held to it
    counts by index.
    """
    rows = list(takewhile(lambda index: index is not None, class_indices(classes, champion.classes)))
    if rows == list(range(len(champion.classes))):
        return champion.module
    session = EditSession(champion)
    session.rehead(rows)
    session.after.experts = None
    return session.finish(keeps_function=False).module


def _last(examples: Examples, count: int) -> Examples:
    return examples.take(slice(max(0, len(examples) - count), len(examples)))
