"""One model's learning: a deterministic function of its state, the items and the plan."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning import gate
from driftline.learning.examples import Examples
from driftline.learning.gate import Comparison, Decision
from driftline.learning.memory import Holdout, Memory
from driftline.learning.metrics import Prequential
from driftline.learning.retraining import Retraining
from driftline.learning.trainee import Trainee, named, part
from driftline.networks import bundle
from driftline.networks.build import Served, build
from driftline.networks.edits import Edited, apply_all, parse_edits
from driftline.networks.edits.add_classes import AddClasses
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, Recipe, parse

MOST_ALARMS = 20


@dataclass(frozen=True)
class State:
    """A learner's whole state: tensors, and plain data that JSON keeps bit for bit."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """The error of what was served has risen. ``at`` is the log number of the label that showed it."""

    kind: str
    at: int
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "at": self.at, "message": self.message}


@dataclass(frozen=True)
class Outcome:
    """What a step has done. ``digest`` stands for all weights behind it; records are named by log number."""

    digest: str
    scored: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    decision: Decision | None = None


class Learner:
    """Scores, learns and judges, a step at a time; it knows neither clock nor store.

    ``champion`` is what is served, ``anchor`` an older champion, against which small losses add up.
    """

    def __init__(
        self, spec: ModelSpec, classes: Sequence[int | str], module: Served, seed: int, factories: Collection[str]
    ) -> None:
        self.classes = list(classes)
        self.seed = seed
        self.factories = list(factories)
        self.trainee = Trainee(spec, module, seed)
        self.memory = Memory(spec.recipe.memory.size, Examples.empty(spec))
        self.holdout = Holdout(spec.recipe.gate.holdout_size, Examples.empty(spec))
        self.prequential = Prequential(spec.task == "regression")
        self.detector = spec.recipe.detector.start()
        self.alarms: list[Alarm] = []
        self.learned = 0
        self.champion = self.anchor = copy.deepcopy(module)
        self.anchored_at = 0
        self.retraining: Retraining | None = None

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
            bundle.load(module, _with_scales(module, weights))
        return cls(spec, classes, module, seed, factories)

    @property
    def spec(self) -> ModelSpec:
        return self.trainee.spec

    @property
    def module(self) -> Served:
        return self.trainee.module

    def learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> Outcome:
        """One step: scores the items as they were served, learns them, and puts a candidate to the gate where the plan says so.

        Args:
            items: the records of the step; none, where it only replays or publishes.
            numbers: their log numbers.
            plan: how many updates, and whether to publish.
        """
        with self.trainee.drawing():
            rejected = self._refused(items, numbers)
            valid = [(n, item) for n, item in zip(numbers, items, strict=True) if n not in rejected]
            self._add_classes(item for _, item in valid)
            alarms, scored = self._score(valid)
            held = [self._is_held_out(item) for _, item in valid]
            latest = self._compare_latest(valid) if plan.publish else None
            self.holdout.add(self._examples([item for (_, item), is_held in zip(valid, held, strict=True) if is_held]))
            fresh = [pair for pair, is_held in zip(valid, held, strict=True) if not is_held]
            quarantined = self._train(fresh, plan.updates)
            self.learned += len(valid)
            decision = self._judge(latest) if plan.publish else None
        return Outcome(self.digest(), scored, alarms, rejected, quarantined, decision)

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

    def _score(self, valid: Sequence[tuple[int, Item]]) -> tuple[list[Alarm], int]:
        """Compares what was served with the labels: the prequential scores, and the detector."""
        detector, alarms, scored = self.spec.recipe.detector, [], 0
        for n, item in valid:
            if item.route != "live" or item.answer is None:
                continue
            error = self._served_error(item)
            self.prequential.add(error)
            scored += 1
            if detector.update(self.detector, error):
                alarms.append(Alarm("drift", n, f"the error of what is served has risen ({detector.name})"))
        if alarms:
            self.alarms = [*self.alarms, *alarms][-MOST_ALARMS:]
            self.holdout.alarm()
        return alarms, scored

    def _served_error(self, item: Item) -> float:
        assert item.answer is not None
        if self.spec.task == "regression":
            value = torch.frombuffer(bytearray(item.answer.outputs), dtype=torch.float32)[0]
            error = abs(float(value) - float(item.label))
            # A network may answer what is not finite, and a checkpoint holds finite numbers only: as bad as it gets.
            return error if error <= gate.LARGEST_ERROR else gate.LARGEST_ERROR
        served = item.answer.label
        return float(type(served) is not type(item.label) or served != item.label)

    def _is_held_out(self, item: Item) -> bool:
        """Decided by a keyed hash of the inputs, so that duplicates fall on one side."""
        if item.route != "live" or not self.holdout.size:
            return False
        key = self.seed.to_bytes(16, "big", signed=True)
        digest = hashlib.blake2b(b"".join(item.inputs[name] for name in self.spec.tensors), digest_size=8, key=key)
        return int.from_bytes(digest.digest(), "big") < self.spec.recipe.gate.holdout * 2**64

    def _compare_latest(self, valid: Sequence[tuple[int, Item]]) -> Comparison:
        """Candidate and champion on labels that neither was trained on."""
        latest = self._examples([item for _, item in valid if item.route == "live"])
        return Comparison("latest labels", gate.errors(self.module, latest), gate.errors(self.champion, latest))

    def _train(self, fresh: Sequence[tuple[int, Item]], updates: int) -> dict[int, str]:
        new = self._examples([item for _, item in fresh])
        if len(new):
            self.module.observe(new.inputs, new.targets)
        for _ in range(updates):
            batch = self.spec.recipe.strategy.batch(new, self.memory, self.trainee.generator)
            failure = self.trainee.update(batch) if len(batch) else None
            if failure is not None:
                self._restart(self.spec, self.champion_classes, copy.deepcopy(self.champion))
                return {n: failure for n, _ in fresh}
        self.memory.add(new, self.trainee.generator)
        if self.retraining is not None:
            self.retraining.observe(new)
        return {}

    def _judge(self, latest: Comparison | None, candidate: Served | None = None) -> Decision:
        """The gate over the present weights, or over a retrain job's."""
        candidate = candidate or self.module
        decision = self._decide(latest, candidate)
        if decision.promoted:
            self.champion = copy.deepcopy(candidate)
            if self.learned - self.anchored_at >= gate.ANCHOR_LABELS or self.learned < gate.FIRST_LABELS:
                self.anchor, self.anchored_at = self.champion, self.learned
        return decision

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
        """The weights and buffers of the champion: what a version holds."""
        return {name: value.detach().clone() for name, value in self.champion.state_dict().items()}

    def rollback(self, spec: ModelSpec, classes: Sequence[int | str], weights: Mapping[str, Tensor]) -> None:
        """Restarts from other weights, with a fresh optimizer. Memory, holdout and detectors stay; a running job goes.

        The recipe stays too: it is how the model learns from here on, and not what it was.
        """
        spec = spec.changed(recipe=self.spec.recipe)
        module = build(spec, classes, factories=self.factories, seed=0)
        bundle.load(module, weights)
        self._restart(spec, classes, module)
        self.champion = self.anchor = copy.deepcopy(self.module)
        self.anchored_at = self.learned
        self.retraining = None

    def _restart(self, spec: ModelSpec, classes: Sequence[int | str], module: Served) -> None:
        """Goes on from a former module. Memory and holdout count classes by their index: later ones stay known."""
        later = self.classes[len(classes) :]
        edited = Edited(spec, list(classes), module)
        if later:
            edited = AddClasses(classes=later).apply(spec, classes, module)
        self.trainee.replace(edited.spec, edited.module, [])
        self.trainee.renew_optimizer()
        self.classes = edited.classes

    @property
    def champion_classes(self) -> list[int | str]:
        """The classes that the champion answers: those of the learner, up to its width."""
        return self.classes[: self._width(self.champion)]

    def change_recipe(self, changes: Mapping[str, Any]) -> None:
        """Merges changes over the recipe, and over a running job's; :class:`InvalidInput` where they do not fit."""
        before = self.spec.recipe
        trainees = [self.trainee, self.retraining.trainee] if self.retraining else [self.trainee]
        specs = [changed_recipe(trainee.spec, changes) for trainee in trainees]
        for trainee, spec in zip(trainees, specs, strict=True):
            trainee.follow(spec)
        self._follow(before)

    def _follow(self, before: Recipe) -> None:
        """Lets all that is not trained follow a recipe that has taken the place of ``before``."""
        recipe, empty = self.spec.recipe, Examples.empty(self.spec)
        if recipe.detector != before.detector:
            self.detector = recipe.detector.start()
        if recipe.memory.size != before.memory.size:
            kept, self.memory = self.memory.examples, Memory(recipe.memory.size, empty)
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
    ) -> None:
        """Forks a job that trains on the memory and on ``examples``, without what is held out.

        Raises:
            InvalidInput: the recipe or an edit does not fit.
        """
        spec = changed_recipe(self.spec, recipe)
        edited = apply_all(parse_edits(edits), Edited(spec, self.classes, copy.deepcopy(self.module)))
        refused = self._refused(examples, range(len(examples)))
        usable = [item for n, item in enumerate(examples) if n not in refused and not self._is_held_out(item)]
        known = [
            item
            for item in usable
            if self.spec.task == "regression" or (type(item.label), item.label) in self._index_of
        ]
        both = self.memory.examples.joined(self._examples(known))
        seed = self.seed + self.learned + 1
        self.retraining = Retraining(job, edited.spec, edited.classes, edited.module, both, epochs, seed)

    def finish(self) -> Outcome:
        """Ends the running job: its last updates, what has arrived meanwhile, and the gate; a promoted one is gone on with.

        Raises:
            InvalidInput: the job has added a class in the place of one that has arrived meanwhile.
        """
        job = self.retraining
        if job is None:
            raise InvalidInput("no retrain job is running", code="no_job")
        for arrived, added in zip(self.classes, job.classes, strict=False):
            if (type(arrived), arrived) != (type(added), added):
                message = f"the job added the class {added!r}, and meanwhile {arrived!r} has arrived; retrain again"
                raise InvalidInput(message, code="classes_clash", field="edits", value=added)
        new = self.classes[len(job.classes) :]
        if new:
            edited = AddClasses(classes=new).apply(job.trainee.spec, job.classes, job.trainee.module)
            job.trainee.replace(edited.spec, edited.module, edited.kept)
            job.classes = edited.classes
        job.catch_up()
        decision = self._judge(None, job.trainee.module)
        if decision.promoted:
            before, self.trainee, self.classes = self.spec.recipe, job.trainee, job.classes
            self._follow(before)
            self.anchor, self.anchored_at = self.champion, self.learned
        self.retraining = None
        return Outcome(self.digest(), decision=decision)

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
        """What is measured: ``{"prequential", "alarms", "held_out", "memory"}``."""
        return {
            "prequential": self.prequential.shown(),
            "alarms": [alarm.as_json() for alarm in self.alarms[-3:]],
            "held_out": len(self.holdout),
            "memory": len(self.memory),
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
            **(named("retraining", self.retraining.tensors()) if self.retraining else {}),
        }
        data = {
            "spec": self.spec.model_dump(mode="json"),
            "classes": self.classes,
            "champion_width": self._width(self.champion),
            "anchor_width": self._width(self.anchor),
            "seed": self.seed,
            "learned": self.learned,
            "anchored_at": self.anchored_at,
            "memory": self.memory.data(),
            "holdout": self.holdout.data(),
            "prequential": self.prequential.data(),
            "detector": self.detector,
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "retraining": self.retraining.data() if self.retraining else None,
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
        learner.alarms = [Alarm(**alarm) for alarm in data["alarms"]]
        learner.learned, learner.anchored_at = data["learned"], data["anchored_at"]
        if data["retraining"] is not None:
            learner.retraining = Retraining.from_state(
                part(tensors, "retraining"), data["retraining"], learner.factories
            )
        return learner

    def _former(self, tensors: Mapping[str, Tensor], width: int) -> Served:
        module = build(self.spec, self.classes[:width], factories=self.factories, seed=0)
        module.load_state_dict(dict(tensors))
        return module

    def _width(self, module: Served) -> int:
        """How many classes a champion or an anchor answers. A network with an output of its own never takes more."""
        return int(getattr(module.output, "out_features", len(self.classes)))


def _with_scales(module: Served, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith("scale.") for name in weights):
        return dict(weights)
    for scale in module.scale.values():
        scale.fix()  # type: ignore[operator]
    if module.target_scale is not None:
        module.target_scale.fix()
    own = module.state_dict()
    return {**{name: own[name] for name in own if "scale." in name.split("network.")[0]}, **weights}


def changed_recipe(spec: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
    """The spec with changes merged over its recipe; :class:`InvalidInput` names the field that does not fit."""
    whole = spec.model_dump(mode="json")
    return parse(ModelSpec, {**whole, "recipe": _merged(whole["recipe"], changes)})


def _merged(value: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged, unless they are parts of another name: these come with parameters of their own."""
    result = dict(value)
    for key, change in changes.items():
        old = value.get(key)
        is_same_part = (
            isinstance(change, Mapping)
            and isinstance(old, Mapping)
            and change.get("name", old.get("name")) == old.get("name")
        )
        result[key] = _merged(old, change) if is_same_part else change  # type: ignore[arg-type]
    return result


def check_retrain(
    spec: ModelSpec,
    classes: Sequence[int | str],
    recipe: Mapping[str, Any],
    edits: Sequence[dict[str, Any]],
    factories: Collection[str],
) -> None:
    """Whether a recipe and edits fit a model, before anything is changed; :class:`InvalidInput` says what does not."""
    changed = changed_recipe(spec, recipe)
    parsed = parse_edits(edits)
    if parsed:
        apply_all(parsed, Edited(changed, list(classes), build(changed, classes, factories=factories, seed=0)))
