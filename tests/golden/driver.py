"""Plays a scenario: the only module of the golden digests that touches a learner.

A scenario is plain data: the spec, the stream, how many labels, and a ``script`` of what an admin does and when. Everything
that a clock decides in a worker is decided here by counts: the sizes of steps, which of them publish, how far a job advances.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import torch

from driftline.learning.learner import Learner
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.records import Answer, Item, Plan
from driftline.rows.rows import from_items
from driftline.spec import ModelSpec, parse
from driftline.spec.label_set import chosen, set_error
from tests.golden import streams
from tests.golden.runs import FROM_FILES

SEED = 5
STEP_SIZES = (1.0, 1.0, 0.5, 1.0, 0.25)
"""Shares of the batch size that steps take in turn."""
JOB_UPDATES = 12
"""Updates that a job makes between two steps."""
QUARTERS = 4
LARGEST_ERROR = 1e6
HELD = ("items", "versions", "events", "errors", "answers", "states", "script")
"""What a run gathers; one that goes on from it gathers its own."""
DIGITS = 16

Action = Mapping[str, Any]


def spec_schema() -> dict[str, Any]:
    """The JSON schema of a model: it names every part that there is."""
    return ModelSpec.model_json_schema()


def _rows_of(scenario: Mapping[str, Any]) -> list[tuple[dict[str, bytes], Any]]:
    return streams.stream(scenario["stream"], scenario["task"], scenario.get("times", 1))[: scenario["labels"]]


@dataclass
class Version:
    """A version as the store keeps it."""

    spec: Any
    classes: list[int | str]
    weights: dict[str, torch.Tensor]


@dataclass
class Run:
    """A learner, what stands around it, and what is recorded of it."""

    spec: Any
    factories: list[str]
    rows: list[tuple[dict[str, bytes], Any]]
    learner: Any
    labellers: int = 0
    """How many the labels come from, of whom the first one lies; 0: nobody says."""
    live: int = 1
    newest: int = 1
    learned: int = 0
    steps: int = 0
    promotes_job: bool = False
    items: list[Item] = field(default_factory=list)
    versions: dict[int, Version] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    promoted: int = 0
    answers: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    hashed: Any = field(default_factory=hashlib.sha256)
    script: list[Action] = field(default_factory=list)
    """What an admin is still to do."""

    @classmethod
    def of(cls, scenario: Mapping[str, Any]) -> Run:
        spec = parse(ModelSpec, scenario["spec"])
        factories = list(scenario.get("factories", []))
        rows = _rows_of(scenario)
        learner = Learner.create(spec, seed=SEED, factories=factories)
        run = cls(spec, factories, rows, learner, scenario.get("labellers", 0))
        run._keep(1)
        return run

    @property
    def is_regression(self) -> bool:
        return bool(self.learner.spec.task == "regression")

    def play(self, script: Sequence[Action]) -> dict[str, Any]:
        """Learns the whole stream; each action of the script is done before the first step that begins at its ``at``."""
        self.learn(len(self.rows), script)
        for action in self.script:
            self.do(action)
        return self.result()

    def learn(self, end: int, script: Sequence[Action]) -> None:
        """Learns up to the first step that ends at ``end`` or after it; what is left of the script then waits."""
        self.script = sorted(script, key=lambda action: action["at"])
        while self.learned < end:
            while self.script and self.script[0]["at"] <= self.learned:
                self.do(self.script.pop(0))
            self.step()
            self.advance_job()
            while len(self.answers) < QUARTERS and self.learned >= len(self.rows) * (len(self.answers) + 1) // QUARTERS:
                self.answers.append(self.hashed.hexdigest()[:DIGITS])
                if len(self.answers) == QUARTERS // 2:
                    self.states.append(_digest_of_state(self.learner))

    def from_files(self) -> Run:
        """Another run that stands where this one does, and whose learner goes on from the bytes of a checkpoint."""
        held = {name: copy.copy(getattr(self, name)) for name in HELD}
        return replace(self, **held, learner=self._learner_from_files(), hashed=self.hashed.copy())

    def _learner_from_files(self) -> Any:
        return learner_of(*checkpoint_of(self.learner), self.factories)

    def extend(self, scenario: Mapping[str, Any]) -> None:
        """Lets the rest of the stream of the same scenario come, which was cut short."""
        self.rows = _rows_of(scenario)

    @property
    def position(self) -> dict[str, int]:
        """Where a run stands beside its learner."""
        return {name: getattr(self, name) for name in ("learned", "steps", "live", "newest")}

    def go_on(self, learner: Any, position: Mapping[str, int]) -> None:
        """Goes on with another learner from where :attr:`position` was."""
        self.learner = learner
        for name, value in position.items():
            setattr(self, name, value)
        self._keep(self.live)

    def next_outputs(self, count: int) -> list[list[float]]:
        """What is served for the rows that come next."""
        answers = self._ask(self.learner.served, self.live, self.rows[self.learned : self.learned + count])
        return [np.frombuffer(answer.outputs, "<f4").tolist() for answer in answers]

    def error_of_rest(self) -> float:
        """The mean error over the rest of the stream, as it is learned."""
        self.errors.clear()
        self.play([])
        return sum(self.errors) / len(self.errors)

    def step(self) -> None:
        recipe = self.learner.spec.recipe
        size = max(1, int(recipe.batch_size * STEP_SIZES[self.steps % len(STEP_SIZES)]))
        end = min(len(self.rows), self.learned + size)
        items = self._answered(range(self.learned, end))
        updates = max(1, round(recipe.updates * len(items) / recipe.batch_size))
        # Some steps are those of a backlog, and some do not publish.
        plan = self._plan(1 if self.steps % 11 == 10 else updates, publish=self.steps % 4 != 3, end=end)
        outcome = self.learner.learn(items, range(self.learned + 1, end + 1), plan)
        self.items += items
        self.learned, self.steps = end, self.steps + 1
        self._take(outcome, plan.version)
        if self.steps % 9 == 0:
            plan = self._plan(updates, publish=True)
            self._take(self.learner.learn([], [], plan), plan.version)

    def _plan(self, updates: int, publish: bool, end: int | None = None) -> Plan:
        job = f"alarm{end}" if end is not None and self.learner.spec.recipe.on_alarm == "retrain" else None
        return Plan(updates=updates, publish=publish, version=self.newest + 1, job=job)

    def _answered(self, numbers: range) -> list[Item]:
        """The next rows, as they were served before their labels came."""
        rows = [self.rows[n] for n in numbers]
        live = self._ask(self.learner.served, self.live, rows)
        canary = self.learner.promotion.canary
        others = self._ask(canary.module, canary.version, rows) if canary is not None else live
        items = []
        for place, n in enumerate(numbers):
            inputs, label = rows[place]
            if canary is not None and n % 3 == 0:
                items.append(Item(f"i{n}", inputs, label, route="canary", answer=others[place]))
            elif n % 29 == 7:
                items.append(Item(f"i{n}", inputs, label, weight=0.5, route="import"))
            elif n % 31 == 13:
                items.append(Item(f"i{n}", inputs, label, route="pinned", answer=live[place]))
            elif n % 333 == 100:
                items.append(Item(f"i{n}", {name: value[:-1] for name, value in inputs.items()}, label))
            else:
                items.append(Item(f"i{n}", inputs, label, weight=2.0 if n % 37 == 5 else 1.0, answer=live[place]))
            self._score(items[-1])
        return [self._named(item, n) for item, n in zip(items, numbers, strict=True)] if self.labellers else items

    def _named(self, item: Item, n: int) -> Item:
        """An item with whom it comes from."""
        assert isinstance(item.label, int)
        label = item.label if n % self.labellers else (item.label + 1) % len(self.spec.known_classes())
        return msgspec.structs.replace(item, label=label, caller=f"key{n % self.labellers}")

    def _ask(self, module: Any, version: int, rows: Sequence[tuple[dict[str, bytes], Any]]) -> list[Answer]:
        with torch.inference_mode():
            outputs, trace = module.eval().answer(_tensors(self.learner.spec, [inputs for inputs, _ in rows]))
        self.hashed.update(outputs.contiguous().numpy().tobytes())
        classes = self.learner.classes_of(module)
        traces = [b""] * len(rows) if trace is None else [row.tobytes() for row in trace.numpy()]
        answers = []
        for output, row in zip(outputs.numpy(), traces, strict=True):
            is_one = self.learner.spec.task == "classification"
            label = classes[int(output.argmax())] if classes and is_one else None
            answers.append(Answer(version, label, output.tobytes(), row))
        return answers

    def _score(self, item: Item) -> None:
        if item.answer is not None:
            if self.learner.spec.kind.is_multilabel:
                given = chosen(self.learner.classes, np.frombuffer(item.answer.outputs, "<f4"))
                self.errors.append(set_error(item.label, given, len(self.learner.classes)))
            elif self.is_regression:
                truth = np.atleast_1d(np.asarray(item.label, np.float64))
                error = float(np.abs(np.frombuffer(item.answer.outputs, "<f4")[: len(truth)] - truth).mean())
                self.errors.append(min(error, LARGEST_ERROR))
            else:
                self.errors.append(float(item.answer.label != item.label))

    def _take(self, outcome: Any, version: int) -> None:
        """What the store would commit of an outcome."""
        self.events += [f"{alarm.at} {alarm.kind}" for alarm in outcome.alarms]
        counts = {"rejected": len(outcome.rejected), "quarantined": len(outcome.quarantined)}
        self.events += [f"{self.learned} {name} {count}" for name, count in counts.items() if count]
        self.events += [f"{self.learned} forked"] * (outcome.forked is not None)
        self.events += [f"{self.learned} dropped"] * (outcome.dropped is not None)
        decision = outcome.decision
        if decision is None:
            return
        self.promoted += decision.promoted
        kinds = [f"canary {decision.canary}"] * (decision.canary is not None)
        kinds += ["refused"] * (not decision.promoted and decision.canary is None) + ["restored"] * decision.restored
        self.events += [f"{self.learned} {kind}" for kind in kinds]
        if decision.canary == "begun":
            self._publish(version, is_canary=True)
        elif decision.canary == "ended":
            self.live = self.newest if decision.promoted else self.live
        elif decision.promoted or decision.restored:
            self._publish(version)

    def _publish(self, version: int, is_canary: bool = False) -> None:
        self._keep(version, is_canary)
        self.newest = version
        self.live = self.live if is_canary else version

    def _keep(self, version: int, is_canary: bool = False) -> None:
        module = self.learner.promotion.canary.module if is_canary else self.learner.served
        weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self.versions[version] = Version(self.learner.spec, self.learner.classes_of(module), weights)
        for old in [number for number in self.versions if 3 < number < version - 10]:
            del self.versions[old]

    def advance_job(self) -> None:
        """A slice of the job that runs, if one does; one that is done ends, unless it waits for an admin."""
        job = self.learner.retraining
        if job is None:
            return
        job.advance(JOB_UPDATES)
        if job.is_done and self.learner.spec.recipe.gate.mode != "manual":
            version = self.newest + 1
            outcome = self.learner.finish(version, self.promotes_job)
            self.events.append(f"{self.learned} job {'promoted' if outcome.decision.promoted else 'refused'}")
            if outcome.decision.promoted:
                self._publish(version)

    def do(self, action: Action) -> None:
        """What an admin does."""
        kind = action["do"]
        self.events.append(f"{self.learned} {kind}")
        getattr(self, f"_do_{kind}")(action)

    def _do_retrain(self, action: Action) -> None:
        self.promotes_job = action.get("promoted", True)
        self.learner.retrain(
            f"job{self.learned}",
            action.get("recipe", {}),
            action.get("edits", []),
            action.get("epochs", 2),
            self.items[-200:],
            self._weights_of(action),
            action.get("race", []),
        )

    def _do_recipe(self, action: Action) -> None:
        self.learner.change_recipe(action["recipe"], self._weights_of(action))

    def _weights_of(self, action: Action) -> dict[int, dict[str, torch.Tensor]]:
        return {number: self.versions[number].weights for number in action.get("versions", [])}

    def _do_rollback(self, action: Action) -> None:
        version = self.versions[action["version"]]
        self.learner.rollback(version.spec, version.classes, version.weights, self.newest + 1)
        self._publish(self.newest + 1)

    def _do_promote(self, action: Action) -> None:
        job, version = self.learner.retraining, self.newest + 1
        if job is not None and job.is_done:
            self.learner.finish(version, True)
        else:
            self.learner.promote(version)
        self._publish(version)

    def _do_cancel(self, action: Action) -> None:
        self.learner.cancel()

    def _do_restart(self, action: Action) -> None:
        """Goes on from the bytes of a checkpoint, with another learner."""
        self.learner = self._learner_from_files()
        # A restart leaves no trace in what it is compared with.
        self.events.pop()

    def result(self) -> dict[str, Any]:
        weights = self.learner.served.state_dict()
        error = sum(self.errors) / len(self.errors)
        name = "mae" if self.is_regression else self.learner.spec.measures[0]
        measure = {name: round(1 - error if name == "accuracy" else error, 6)}
        return {
            **measure,
            "versions": self.newest,
            "promoted": self.promoted,
            "answers": self.answers,
            "weights": _digest(_bytes(weights[name]) for name in sorted(weights)),
            "states": [*self.states, _digest_of_state(self.learner)],
            "metrics": _digest([_json(_rounded(self.learner.metrics()))]),
            "events": self.events,
        }


def run(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a scenario; :data:`FROM_FILES` are the results that differ where it goes on from files at times."""
    run, restarts = Run.of(scenario), scenario["restarts"]
    if not restarts:
        return run.play(scenario["script"])
    run.learn(restarts[0], scenario["script"])
    other = run.from_files()
    result = run.play(run.script)
    restarted = other.play([*other.script, *({"at": at, "do": "restart"} for at in restarts[1:])])
    return result | {FROM_FILES: [name for name in result if result[name] != restarted[name]]}


def checkpoint_of(learner: Any) -> tuple[bytes, bytes]:
    """A learner's state as the bytes of files: tensors, and plain data."""
    state = learner.state_dict()
    return bundle.weights_to_bytes(state.tensors), msgspec.json.encode(state.data)


def learner_of(tensors: bytes, data: bytes, factories: Sequence[str] = ()) -> Any:
    """The learner whose files these are."""
    state = State(bundle.weights_from_bytes(tensors), msgspec.json.decode(data))
    return Learner.from_state(state, factories=factories)


def _tensors(spec: Any, rows: Sequence[Mapping[str, bytes]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in from_items(spec, rows).items()}


def _digest_of_state(learner: Any) -> str:
    state = learner.state_dict()
    parts = [part for name in sorted(state.tensors) for part in (name.encode(), _bytes(state.tensors[name]))]
    return _digest([*parts, _json(state.data)])


def _bytes(tensor: torch.Tensor) -> bytes:
    kind = f"{tensor.dtype} {list(tensor.shape)}".encode()
    return kind + tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _rounded(value: Any) -> Any:
    """Measures to nine digits: some are products by numpy, which a CPU may add up in another order."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _digest(parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:DIGITS]
