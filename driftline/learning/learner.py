"""One model's learning: a deterministic function of its state, the items and the plan."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from driftline.classes import are_in_place, class_indices, indices_of
from driftline.errors import InvalidInput
from driftline.learning.arrived import Arrived, refused, usable
from driftline.learning.examples import Examples
from driftline.learning.gate import Comparison, Decision, is_finite
from driftline.learning.judge import Candidate, Judge
from driftline.learning.lineup import Lineup
from driftline.learning.losses.custom import LossFailed
from driftline.learning.memory import Memory
from driftline.learning.monitor import Alarm, Monitor
from driftline.learning.outcome import Outcome
from driftline.learning.recipes import NO_VERSIONS, Versions, check_fit, checked_recipe, with_recipe
from driftline.learning.retraining import Retraining, Teacher
from driftline.learning.state import State, named, part
from driftline.learning.traces import traces_of
from driftline.learning.trainee import Trainee
from driftline.networks import brought, bundle
from driftline.networks.build import Served, build, rebuilt
from driftline.networks.edits import Sources
from driftline.networks.lines import OUTPUT
from driftline.networks.twin import twin
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse

ALARM_EPOCHS = 10


class Learner:
    """Scores, learns and judges, a step at a time; it knows neither clock nor store.

    ``monitor`` observes what is served, ``trainee`` is what training changes, ``memory`` holds examples for replay, and
    ``judge`` decides who is served. ``retraining`` is the job that runs beside the stream, if one does. Answers by versions
    before ``ordered_since`` count classes in another order than the present one.
    """

    def __init__(
        self, spec: ModelSpec, classes: Sequence[int | str], module: Served, seed: int, factories: Collection[str]
    ) -> None:
        self.seed = seed
        self.factories = list(factories)
        self.learned = 0
        self.ordered_since = 0
        self.monitor = Monitor(spec)
        self.trainee = Trainee(spec, classes, module, seed)
        self.memory = Memory(spec.recipe.memory, Examples.empty(spec))
        self.judge = Judge(spec, module, seed)
        self.retraining: Retraining | None = None

    @classmethod
    def create(
        cls, spec: ModelSpec, *, seed: int, weights: Mapping[str, Tensor] | None = None, factories: Collection[str] = ()
    ) -> Learner:
        """A learner at its beginning.

        Args:
            seed: what the first weights and all random draws start from.
            weights: the module's tensors by name, instead of random ones (:func:`driftline.networks.brought.load`).

        Raises:
            InvalidInput: the network cannot be built, or the weights do not fit it.
        """
        classes = spec.known_classes()
        module = build(spec, classes, factories=factories, seed=seed)
        if weights is not None:
            brought.load(module, weights)
        return cls(spec, classes, module, seed, factories)

    @property
    def spec(self) -> ModelSpec:
        return self.trainee.spec

    @property
    def classes(self) -> list[int | str]:
        return self.trainee.classes

    @property
    def module(self) -> Served:
        return self.trainee.module

    @property
    def served(self) -> Served:
        """What was published last, or is to be: the champion, or what is ahead of it."""
        return self.trainee.candidate() if self.judge.is_ahead else self.judge.champion

    def classes_of(self, module: Served) -> list[int | str]:
        """The classes that a present or former module answers: those of the learner, up to its width."""
        return self.classes[: module.width]

    def learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> Outcome:
        """One step: scores the items as they were served, learns them, and puts a candidate to the gate where the plan says so.

        Args:
            items: the records of the step; none, where it only replays or publishes.
            numbers: their log numbers.
            plan: how many updates, and whether to publish.
        """
        self.trainee.elders = self.judge.elders
        with self.trainee.drawing():
            rejected = refused(self.spec, numbers, items)
            arrived = self._taken_in([(n, item) for n, item in zip(numbers, items, strict=True) if n not in rejected])
            live = arrived.live
            errors, alarms = self._observe(arrived, live)
            self._weigh(live)
            latest = self._compare(live, errors, len(arrived), plan.version) if plan.publish else None
            fresh = self.judge.hold_out(arrived, self.learned)
            quarantined = self._train(fresh, plan.updates)
            self.monitor.remember(fresh.where([n not in quarantined for n in fresh.numbers]))
            self.learned += len(arrived)
            running = self.retraining
            decision = self._take_back(plan.version) or (self._decide(latest, plan.version) if plan.publish else None)
            dropped = running.job if running is not None and self.retraining is None else None
            if latest is not None:
                self.monitor.measure_forgetting(
                    self.judge.champion, self.judge.holdout.examples, self.classes, self.learned
                )
            forked = self._answer(alarms, plan.job)
        return Outcome(len(errors), alarms, rejected, quarantined, decision, forked, dropped)

    def _taken_in(self, records: Sequence[tuple[int, Item]]) -> Arrived:
        """Records that fit, as tensors; a class that comes with them is one of the model's from here on."""
        numbers, items = [n for n, _ in records], [item for _, item in records]
        if self.spec.task == "classification":
            known, labels = indices_of(self.classes), dict.fromkeys((type(item.label), item.label) for item in items)
            self.trainee.add_classes([name for kind, name in labels if (kind, name) not in known])  # type: ignore[misc]
        return Arrived.of(self.spec, self.classes, numbers, items)

    def _observe(self, arrived: Arrived, live: Arrived) -> tuple[list[float], list[Alarm]]:
        """Lets everybody know how what was served has done, and how the world has changed; the errors of live answers."""
        errors, alarms = self.monitor.score(arrived, self.classes, self.ordered_since)
        self.judge.observe(errors)
        of_live = [error for item, error in errors if item.route == "live"]
        for error in of_live:
            self.trainee.score(error)
        if alarms:
            self.judge.holdout.alarm()
            self.trainee.alarm(self.memory)
        alarms += self.monitor.look(live, self.module, self.learned)
        self.monitor.keep(alarms)
        return of_live, alarms

    def _weigh(self, live: Arrived) -> None:
        """Shows a strategy that mixes how well the parts of what was served had done."""
        if self.module.experts is not None and len(live):
            self.trainee.method.weigh(traces_of(live, self.served, self.ordered_since), live.examples.targets)

    def _compare(self, live: Arrived, errors: list[float], arriving: int, version: int) -> Comparison | None:
        """Candidate and champion on labels before they are learned, where a comparison is due."""
        self.judge.watch(live, errors, self._candidate(version))
        return self.judge.compare_latest(self.learned, arriving)

    def _candidate(self, version: int) -> Candidate:
        return Candidate(self.spec, self.classes, self.trainee.candidate(), self.learned, version)

    def _train(self, fresh: Arrived, updates: int) -> dict[int, str]:
        """Learns the labels that are not held out; the reasons of those that made the weights useless, by log number."""
        new, method = fresh.examples, self.trainee.method
        if len(new):
            self.trainee.observe(new)
        for _ in range(updates):
            failure = self._update(new)
            if failure is not None:
                self._begin_again()
                return dict.fromkeys(fresh.numbers, failure)
        method.end_step(new, self.memory)
        method.review(self.judge.holdout, len(new))
        self.memory.add(method.note(new), self.trainee.generator)
        if self.retraining is not None:
            self.retraining.observe(new, [item.route == "live" for item in fresh.items])
        return {}

    def _update(self, new: Examples) -> str | None:
        """One update; or the reason why it was not made."""
        try:
            return self.trainee.method.update(new, self.memory, self.trainee.elders.teacher)
        except LossFailed as error:
            return error.message

    def _take_back(self, version: int) -> Decision | None:
        """Rolls back to the former champion, where what took its place has harmed."""
        harmed = self.judge.end_probation()
        if harmed is None:
            return None
        self.rollback(harmed.spec, harmed.classes, harmed.module.state_dict(), version)
        return harmed.decide()

    def _decide(self, latest: Comparison | None, version: int) -> Decision | None:
        """Puts the present weights to the gate."""
        verdict = self.judge.decide(self._candidate(version), latest)
        if verdict is None:
            return None
        if verdict.move == "begin_again":
            self._begin_again()
        if verdict.move != "stay":
            self._crown()
        return verdict.decision

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
        self.retraining = self._forked(job, Lineup.of(self.spec, {}), examples, ALARM_EPOCHS)
        return job

    def promote(self, version: int) -> None:
        """Makes the present weights the champion, as version ``version``, whatever the gate would say.

        Raises:
            InvalidInput: they are not finite.
        """
        if not is_finite(self.trainee.candidate()):
            raise InvalidInput("the weights are not finite; roll back", code="not_finite", field="model")
        self.judge.put_on_probation(version, self.spec, self.classes)
        self._crown()

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
        brought.load(module, weights)
        self.trainee.restart(spec, classes, module)
        self._reclass(former, version)
        self._follow()
        self._crown()
        self.judge.dismiss()
        self.retraining = None

    def _begin_again(self) -> None:
        """Goes on from the champion."""
        champion = self.judge.champion
        self.trainee.restart(self.spec, self.classes_of(champion), twin(champion))

    def _reclass(self, former: Sequence[int | str], version: int) -> None:
        """Lets all that counts classes by index follow the trainee's, where they are in another order from ``version`` on."""
        indices = class_indices(former, self.classes)
        if are_in_place(indices):
            return
        self.ordered_since = version
        self.trainee.upkeep.reclass()
        self._renew_memory(self.memory.examples.reclassed(indices))
        self.monitor.recent.reclass(indices)
        self.judge.reclass(indices)

    def _remind(self, trainee: Trainee, versions: Versions) -> None:
        """Gives the rules of a trainee the weights of versions that they name, as far as these count its classes."""
        trainee.upkeep.remember(self._in_order(versions))
        if not are_in_place(class_indices(self.classes, trainee.classes)):
            trainee.upkeep.reclass()

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

    def _crown(self) -> None:
        """Makes the present weights champion and anchor, whatever was before."""
        self.judge.crown(self.trainee.candidate(), self.learned)
        self.monitor.dismiss_witness()

    def change_recipe(self, changes: Mapping[str, Any], versions: Versions = NO_VERSIONS) -> None:
        """Merges changes over the recipe, and over a running job's; :class:`InvalidInput` where they do not fit.

        ``versions`` are the weights of those that the changes name.
        """
        strategy, racers = self.spec.strategy, self.retraining.race.racers if self.retraining else []
        trainees = [self.trainee, *(racer.trainee for racer in racers)]
        specs = [checked_recipe(trainee.spec, changes, versions, self.factories) for trainee in trainees]
        for trainee, spec in zip(trainees, specs, strict=True):
            check_fit(spec, trainee.module)
        for trainee, spec in zip(trainees, specs, strict=True):
            trainee.follow(spec, self.memory.examples.reclassed(class_indices(self.classes, trainee.classes)))
            self._remind(trainee, versions)
        for racer in racers:
            racer.trainee.leave_experts()
        self._follow()
        if strategy != self.spec.strategy:
            self._crown()

    def _follow(self) -> None:
        """Lets all that is not trained follow the trainee's recipe."""
        self.monitor.follow(self.spec)
        if self.spec.recipe.memory != self.memory.policy:
            self._renew_memory(self.memory.examples)
        self.judge.follow(self.spec)

    def _renew_memory(self, examples: Examples) -> None:
        """Keeps these examples, as the recipe's memory does, and no others."""
        self.memory = Memory(self.spec.recipe.memory, Examples.empty(self.spec))
        self.memory.add(examples, self.trainee.generator)

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
        lineup = Lineup.of(self.spec, recipe, edits, race)
        lineup.check_versions(versions)
        both = self.memory.examples.joined(self.trainable(examples))
        self.retraining = self._forked(job, lineup, both, epochs, versions)

    def trainable(self, items: Sequence[Item]) -> Examples:
        """Those of the items that fit, are of a known class, and are not held out."""
        chosen = [item for item in usable(self.spec, self.classes, items) if not self.judge.is_held_out(item)]
        return Examples.of(self.spec, chosen, indices_of(self.classes))

    def _forked(
        self, job: str, lineup: Lineup, examples: Examples, epochs: int, versions: Versions = NO_VERSIONS
    ) -> Retraining:
        bare, champion, seed = twin(self.module), self.judge.champion, self.seed + self.learned + 1
        # What is served beside the network is the stream's, and can be large: no racer carries it along.
        bare.experts = None
        sources = Sources(self._in_order(versions), self.memory.examples.inputs, self.judge.held_out_error)
        models = list(lineup.models(self.classes, bare, sources, self.factories))
        teacher = Teacher(self.spec, self.classes_of(champion), champion)
        forked = Retraining.fork(job, lineup, models, examples, epochs, seed, teacher, self.trainee)
        for racer in forked.race.racers:
            self._remind(racer.trainee, versions)
        return forked

    def finish(self, version: int, is_promoted: bool = False) -> Outcome:
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
        latest = job.rejoin(self.trainee, self.memory.examples)
        decision = Decision(True, "promoted") if is_promoted else self._judged(job.trainee, latest)
        if decision.promoted:
            self._take_over(job.trainee, version)
        self.retraining = None
        return Outcome(decision=decision)

    def _judged(self, trainee: Trainee, latest: Comparison | None) -> Decision:
        indices = class_indices(self.classes, trainee.classes)
        return self.judge.compare(trainee.candidate(), self.learned, latest, indices)

    def _take_over(self, trainee: Trainee, version: int) -> None:
        """Goes on with a job's trainee, whose weights become version ``version``."""
        former = self.classes
        self.judge.put_on_probation(version, self.spec, former)
        self.trainee = trainee
        self._reclass(former, version)
        self._follow()
        self._crown()

    def cancel(self) -> None:
        """Ends the running job without a trace."""
        self.retraining = None

    def digest(self) -> str:
        """16 hexadecimal digits that stand for every weight and buffer, and for the count of what was learned."""
        return bundle.digest_of(self.module.state_dict(), str(self.learned))

    def metrics(self) -> dict[str, Any]:
        """What is measured: scores, alarms, forgetting, how much is kept, the ``learning_rate``, and what rules tell."""
        return {
            **self.monitor.shown(),
            "held_out": len(self.judge.holdout),
            "memory": len(self.memory),
            "learning_rate": self.trainee.learning_rate,
            **self.trainee.upkeep.metrics(),
        }

    def state_dict(self) -> State:
        """The whole state, independent of what the learner does next."""
        tensors = {
            **named("monitor", self.monitor.tensors()),
            **named("trainee", self.trainee.tensors()),
            **named("memory", self.memory.tensors()),
            **named("judge", self.judge.tensors()),
            **(named("retraining", self.retraining.tensors()) if self.retraining else {}),
        }
        data = {
            "spec": self.spec.model_dump(mode="json"),
            "classes": self.classes,
            "seed": self.seed,
            "learned": self.learned,
            "ordered_since": self.ordered_since,
            "monitor": self.monitor.data(),
            "memory": self.memory.data(),
            "judge": self.judge.data(),
            "retraining": self.retraining.data() if self.retraining else None,
        }
        return State({name: value.detach().clone() for name, value in tensors.items()}, copy.deepcopy(data))

    @classmethod
    def from_state(cls, state: State, *, factories: Collection[str] = ()) -> Learner:
        """The learner that :meth:`state_dict` described."""
        tensors, data = state.tensors, state.data
        spec, classes = parse(ModelSpec, data["spec"]), data["classes"]

        def former(weights: Mapping[str, Tensor], width: int) -> Served:
            return rebuilt(spec, classes[:width], weights, factories)

        learner = cls(spec, classes, build(spec, classes, factories=factories, seed=0), data["seed"], factories)
        learner.learned, learner.ordered_since = data["learned"], data["ordered_since"]
        learner.monitor.load(part(tensors, "monitor"), data["monitor"], former)
        learner.trainee.load(part(tensors, "trainee"))
        learner.memory.load(part(tensors, "memory"), data["memory"])
        learner.judge.load(part(tensors, "judge"), data["judge"], former, learner.factories)
        if (job := data["retraining"]) is not None:
            learner.retraining = Retraining.from_state(part(tensors, "retraining"), job, learner.factories)
        return learner
