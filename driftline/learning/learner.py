"""One model's learning: a deterministic function of its state, the items and the plan."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from driftline.classes import are_in_place, class_indices, indices_of
from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.learning.labelled_batch import LabelledBatch, refused, usable
from driftline.learning.monitoring.monitor import Alarm, Monitor
from driftline.learning.promotion.controller import Candidate, PromotionController
from driftline.learning.promotion.gate import Comparison, Decision, is_finite
from driftline.learning.replay.buffers import ReplayBuffer
from driftline.learning.retraining.job import RetrainJob, Teacher
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.recipe_changes import NO_VERSIONS, Versions, check_fit, checked_recipe, with_recipe
from driftline.learning.stateful import State, named, part
from driftline.learning.step_result import StepResult
from driftline.learning.training.losses.custom import LossFailed
from driftline.learning.training.member_outputs import member_outputs_of
from driftline.learning.training.train_state import TrainState
from driftline.networks import bundle, pretrained
from driftline.networks.build import ServedModel, build, rebuilt
from driftline.networks.clone import clone
from driftline.networks.edits import Sources
from driftline.networks.experts import old_layout
from driftline.networks.unit_flow import OUTPUT
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse

ALARM_EPOCHS = 10


class Learner:
    """Scores, learns and judges, a step at a time; it knows neither clock nor store.

    ``monitor`` observes what is served, ``train_state`` is what training changes, ``replay_buffer`` holds examples for replay, and
    ``promotion`` decides who is served. ``retraining`` is the job that runs beside the stream, if one does. Answers by versions
    before ``ordered_since`` count classes in another order than the present one.
    """

    def __init__(
        self, spec: ModelSpec, classes: Sequence[int | str], module: ServedModel, seed: int, factories: Collection[str]
    ) -> None:
        self.seed = seed
        self.factories = list(factories)
        self.learned = 0
        self.ordered_since = 0
        self.monitor = Monitor(spec)
        self.train_state = TrainState(spec, classes, module, seed)
        self.replay_buffer = ReplayBuffer(spec.recipe.memory, Examples.empty(spec))
        self.promotion = PromotionController(spec, module, seed)
        self.retraining: RetrainJob | None = None

    @classmethod
    def create(
        cls, spec: ModelSpec, *, seed: int, weights: Mapping[str, Tensor] | None = None, factories: Collection[str] = ()
    ) -> Learner:
        """A learner at its beginning.

        Args:
            seed: what the first weights and all random draws start from.
            weights: the module's tensors by name, instead of random ones (:func:`driftline.networks.pretrained.load`).

        Raises:
            InvalidInput: the network cannot be built, or the weights do not fit it.
        """
        classes = spec.known_classes()
        module = build(spec, classes, factories=factories, seed=seed)
        if weights is not None:
            pretrained.load(module, weights)
        return cls(spec, classes, module, seed, factories)

    @property
    def spec(self) -> ModelSpec:
        return self.train_state.spec

    @property
    def classes(self) -> list[int | str]:
        return self.train_state.classes

    @property
    def module(self) -> ServedModel:
        return self.train_state.module

    @property
    def served(self) -> ServedModel:
        """What was published last, or is to be: the champion, or what is ahead of it."""
        return self.train_state.candidate() if self.promotion.is_ahead else self.promotion.champion

    def classes_of(self, module: ServedModel) -> list[int | str]:
        """The classes that a present or former module answers: those of the learner, up to its width."""
        return self.classes[: module.width]

    def learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> StepResult:
        """One step: scores the items as they were served, learns them, and puts a candidate to the gate where the plan says so.

        Args:
            items: the records of the step; none, where it only replays or publishes.
            numbers: their log numbers.
            plan: how many updates, and whether to publish.
        """
        self.train_state.references = self.promotion.references
        with self.train_state.drawing():
            rejected = refused(self.spec, numbers, items)
            labelled_batch = self._labelled_batch(
                [(n, item) for n, item in zip(numbers, items, strict=True) if n not in rejected]
            )
            live = labelled_batch.live
            errors, alarms = self._observe(labelled_batch, live)
            self._update_mixture_weights(live)
            latest = self._compare(live, errors, len(labelled_batch), plan.version) if plan.publish else None
            fresh = self.promotion.hold_out(labelled_batch, self.learned)
            quarantined = self._train(fresh, plan.updates)
            self.monitor.remember(fresh.where([n not in quarantined for n in fresh.numbers]))
            self.learned += len(labelled_batch)
            running = self.retraining
            decision = self._take_back(plan.version) or (self._decide(latest, plan.version) if plan.publish else None)
            dropped = running.job if running is not None and self.retraining is None else None
            if latest is not None:
                self.monitor.measure_forgetting(
                    self.promotion.champion, self.promotion.holdout.examples, self.classes, self.learned
                )
            forked = self._answer(alarms, plan.job)
        return StepResult(len(errors), alarms, rejected, quarantined, decision, forked, dropped)

    def _labelled_batch(self, records: Sequence[tuple[int, Item]]) -> LabelledBatch:
        """Records that fit, as tensors; a class that comes with them is one of the model's from here on."""
        numbers, items = [n for n, _ in records], [item for _, item in records]
        if self.spec.task == "classification":
            known, labels = indices_of(self.classes), dict.fromkeys((type(item.label), item.label) for item in items)
            self.train_state.add_classes([name for kind, name in labels if (kind, name) not in known])  # type: ignore[misc]
        return LabelledBatch.of(self.spec, self.classes, numbers, items)

    def _observe(self, labelled_batch: LabelledBatch, live: LabelledBatch) -> tuple[list[float], list[Alarm]]:
        """Lets everybody know how what was served has done, and how the world has changed; the errors of live answers."""
        errors, alarms = self.monitor.score(labelled_batch, self.classes, self.ordered_since)
        self.promotion.observe(errors)
        of_live = [error for item, error in errors if item.route == "live"]
        for error in of_live:
            self.train_state.score(error)
        if alarms:
            self.promotion.holdout.alarm()
            self.train_state.alarm(self.replay_buffer)
        alarms += self.monitor.look(live, self.module, self.learned)
        self.monitor.keep(alarms)
        return of_live, alarms

    def _update_mixture_weights(self, live: LabelledBatch) -> None:
        """Shows a strategy that mixes how well the parts of what was served had done."""
        if self.module.experts is not None and len(live):
            self.train_state.strategy_runtime.update_mixture_weights(
                member_outputs_of(live, self.served, self.module, self.ordered_since), live.examples.targets
            )

    def _compare(self, live: LabelledBatch, errors: list[float], arriving: int, version: int) -> Comparison | None:
        """Candidate and champion on labels before they are learned, where a comparison is due."""
        self.promotion.watch(live, errors, self._candidate(version))
        return self.promotion.compare_latest(self.learned, arriving)

    def _candidate(self, version: int) -> Candidate:
        return Candidate(self.spec, self.classes, self.train_state.candidate(), self.learned, version)

    def _train(self, fresh: LabelledBatch, updates: int) -> dict[int, str]:
        """Learns the labels that are not held out; the reasons of those that made the weights useless, by log number."""
        new, strategy_runtime = fresh.examples, self.train_state.strategy_runtime
        if len(new):
            self.train_state.observe(new)
        for _ in range(updates):
            failure = self._update(new)
            if failure is not None:
                self._begin_again()
                return dict.fromkeys(fresh.numbers, failure)
        strategy_runtime.end_step(new, self.replay_buffer)
        strategy_runtime.on_holdout(self.promotion.holdout, len(new))
        self.replay_buffer.add(strategy_runtime.annotate(new), self.train_state.generator)
        if self.retraining is not None:
            self.retraining.observe(new, [item.route == "live" for item in fresh.items])
        return {}

    def _update(self, new: Examples) -> str | None:
        """One update; or the reason why it was not made."""
        try:
            return self.train_state.strategy_runtime.update(
                new, self.replay_buffer, self.train_state.references.teacher
            )
        except LossFailed as error:
            return error.message

    def _take_back(self, version: int) -> Decision | None:
        """Rolls back to the former champion, where what took its place has harmed."""
        harmed = self.promotion.end_promotion_watch()
        if harmed is None:
            return None
        self.rollback(harmed.spec, harmed.classes, harmed.module.state_dict(), version)
        return harmed.decide()

    def _decide(self, latest: Comparison | None, version: int) -> Decision | None:
        """Puts the present weights to the gate."""
        promotion_result = self.promotion.decide(self._candidate(version), latest)
        if promotion_result is None:
            return None
        if promotion_result.move == "begin_again":
            self._begin_again()
        if promotion_result.move != "stay":
            self._set_champion()
        return promotion_result.decision

    def _answer(self, alarms: Sequence[Alarm], job: str | None) -> str | None:
        """Does what the recipe says behind an alarm, at the end of its step; the job that was forked for it, if one was."""
        answered, answer = self.monitor.answered(alarms), self.spec.recipe.on_alarm
        if not answered or answer not in ("shorten", "retrain"):
            return None
        examples = self.monitor.recent.since(answered[-1].since)
        if answer == "shorten":
            self._renew_memory(examples)
            return None
        if job is None or self.retraining is not None or not examples:
            return None
        self.retraining = self._forked(job, RetrainPlan.of(self.spec, {}), examples, ALARM_EPOCHS)
        return job

    def promote(self, version: int) -> None:
        """Makes the present weights the champion, as version ``version``, whatever the gate would say.

        Raises:
            InvalidInput: they are not finite.
        """
        if not is_finite(self.train_state.candidate()):
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
        former = self.classes
        recipe = self.spec.recipe.reclassed(class_indices(former, classes))
        spec = with_recipe(spec, classes, recipe, self.factories)
        module = build(spec, classes, factories=self.factories, seed=0)
        pretrained.load(module, weights)
        self.train_state.restart(spec, classes, module)
        self._reclass(former, version)
        self._follow_recipe()
        self._set_champion()
        self.promotion.dismiss()
        self.retraining = None

    def _begin_again(self) -> None:
        """Goes on from the champion."""
        champion = self.promotion.champion
        self.train_state.restart(self.spec, self.classes_of(champion), clone(champion))

    def _reclass(self, former: Sequence[int | str], version: int) -> None:
        """Lets all that counts classes by index follow the train state's, where they are in another order from ``version`` on."""
        indices = class_indices(former, self.classes)
        if are_in_place(indices):
            return
        self.ordered_since = version
        self.train_state.weight_hooks.reclass()
        self._renew_memory(self.replay_buffer.examples.reclassed(indices))
        self.monitor.recent.reclass(indices)
        self.promotion.reclass(indices)

    def _remind(self, train_state: TrainState, versions: Versions) -> None:
        """Gives the rules of a train state the weights of versions that they name, as far as these count its classes."""
        train_state.weight_hooks.remember(self._in_order(versions))
        if not are_in_place(class_indices(self.classes, train_state.classes)):
            train_state.weight_hooks.reclass()

    def _in_order(self, versions: Versions) -> Versions:
        """Weights of versions, without the outputs of those that count classes in another order."""
        return {
            number: {
                name: value
                for name, value in weights.items()
                if number >= self.ordered_since or not name.startswith(f"{OUTPUT}.")
            }
            for number, weights in versions.items()
        }

    def _set_champion(self) -> None:
        """Makes the present weights champion and anchor, whatever was before."""
        self.promotion.set_champion(self.train_state.candidate(), self.learned)
        self.monitor.dismiss_frozen_copy()

    def change_recipe(self, changes: Mapping[str, Any], versions: Versions = NO_VERSIONS) -> None:
        """Merges changes over the recipe, and over a running job's; :class:`InvalidInput` where they do not fit.

        ``versions`` are the weights of those that the changes name.
        """
        strategy, trials = self.spec.strategy, self.retraining.halving.trials if self.retraining else []
        train_states = [self.train_state, *(trial.train_state for trial in trials)]
        specs = [checked_recipe(train_state.spec, changes, versions, self.factories) for train_state in train_states]
        for train_state, spec in zip(train_states, specs, strict=True):
            check_fit(spec, train_state.module)
        for train_state, spec in zip(train_states, specs, strict=True):
            train_state.follow_recipe(
                spec, self.replay_buffer.examples.reclassed(class_indices(self.classes, train_state.classes))
            )
            self._remind(train_state, versions)
        for trial in trials:
            trial.train_state.leave_experts()
        self._follow_recipe()
        if strategy != self.spec.strategy:
            self._set_champion()

    def _follow_recipe(self) -> None:
        """Lets all that is not trained follow the train state's recipe."""
        self.monitor.follow_recipe(self.spec)
        if self.spec.recipe.memory != self.replay_buffer.policy:
            self._renew_memory(self.replay_buffer.examples)
        self.promotion.follow_recipe(self.spec)

    def _renew_memory(self, examples: Examples) -> None:
        """Keeps these examples, as the recipe's memory does, and no others."""
        self.replay_buffer = ReplayBuffer(self.spec.recipe.memory, Examples.empty(self.spec))
        self.replay_buffer.add(examples, self.train_state.generator)

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
        both = self.replay_buffer.examples.joined(self.trainable(examples))
        self.retraining = self._forked(job, retrain_plan, both, epochs, versions)

    def trainable(self, items: Sequence[Item]) -> Examples:
        """Those of the items that fit, are of a known class, and are not held out."""
        chosen = [item for item in usable(self.spec, self.classes, items) if not self.promotion.is_held_out(item)]
        return Examples.of(self.spec, chosen, indices_of(self.classes))

    def _forked(
        self, job: str, retrain_plan: RetrainPlan, examples: Examples, epochs: int, versions: Versions = NO_VERSIONS
    ) -> RetrainJob:
        bare, champion, seed = clone(self.module), self.promotion.champion, self.seed + self.learned + 1
        # What is served beside the network is the stream's, and can be large: no trial carries it along.
        bare.experts = None
        sources = Sources(self._in_order(versions), self.replay_buffer.examples.inputs, self.promotion.held_out_error)
        models = list(retrain_plan.models(self.classes, bare, sources, self.factories))
        teacher = Teacher(self.spec, self.classes_of(champion), champion)
        forked = RetrainJob.fork(job, retrain_plan, models, examples, epochs, seed, teacher, self.train_state)
        for trial in forked.halving.trials:
            self._remind(trial.train_state, versions)
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
        latest = job.rejoin(self.train_state, self.replay_buffer.examples)
        decision = Decision(True, "promoted") if is_promoted else self._judged(job.train_state, latest)
        if decision.promoted:
            self._take_over(job.train_state, version)
        self.retraining = None
        return StepResult(decision=decision)

    def _judged(self, train_state: TrainState, latest: Comparison | None) -> Decision:
        indices = class_indices(self.classes, train_state.classes)
        return self.promotion.compare(train_state.candidate(), self.learned, latest, indices)

    def _take_over(self, train_state: TrainState, version: int) -> None:
        """Goes on with a job's train state, whose weights become version ``version``."""
        former = self.classes
        self.promotion.watch_promotion(version, self.spec, former)
        self.train_state = train_state
        self._reclass(former, version)
        self._follow_recipe()
        self._set_champion()

    def cancel(self) -> None:
        """Ends the running job without a trace."""
        self.retraining = None

    def digest(self) -> str:
        """16 hexadecimal digits that stand for every weight and buffer, and for the count of what was learned."""
        return bundle.digest_of(old_layout.comparable(self.module.state_dict()), str(self.learned))

    def metrics(self) -> dict[str, Any]:
        """What is measured: scores, alarms, forgetting, how much is kept, the ``learning_rate``, and what rules tell."""
        return {
            **self.monitor.shown(),
            "held_out": len(self.promotion.holdout),
            "memory": len(self.replay_buffer),
            "learning_rate": self.train_state.learning_rate,
            **self.train_state.weight_hooks.metrics(),
        }

    def state_dict(self) -> State:
        """The whole state, independent of what the learner does next."""
        tensors = {
            **named("monitor", self.monitor.tensors()),
            **named("trainee", self.train_state.tensors()),
            **named("memory", self.replay_buffer.tensors()),
            **named("judge", self.promotion.tensors()),
            **(named("retraining", self.retraining.tensors()) if self.retraining else {}),
        }
        data = {
            "spec": self.spec.model_dump(mode="json"),
            "classes": self.classes,
            "seed": self.seed,
            "learned": self.learned,
            "ordered_since": self.ordered_since,
            "monitor": self.monitor.data(),
            "memory": self.replay_buffer.data(),
            "judge": self.promotion.data(),
            "retraining": self.retraining.data() if self.retraining else None,
        }
        return State({name: value.detach().clone() for name, value in tensors.items()}, copy.deepcopy(data))

    @classmethod
    def from_state(cls, state: State, *, factories: Collection[str] = ()) -> Learner:
        """The learner that :meth:`state_dict` described."""
        tensors, data = state.tensors, state.data
        spec, classes = parse(ModelSpec, data["spec"]), data["classes"]

        def former(weights: Mapping[str, Tensor], width: int) -> ServedModel:
            return rebuilt(spec, classes[:width], weights, factories)

        learner = cls(spec, classes, build(spec, classes, factories=factories, seed=0), data["seed"], factories)
        learner.learned, learner.ordered_since = data["learned"], data["ordered_since"]
        learner.monitor.load(part(tensors, "monitor"), data["monitor"], former)
        learner.train_state.load(part(tensors, "trainee"))
        learner.replay_buffer.load(part(tensors, "memory"), data["memory"])
        learner.promotion.load(part(tensors, "judge"), data["judge"], former, learner.factories)
        if (job := data["retraining"]) is not None:
            learner.retraining = RetrainJob.from_state(part(tensors, "retraining"), job, learner.factories)
        return learner
