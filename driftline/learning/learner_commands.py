"""What an admin's commands and a retrain job's end do to a learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.promotion.gate import Comparison, Decision
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.recipe_changes import (
    NO_VERSIONS,
    Versions,
    check_fit,
    checked_recipe,
    with_recipe,
)
from driftline.learning.sifting import SiftingLearner
from driftline.learning.step_result import StepResult
from driftline.networks import pretrained
from driftline.networks.build import build
from driftline.networks.clone import sibling
from driftline.networks.edit_session import Sources
from driftline.networks.model import Model
from driftline.records import Item
from driftline.spec import ModelSpec
from driftline.spec.classes import class_indices


class CommandedLearner(SiftingLearner):
    """A learner whose model is changed from outside: promoted, rolled back, retrained, or learning by another recipe."""

    def promote(self, version: int) -> None:
        """Makes the present weights the champion, as version ``version``, whatever the gate would say.

        Raises:
            InvalidInput: they are not finite.
        """
        if not self.course.candidate().is_finite():
            raise InvalidInput("the weights are not finite; roll back", code="not_finite", field="model")
        self.promotion.watch_promotion(version, self.spec, self.classes)
        self._set_champion()

    def rollback(
        self, spec: ModelSpec, classes: Sequence[int | str], weights: Mapping[str, Tensor], version: int
    ) -> None:
        """Restarts, as version ``version``, from other weights, with a fresh optimizer; a running job goes.

        Memory, holdout and detectors stay, and so do the classes that have come since, behind those of the weights.
        The recipe stays too: it is how the model learns from here on, and not what it was. Only where it does not fit the
        former network, as when it names layers that were not there, the former recipe comes with it.
        """
        former, before = self.classes, self.spec
        recipe = before.recipe.reclassed(class_indices(former, classes))
        spec = with_recipe(spec, classes, recipe, self.factories)
        module = build(spec, classes, factories=self.factories, seed=0)
        pretrained.load(module, weights)
        self.course.restart(Model(spec, list(classes), module))
        self._follow_fields(before)
        self._follow_classes(former, version)
        self._follow_recipe()
        self._set_champion()
        self.promotion.dismiss()
        self.monitor.label_selection.begin_again()
        self.retraining = None

    def change_recipe(self, changes: Mapping[str, Any], versions: Versions = NO_VERSIONS) -> None:
        """Merges changes over the recipe, and over a running job's; :class:`InvalidInput` where they do not fit.

        ``versions`` are the weights of those that the changes name.
        """
        former, trials = self.spec, self.retraining.halving.trials if self.retraining else []
        courses = [self.course, *(trial.course for trial in trials)]
        specs = [checked_recipe(course.spec, changes, versions, self.factories) for course in courses]
        for course, spec in zip(courses, specs, strict=True):
            check_fit(spec, course.module)
        for course, spec in zip(courses, specs, strict=True):
            course.follow_recipe(spec, self.replay_buffer.examples.answered_by(course.module))
            self._remind(course, versions)
        for trial in trials:
            trial.course.leave_experts()
        self._follow_recipe()
        if (former.strategy, former.recipe.decide) != (self.spec.strategy, self.spec.recipe.decide):
            self._set_champion()

    def retrain(
        self,
        job: str,
        recipe: Mapping[str, Any],
        edits: Sequence[dict[str, Any]],
        epochs: int,
        examples: Sequence[Item],
        versions: Versions = NO_VERSIONS,
        race: Sequence[Any] = (),
    ) -> None:
        """Forks a job that trains on the memory and on ``examples``, without what is held out.

        ``versions`` are the weights of those that recipes and edits name; ``race`` are the entries to compare, if any are.

        Raises:
            InvalidInput: the recipe, an edit or an entry does not fit.
        """
        retrain_plan = RetrainPlan.of(self.spec, recipe, edits, race)
        retrain_plan.check_versions(versions)
        past = self.trainable(examples)
        past = past.with_inputs(self.module.with_ordered_statistics(past.inputs, past.targets, past.weights))
        both = self.replay_buffer.examples.joined(past)
        self.retraining = self._forked(job, retrain_plan, both, epochs, versions)

    def _forked(
        self, job: str, retrain_plan: RetrainPlan, examples: Examples, epochs: int, versions: Versions = NO_VERSIONS
    ) -> RetrainJob:
        known = len(self.class_table)
        try:
            return self._fork(job, retrain_plan, examples, epochs, versions)
        except InvalidInput:
            self.class_table.forget_since(known)
            raise

    def _fork(
        self, job: str, retrain_plan: RetrainPlan, examples: Examples, epochs: int, versions: Versions
    ) -> RetrainJob:
        bare, champion, seed = sibling(self.module), self.promotion.champion, self.seed + self.learned + 1
        # What is served beside the network is the stream's, and can be large: no trial carries it along.
        bare.experts = None
        sources = Sources(self._in_order(versions), self.replay_buffer.examples.inputs, self.promotion.held_out_error)
        models = [edited.model for edited in retrain_plan.models(self.classes, bare, sources, self.factories)]
        teacher = Model(self.spec, self.classes_of(champion), champion)
        forked = RetrainJob.fork(job, retrain_plan, models, examples, epochs, seed, teacher, self.course)
        for trial in forked.halving.trials:
            self._remind(trial.course, versions)
        return forked

    def finish(self, version: int, is_promoted: bool = False) -> StepResult:
        """Ends the running job: its last updates, what has arrived meanwhile, and the gate; a promoted one is gone on with.

        Args:
            version: the number that it gets when it is promoted.
            is_promoted: an admin has decided already.

        Raises:
            InvalidInput: no job is running.
        """
        job = self.retraining
        if job is None:
            raise InvalidInput("no retrain job is running", code="no_job")
        latest = job.rejoin(self.course, self.replay_buffer.examples)
        decision = Decision(True, "promoted") if is_promoted else self._judged(job.course, latest)
        if decision.promoted:
            self._take_over(job.course, version)
        self.retraining = None
        return StepResult(decision=decision)

    def _judged(self, course: Course, latest: Comparison | None) -> Decision:
        return self.promotion.compare(course.candidate(), self.learned, latest)[0]

    def _take_over(self, course: Course, version: int) -> None:
        """Goes on with a job's course, whose weights become version ``version``."""
        former, spec = self.classes, self.spec
        self.promotion.watch_promotion(version, spec, former)
        self.course = course
        self._follow_fields(spec)
        self._follow_classes(former, version)
        self._follow_recipe()
        self._set_champion()

    def cancel(self) -> None:
        """Ends the running job without a trace."""
        self.retraining = None
