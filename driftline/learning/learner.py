"""One model's learning: a deterministic function of its state, the items and the plan."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning import gate
from driftline.learning.arrived import Arrived
from driftline.learning.evidence import change_point, moved_classes
from driftline.learning.examples import Examples
from driftline.learning.forgetting import Forgetting
from driftline.learning.gate import Comparison, Decision
from driftline.learning.lineup import Lineup
from driftline.learning.lookout import Lookout
from driftline.learning.losses.custom import LossFailed
from driftline.learning.memory import Holdout, Memory
from driftline.learning.metrics import Prequential
from driftline.learning.recent import Recent
from driftline.learning.recipes import changed_recipe, check_fit, check_versions
from driftline.learning.retraining import Retraining, Teacher
from driftline.learning.state import named, part
from driftline.learning.traces import traces_of
from driftline.learning.trainee import Elders, Trainee
from driftline.learning.trials import Canary, Probation, Trial
from driftline.networks import bundle
from driftline.networks.build import Served, build, check_loss
from driftline.networks.edits import Edited, Sources
from driftline.networks.edits.add_classes import AddClasses
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, Recipe, parse

MOST_ALARMS = 20
MOST_RECENT = 1000
ALARM_EPOCHS = 10
MEASURE_LABELS = 100

Versions: TypeAlias = Mapping[int, Mapping[str, Tensor]]
"""The weights of kept versions, by version and name."""
NO_VERSIONS: Versions = {}


@dataclass(frozen=True)
class State:
    """A learner's whole state: tensors, and plain data that JSON keeps bit for bit."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """``drift``: the error of what was served has risen. ``inputs``: what comes in is distributed otherwise.

    ``at`` is the log number of the label that showed it, ``since`` the one with which it has most likely begun. ``classes`` are
    those that err more (:func:`driftline.learning.evidence.moved_classes`), ``features`` the inputs that have moved
    (:class:`driftline.learning.watch.Moved`).
    """

    kind: str
    at: int
    message: str
    since: int = 0
    features: list[dict[str, Any]] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Outcome:
    """What a step has done; records are named by log number.

    ``forked`` names the retrain job that an alarm has begun.
    """

    scored: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    decision: Decision | None = None
    forked: str | None = None


class Learner:
    """Scores, learns and judges, a step at a time; it knows neither clock nor store.

    ``champion`` is the last that has passed a comparison, ``anchor`` an older one, against which small losses add up. What is
    served may be ahead of the champion by the few labels between two comparisons.
    """

    def __init__(
        self, spec: ModelSpec, classes: Sequence[int | str], module: Served, seed: int, factories: Collection[str]
    ) -> None:
        self.classes = list(classes)
        self.seed = seed
        self.factories = list(factories)
        self.trainee = Trainee(spec, module, seed)
        self.memory = Memory(spec.recipe.memory, Examples.empty(spec))
        self.holdout = Holdout(spec.recipe.gate.holdout_size, Examples.empty(spec))
        self.prequential = Prequential(spec.task == "regression")
        self.detector = spec.recipe.detector.start()
        self.lookout = self._new_lookout()
        self.alarms: list[Alarm] = []
        self.recent = self._new_recent()
        self.forgetting = Forgetting()
        self.measured_at = 0
        self.learned = 0
        self.champion = self.anchor = copy.deepcopy(module)
        self.judged_at = self.anchored_at = 0
        self.is_ahead = False
        self.trial: Trial | None = None
        self.retraining: Retraining | None = None
        self.canary: Canary | None = None
        self.probation: Probation | None = None

    @classmethod
    def create(
        cls, spec: ModelSpec, *, seed: int, weights: Mapping[str, Tensor] | None = None, factories: Collection[str] = ()
    ) -> Learner:
        """A learner at its beginning.

        Args:
            seed: what the first weights and all random draws start from.
            weights: the module's tensors by name, instead of random ones. Without ``scale.…`` they were trained on inputs as
                they are, and the running scale stays out of their way.

        Raises:
            InvalidInput: the network cannot be built, or the weights do not fit it.
        """
        classes = spec.known_classes()
        module = build(spec, classes, factories=factories, seed=seed)
        if weights is not None:
            bundle.load(module, _with_experts(module, _with_scales(module, weights)))
        return cls(spec, classes, module, seed, factories)

    @property
    def spec(self) -> ModelSpec:
        return self.trainee.spec

    @property
    def module(self) -> Served:
        return self.trainee.module

    @property
    def served(self) -> Served:
        """What was published last, or is to be: the champion, or what is ahead of it."""
        return self.trainee.candidate() if self.is_ahead else self.champion

    def learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> Outcome:
        """One step: scores the items as they were served, learns them, and puts a candidate to the gate where the plan says so.

        Args:
            items: the records of the step; none, where it only replays or publishes.
            numbers: their log numbers.
            plan: how many updates, and whether to publish.
        """
        teacher = self.anchor if self.anchored_at >= gate.FIRST_LABELS else None
        self.trainee.elders = Elders(self.champion, teacher)
        with self.trainee.drawing():
            rejected = self._refused(items, numbers)
            valid = [(n, item) for n, item in zip(numbers, items, strict=True) if n not in rejected]
            self._add_classes(item for _, item in valid)
            items = [item for _, item in valid]
            arrived = Arrived([n for n, _ in valid], items, self._examples(items))
            live = arrived.where([item.route == "live" for item in items])
            alarms, scored = self._score(arrived)
            alarms += self._moved_inputs(live)
            self.alarms = [*self.alarms, *alarms][-MOST_ALARMS:]
            self._weigh(live)
            is_compared = plan.publish and self._is_comparison_due(len(arrived))
            latest = self._compare_latest(live.examples) if is_compared else None
            held = [self._is_held_out(item) for item in items]
            self.holdout.add(arrived.where(held).examples)
            fresh = arrived.where([not is_held for is_held in held])
            quarantined = self._train(fresh, plan.updates)
            self.learned += len(arrived)
            decision = self._taken_back() or (self._decision(latest, is_compared, plan) if plan.publish else None)
            if is_compared:
                self._measure_forgetting()
            learned = fresh.where([n not in quarantined for n in fresh.numbers])
            forked = self._answer_alarms(alarms, learned, plan.job)
        return Outcome(scored, alarms, rejected, quarantined, decision, forked)

    def _refused(self, items: Sequence[Item], numbers: Sequence[int]) -> dict[int, str]:
        """Items that no longer fit the spec, as when it was edited behind their acknowledgement."""
        refused = {}
        sizes = {
            name: tensor.size * (4 if tensor.dtype == "float32" else 8) for name, tensor in self.spec.tensors.items()
        }
        for n, item in zip(numbers, items, strict=True):
            if {name: len(data) for name, data in item.inputs.items()} != sizes:
                refused[n] = "the inputs do not have the model's shape"
                continue
            try:
                self.spec.check_label(item.label)
            except InvalidInput as error:
                refused[n] = error.message
        return refused

    def _add_classes(self, items: Any) -> None:
        known = self._index_of
        new = list(
            dict.fromkeys((type(item.label), item.label) for item in items if self.spec.task == "classification")
        )
        names = [name for kind, name in new if (kind, name) not in known]
        if names:
            edited = AddClasses(classes=names).apply(self.spec, self.classes, self.module)
            self.trainee.replace(edited.spec, edited.module, edited.kept)
            self.classes = edited.classes

    def _score(self, arrived: Arrived) -> tuple[list[Alarm], int]:
        """Compares what was served with the labels: the prequential scores, and the detector of the error."""
        detector, alarms, scored, index_of = self.spec.recipe.detector, [], [], self._index_of
        for n, item in zip(arrived.numbers, arrived.items, strict=True):
            if item.answer is None:
                continue
            row = self.prequential.score(n, item, index_of.get((type(item.label), item.label)))
            if self.canary is not None:
                self.canary.observe(item, row.error)
            if item.route != "live":
                continue
            self.prequential.add(row)
            self.trainee.score(row.error)
            scored.append((item, row.error))
            if detector.update(self.detector, row.error):
                alarms.append(self._drift(n))
        if self.probation is not None:
            self.probation.observe([item for item, _ in scored], [error for _, error in scored])
        if alarms:
            self.holdout.alarm()
            self.trainee.alarm(self.memory)
        return alarms, len(scored)

    def _drift(self, n: int) -> Alarm:
        """The alarm of a risen error at ``n``, with what the newest labels tell of it."""
        window, names = self.prequential.window, self.prequential.names
        # What a former alarm was about is over: the rise is sought behind where that began.
        former = max((alarm.since for alarm in self.alarms if alarm.kind == "drift"), default=0)
        rows = [row for row in window if row.n >= former]
        since = rows[change_point([row.error for row in rows])].n
        classes = []
        if self.spec.task == "classification":
            before, behind = [row for row in window if row.n < since], [row for row in window if row.n >= since]
            classes = moved_classes(before, behind, names)
        where = f"; most in {', '.join(repr(moved['class']) for moved in classes[:3])}" if classes else ""
        name = self.spec.recipe.detector.name
        message = f"the error of what is served has risen ({name}), since record {since}{where}"
        return Alarm("drift", n, message, since, classes=classes)

    def _moved_inputs(self, live: Arrived) -> list[Alarm]:
        if self.lookout is None or not len(live):
            return []
        found = self.lookout.see(live.examples.inputs, live.numbers, self.module, self.learned)
        return [Alarm("inputs", live.numbers[-1], str(moved), moved.since, features=moved.features) for moved in found]

    def _answered(self, alarms: Sequence[Alarm]) -> list[Alarm]:
        """The alarms that the recipe's ``on_alarm`` is for."""
        detector = self.spec.recipe.input_detector
        return [alarm for alarm in alarms if alarm.kind == "drift" or (detector is not None and detector.answered)]

    def is_hurried(self, offset: int) -> bool:
        """Whether, at this offset of the log, labels are learned as they come because of an alarm."""
        recipe, alarms = self.spec.recipe, self._answered(self.alarms)
        return recipe.on_alarm == "faster" and bool(alarms) and offset - alarms[-1].at < recipe.trigger.alarm

    def _answer_alarms(self, alarms: Sequence[Alarm], learned: Arrived, job: str | None) -> str | None:
        """Does what the recipe says behind an alarm, at the end of its step; the job that was forked for it, if one was."""
        if self.recent.is_kept:
            self.recent.add(learned.examples, learned.numbers)
        answered, answer = self._answered(alarms), self.spec.recipe.on_alarm
        if not answered:
            return None
        since = answered[-1].since
        if answer == "shorten":
            self.memory = Memory(self.spec.recipe.memory, Examples.empty(self.spec))
            self.memory.add(self.recent.since(since), self.trainee.generator)
        examples = self.recent.since(since) if answer == "retrain" and job and self.retraining is None else None
        if not examples:
            return None
        self.retraining = self._forked(job or "", Lineup.of(self.spec, {}, [], []), examples, ALARM_EPOCHS)
        return job

    def _new_lookout(self) -> Lookout | None:
        detector = self.spec.recipe.input_detector
        return Lookout(detector) if detector is not None else None

    def _dismiss_witness(self) -> None:
        if self.lookout is not None:
            self.lookout.dismiss_witness()

    def _new_recent(self) -> Recent:
        is_needed = self.spec.recipe.on_alarm in ("shorten", "retrain")
        return Recent(MOST_RECENT if is_needed else 0, Examples.empty(self.spec))

    def _measure_forgetting(self) -> None:
        """Of the champion, over all that is held out; now and then, since it costs a pass over these rows."""
        if self.spec.task == "regression" or self.learned - self.measured_at < MEASURE_LABELS:
            return
        held, self.measured_at = self.holdout.examples, self.learned
        self.forgetting.measure(gate.errors(self.champion, held), held.targets, self.classes)

    def _weigh(self, live: Arrived) -> None:
        """Shows a strategy that mixes how well the parts of what was served had done."""
        if self.module.experts is not None and len(live):
            self.trainee.method.weigh(traces_of(live, self.served), live.examples.targets)

    def _is_held_out(self, item: Item) -> bool:
        """Decided by a keyed hash of the inputs, so that duplicates fall on one side."""
        if item.route != "live" or not self.holdout.size:
            return False
        key = self.seed.to_bytes(16, "big", signed=True)
        digest = hashlib.blake2b(b"".join(item.inputs[name] for name in self.spec.tensors), digest_size=8, key=key)
        return int.from_bytes(digest.digest(), "big") < self.spec.recipe.gate.holdout * 2**64

    def _compare_latest(self, latest: Examples) -> Comparison:
        """Candidate and champion on labels that neither was trained on."""
        candidate = self.trainee.candidate()
        return Comparison("latest labels", gate.errors(candidate, latest), gate.errors(self.champion, latest))

    def _train(self, fresh: Arrived, updates: int) -> dict[int, str]:
        new = fresh.examples
        if len(new):
            self.trainee.observe(new)
        method = self.trainee.method
        for _ in range(updates):
            failure = self._update(new)
            if failure is not None:
                self._restart(self.spec, self.champion_classes, copy.deepcopy(self.champion))
                return dict.fromkeys(fresh.numbers, failure)
        method.end_step(new, self.memory)
        self.memory.add(method.note(new), self.trainee.generator)
        if self.retraining is not None:
            self.retraining.observe(new)
        return {}

    def _update(self, new: Examples) -> str | None:
        """One update; or the reason why it was not made."""
        try:
            return self.trainee.method.update(new, self.memory, self.trainee.elders.teacher)
        except LossFailed as error:
            return error.message

    def _is_comparison_due(self, arriving: int) -> bool:
        """Few labels cannot tell a loss from chance: steps of a few are compared together, unless the last one failed."""
        is_due = self.learned + arriving - self.judged_at >= gate.COMPARED_LABELS
        return is_due or not arriving or self.trial is not None or self.learned < gate.FIRST_LABELS

    def _decision(self, latest: Comparison | None, is_compared: bool, plan: Plan) -> Decision | None:
        """The gate over the present weights; None where they wait for somebody or something else to decide."""
        mode = self.spec.recipe.gate.mode
        if mode == "manual":
            return None
        if mode == "canary" and self.learned >= gate.FIRST_LABELS:
            return self._decide_canary(plan.version)
        if is_compared:
            return self._judge(latest, self.trainee.candidate())
        if not gate.is_finite(self.trainee.candidate()):
            return self._refuse(Decision(False, "its weights are not finite"))
        self.is_ahead = True
        return Decision(True, f"{self.learned - self.judged_at} labels since the last comparison")

    def _judge(self, latest: Comparison | None, candidate: Served) -> Decision:
        """Compares a candidate, the present weights or a retrain job's; one that passes is the next champion."""
        decision = self._decide(latest, candidate)
        if self.trial is not None and latest is not None:
            self.trial.observe(latest)
        if not decision.promoted:
            return self._end_trial() or self._refuse(decision)
        self.champion, self.judged_at = copy.deepcopy(candidate), self.learned
        self.is_ahead, self.trial = False, None
        if self.learned - self.anchored_at >= gate.ANCHOR_LABELS or self.learned < gate.FIRST_LABELS:
            self.anchor, self.anchored_at = self.champion, self.learned
        return decision

    def _decide_canary(self, version: int) -> Decision | None:
        """Begins a canary where there is none, and ends one that has been labelled often enough."""
        if self.canary is None:
            candidate = self.trainee.candidate()
            if self.learned == self.judged_at or not gate.is_finite(candidate):
                return None
            needed, module = self.spec.recipe.gate.labels, copy.deepcopy(candidate)
            self.canary, self.judged_at = Canary(version, module, self._width(module), needed), self.learned
            return Decision(False, f"canary: judged at {needed} labels of its answers", canary="begun")
        if not self.canary.is_due:
            return None
        decision, canary, self.canary = self.canary.decide(), self.canary, None
        if decision.promoted:
            self._put_on_probation(canary.version)
            self.champion, self.is_ahead = canary.module, False
        return dataclasses.replace(decision, canary="ended")

    def promote(self, version: int) -> None:
        """Makes the present weights the champion, as version ``version``, whatever the gate would say.

        Raises:
            InvalidInput: they are not finite.
        """
        if not gate.is_finite(self.trainee.candidate()):
            raise InvalidInput("the weights are not finite; roll back", code="not_finite", field="model")
        self._put_on_probation(version)
        self._crown()

    def _put_on_probation(self, version: int) -> None:
        """Lets the champion look over the shoulder of the version that takes its place."""
        self.probation = Probation(version, self.spec, self.champion_classes, self.champion)

    def _taken_back(self) -> Decision | None:
        """Rolls back to the former champion, where what took its place has harmed."""
        probation = self.probation
        if probation is None or not (probation.has_harmed or probation.is_over):
            return None
        self.probation = None
        if not probation.has_harmed:
            return None
        self.rollback(probation.spec, probation.classes, probation.module.state_dict())
        reason = f"rolled back: version {probation.version} has harmed: {probation.comparison}"
        return Decision(False, reason, probation.comparison.scores(), restored=True)

    def _end_trial(self) -> Decision | None:
        """Promotes what was refused where the newest labels speak for it, and begins again where they never do."""
        trial = self.trial
        if (
            trial is None
            or not gate.is_finite(self.trainee.candidate())
            or not (trial.is_won or trial.is_lost(self.learned))
        ):
            return None
        if trial.is_won:
            reason = f"better: {trial.comparison}; what was held out is of another world"
        else:
            self._restart(self.spec, self.champion_classes, copy.deepcopy(self.champion))
            reason = f"begun again from the champion: refused for {self.learned - trial.since} labels"
        self.holdout.alarm()
        self._crown()
        return Decision(True, reason, trial.comparison.scores())

    def _refuse(self, decision: Decision) -> Decision:
        """Keeps the champion; where what is served has gone ahead of it, it is taken back."""
        self.judged_at, self.trial = self.learned, self.trial or Trial(self.learned)
        was_ahead, self.is_ahead = self.is_ahead, False
        return dataclasses.replace(decision, restored=was_ahead)

    def _decide(self, latest: Comparison | None, candidate: Served) -> Decision:
        if not gate.is_finite(candidate):
            return Decision(False, "its weights are not finite")
        if self.spec.recipe.gate.mode == "off":
            return Decision(True, "the gate is off")
        if self.learned < gate.FIRST_LABELS:
            return Decision(True, f"the first {gate.FIRST_LABELS} labels")
        comparisons = [latest] if latest is not None else []
        held = self.holdout.current()
        if len(held) >= gate.FEWEST_HELD_OUT:
            errors = gate.errors(candidate, held)
            comparisons.append(Comparison("held-out labels", errors, gate.errors(self.champion, held)))
            if self.learned - self.anchored_at >= gate.ANCHOR_LABELS:
                comparisons.append(Comparison("held-out labels of the anchor", errors, gate.errors(self.anchor, held)))
        return gate.decide(comparisons)

    def publishable(self) -> dict[str, Tensor]:
        """The weights and buffers of what is to be served: what a version holds."""
        return {name: value.detach().clone() for name, value in self.served.state_dict().items()}

    def rollback(self, spec: ModelSpec, classes: Sequence[int | str], weights: Mapping[str, Tensor]) -> None:
        """Restarts from other weights, with a fresh optimizer. Memory, holdout and detectors stay; a running job goes.

        The recipe stays too: it is how the model learns from here on, and not what it was. Only where it does not fit the
        former network, as when it names layers that were not there, the former recipe comes with it.
        """
        before, spec = self.spec.recipe, self._with_present_recipe(spec, classes)
        module = build(spec, classes, factories=self.factories, seed=0)
        bundle.load(module, _with_experts(module, weights))
        self._restart(spec, classes, module)
        self._follow(before)
        self._crown()
        self.retraining = self.canary = self.probation = None

    def _with_present_recipe(self, spec: ModelSpec, classes: Sequence[int | str]) -> ModelSpec:
        changed = spec.changed(recipe=self.spec.recipe)
        try:
            check_fit(changed, build(changed, classes, factories=self.factories, seed=0))
        except InvalidInput:
            return spec
        return changed

    def _restart(self, spec: ModelSpec, classes: Sequence[int | str], module: Served) -> None:
        """Goes on from a former module. Memory and holdout count classes by their index: later ones stay known."""
        later = self.classes[len(classes) :]
        edited = Edited(spec, list(classes), module)
        if later:
            edited = AddClasses(classes=later).apply(spec, classes, module)
        self.trainee.restart(edited.spec, edited.module)
        self.classes = edited.classes

    @property
    def champion_classes(self) -> list[int | str]:
        """The classes that the champion answers."""
        return self.classes_of(self.champion)

    def classes_of(self, module: Served) -> list[int | str]:
        """The classes that a present or former module answers: those of the learner, up to its width."""
        return self.classes[: self._width(module)]

    def change_recipe(self, changes: Mapping[str, Any], versions: Versions = NO_VERSIONS) -> None:
        """Merges changes over the recipe, and over a running job's; :class:`InvalidInput` where they do not fit.

        ``versions`` are the weights of those that the changes name.
        """
        before = self.spec.recipe
        racers = self.retraining.race.racers if self.retraining else []
        trainees = [self.trainee, *(racer.trainee for racer in racers)]
        specs = [self._changed(trainee.spec, changes, versions) for trainee in trainees]
        for trainee, spec in zip(trainees, specs, strict=True):
            check_fit(spec, trainee.module)
        strategy = self.spec.strategy
        for trainee, spec in zip(trainees, specs, strict=True):
            trainee.follow(spec, self.memory)
            trainee.upkeep.remember(versions)
        for racer in racers:
            racer.trainee.leave_experts()
        self._follow(before)
        if strategy != self.spec.strategy:
            self._crown()

    def _changed(self, spec: ModelSpec, changes: Mapping[str, Any], versions: Versions) -> ModelSpec:
        check_versions(changes, versions)
        changed = changed_recipe(spec, changes)
        check_loss(changed, self.factories)
        return changed

    def _follow(self, before: Recipe) -> None:
        """Lets all that is not trained follow a recipe that has taken the place of ``before``."""
        recipe, empty = self.spec.recipe, Examples.empty(self.spec)
        if recipe.detector != before.detector:
            self.detector = recipe.detector.start()
        if recipe.input_detector != before.input_detector:
            self.lookout = self._new_lookout()
        if recipe.on_alarm != before.on_alarm:
            self.recent = self._new_recent()
        if recipe.memory != before.memory:
            kept, self.memory = self.memory.examples, Memory(recipe.memory, empty)
            self.memory.add(kept, self.trainee.generator)
        if recipe.gate.holdout_size != before.gate.holdout_size:
            held, self.holdout = self.holdout.current(), Holdout(recipe.gate.holdout_size, empty)
            self.holdout.add(held)

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

        ``versions`` are the weights of those that the recipes name; ``race`` are the entries that are compared, if any are.

        Raises:
            InvalidInput: the recipe, an edit or an entry does not fit.
        """
        lineup = Lineup.of(self.spec, recipe, edits, race)
        lineup.check_versions(versions)
        refused = self._refused(examples, range(len(examples)))
        usable = [item for n, item in enumerate(examples) if n not in refused and not self._is_held_out(item)]
        index_of = self._index_of
        known = [
            item for item in usable if self.spec.task == "regression" or (type(item.label), item.label) in index_of
        ]
        forked = self._forked(job, lineup, self.memory.examples.joined(self._examples(known)), epochs)
        for racer in forked.race.racers:
            racer.trainee.upkeep.remember(versions)
        self.retraining = forked

    def _forked(self, job: str, lineup: Lineup, examples: Examples, epochs: int) -> Retraining:
        bare = copy.deepcopy(self.module)
        # What is served beside the network is the stream's, and can be large: no racer carries it along.
        bare.experts = None
        sources = Sources(inputs=self.memory.examples.inputs)
        models = list(lineup.models(self.classes, bare, sources, self.factories))
        seed, teacher = self.seed + self.learned + 1, Teacher(self.spec, self.champion_classes, self.champion)
        return Retraining.fork(job, lineup, models, examples, epochs, seed, teacher, self.trainee)

    def finish(self, version: int, is_promoted: bool = False) -> Outcome:
        """Ends the running job: its last updates, what has arrived meanwhile, and the gate; a promoted one is gone on with.

        Args:
            version: the number that it gets when it is promoted.
            is_promoted: an admin has decided already.

        Raises:
            InvalidInput: the job has added a class in the place of one that has arrived meanwhile.
        """
        job = self.retraining
        if job is None:
            raise InvalidInput("no retrain job is running", code="no_job")
        job.rejoin(self.trainee, self.classes, self.memory)
        decision = Decision(True, "promoted") if is_promoted else self._decide(None, job.trainee.candidate())
        if decision.promoted:
            self._put_on_probation(version)
            self._take_over(job)
        self.retraining = None
        return Outcome(decision=decision)

    def _take_over(self, job: Retraining) -> None:
        before = self.spec.recipe
        self.trainee, self.classes = job.trainee, job.classes
        self._follow(before)
        self._crown()

    def _crown(self) -> None:
        """Makes the present weights champion and anchor, whatever was before."""
        self.champion = self.anchor = copy.deepcopy(self.trainee.candidate())
        self.judged_at = self.anchored_at = self.learned
        self.is_ahead, self.trial = False, None
        self._dismiss_witness()

    def cancel(self) -> None:
        """Ends the running job without a trace."""
        self.retraining = None

    def digest(self) -> str:
        """16 hexadecimal digits that stand for every weight and buffer, and for the count of what was learned."""
        found = hashlib.sha256(str(self.learned).encode())
        for name, value in self.module.state_dict().items():
            found.update(name.encode())
            found.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()[:16]

    def metrics(self) -> dict[str, Any]:
        """What is measured: scores, alarms, forgetting, how much is kept, the ``learning_rate``, and what rules tell."""
        return {
            **self.forgetting.shown(),
            "prequential": self.prequential.shown(),
            "alarms": [alarm.as_json() for alarm in self.alarms[-3:]],
            "held_out": len(self.holdout),
            "memory": len(self.memory),
            "learning_rate": self.trainee.learning_rate,
            **self.trainee.upkeep.metrics(),
        }

    @property
    def _index_of(self) -> dict[tuple[type, object], int]:
        return {(type(name), name): index for index, name in enumerate(self.classes)}

    def _examples(self, items: Sequence[Item]) -> Examples:
        return Examples.of(self.spec, items, self._index_of)

    def state_dict(self) -> State:
        """The whole state, independent of what the learner does next."""
        tensors = {
            **named("trainee", self.trainee.tensors()),
            **named("champion", self.champion.state_dict()),
            **named("anchor", self.anchor.state_dict()),
            **named("memory", self.memory.tensors()),
            **named("holdout", self.holdout.tensors()),
            **(named("lookout", self.lookout.tensors()) if self.lookout else {}),
            **named("recent", self.recent.tensors()),
            **(named("retraining", self.retraining.tensors()) if self.retraining else {}),
            **(named("canary", self.canary.module.state_dict()) if self.canary else {}),
            **(named("probation", self.probation.tensors()) if self.probation else {}),
        }
        data = {
            "spec": self.spec.model_dump(mode="json"),
            "classes": self.classes,
            "champion_width": self._width(self.champion),
            "anchor_width": self._width(self.anchor),
            "seed": self.seed,
            "learned": self.learned,
            "judged_at": self.judged_at,
            "anchored_at": self.anchored_at,
            "trial": dataclasses.asdict(self.trial) if self.trial else None,
            "is_ahead": self.is_ahead,
            "memory": self.memory.data(),
            "holdout": self.holdout.data(),
            "prequential": self.prequential.data(),
            "detector": self.detector,
            "lookout": self.lookout.data() if self.lookout else None,
            "witness_width": self._width(self.lookout.witness) if self.lookout and self.lookout.witness else 0,
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "recent": self.recent.data(),
            "forgetting": self.forgetting.data(),
            "measured_at": self.measured_at,
            "retraining": self.retraining.data() if self.retraining else None,
            "canary": self.canary.data() if self.canary else None,
            "probation": self.probation.data() if self.probation else None,
        }
        return State({name: value.detach().clone() for name, value in tensors.items()}, copy.deepcopy(data))

    @classmethod
    def from_state(cls, state: State, *, factories: Collection[str] = ()) -> Learner:
        """The learner that :meth:`state_dict` described."""
        tensors, data = state.tensors, state.data
        spec, classes = parse(ModelSpec, data["spec"]), data["classes"]
        learner = cls(spec, classes, build(spec, classes, factories=factories, seed=0), data["seed"], factories)
        learner.trainee.load(part(tensors, "trainee"))
        learner.champion = learner._former(part(tensors, "champion"), data["champion_width"])
        learner.anchor = learner._former(part(tensors, "anchor"), data["anchor_width"])
        learner.memory.load(part(tensors, "memory"), data["memory"])
        learner.holdout.load(part(tensors, "holdout"), data["holdout"])
        learner.prequential.load(data["prequential"])
        learner.detector = copy.deepcopy(data["detector"])
        if learner.lookout is not None:
            former = functools.partial(learner._former, width=data["witness_width"])
            learner.lookout.load(part(tensors, "lookout"), data["lookout"], former)
        learner.recent.load(part(tensors, "recent"), data["recent"])
        learner.forgetting.load(data["forgetting"])
        learner.measured_at = data["measured_at"]
        learner.alarms = [Alarm(**alarm) for alarm in data["alarms"]]
        for name in ("learned", "judged_at", "anchored_at", "is_ahead"):
            setattr(learner, name, data[name])
        learner.trial = Trial(**data["trial"]) if data["trial"] is not None else None
        if data["retraining"] is not None:
            learner.retraining = Retraining.from_state(
                part(tensors, "retraining"), data["retraining"], learner.factories
            )
        if data["canary"] is not None:
            module = learner._former(part(tensors, "canary"), data["canary"]["width"])
            learner.canary = Canary(module=module, **data["canary"])
        if data["probation"] is not None:
            learner.probation = Probation.from_state(part(tensors, "probation"), data["probation"], learner.factories)
        return learner

    def _former(self, tensors: Mapping[str, Tensor], width: int) -> Served:
        module = build(self.spec, self.classes[:width], factories=self.factories, seed=0)
        module.load_state_dict(dict(tensors))
        return module

    def _width(self, module: Served) -> int:
        """How many classes a champion or an anchor answers. A network with an output of its own never takes more."""
        return module.width or len(self.classes)


def _with_experts(module: Served, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network alone, or beside what another strategy served: fresh experts take that place."""
    own = {name: value for name, value in module.state_dict().items() if name.startswith("experts.")}
    if own and all(name in weights and weights[name].shape == value.shape for name, value in own.items()):
        return dict(weights)
    if own:
        module.experts.rely_on_network()  # type: ignore[operator, union-attr]
    return {**{name: value for name, value in weights.items() if not name.startswith("experts.")}, **own}


def _with_scales(module: Served, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith("scale.") for name in weights):
        return dict(weights)
    for scale in module.scale.values():
        scale.fix()  # type: ignore[operator]
    if module.target_scale is not None:
        module.target_scale.fix()
    own = module.state_dict()
    return {**{name: own[name] for name in own if "scale." in name.split("network.")[0]}, **weights}
