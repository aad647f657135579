"""One model's learning: a deterministic function of its state, the items and the plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from torch import Tensor

from driftline.learning.corrections import Corrected, parted
from driftline.learning.examples import Examples
from driftline.learning.labelled_batch import LabelledBatch, refused
from driftline.learning.late_labels import is_history, lived
from driftline.learning.monitoring.monitor import Alarm, ServedRow
from driftline.learning.monitoring.scoring import Scored
from driftline.learning.old_states import upgraded
from driftline.learning.promotion.champions import Candidate
from driftline.learning.promotion.gate import Comparison, Decision, GateLimits
from driftline.learning.relearning import RelearnedLearner
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.runtime import ExampleSource
from driftline.learning.stateful import State, part
from driftline.learning.step_result import StepResult
from driftline.learning.training.losses.custom import LossFailed
from driftline.learning.training.member_outputs import member_outputs_of
from driftline.learning.training.returned import Return
from driftline.networks import pretrained
from driftline.networks.build import build
from driftline.networks.experts.serving import leave_out_missing
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import ClassTable

ALARM_EPOCHS = 10


class Learner(RelearnedLearner):
    """Scores, learns and puts candidates to the gate, a step at a time; it knows neither clock nor store."""

    @classmethod
    def create(
        cls,
        spec: ModelSpec,
        *,
        seed: int,
        weights: Mapping[str, Tensor] | None = None,
        begins_with: Mapping[str, Tensor] | None = None,
        factories: Collection[str] = (),
        limits: GateLimits = GateLimits(),  # noqa: B008
    ) -> Learner:
        """A learner at its beginning.

        Args:
            seed: what the first weights and all random draws start from.
            limits: how many labels the gate takes for what.
            weights: the module's tensors by name, instead of random ones (:func:`driftline.networks.pretrained.load`).
            begins_with: some of its tensors, of another model; all others are fresh.

        Raises:
            InvalidInput: the network cannot be built, or the weights do not fit it.
        """
        classes = spec.known_classes()
        module = build(spec, classes, factories=factories, seed=seed)
        if weights is not None:
            pretrained.load(module, weights)
        if begins_with is not None:
            pretrained.begin_with(module, begins_with)
        return cls(spec, classes, module, seed, factories, limits)

    def learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> StepResult:
        """One step: scores the items as they were served, learns them, and puts a candidate to the gate where the plan says so.

        Args:
            items: the records of the step; none, where it only replays or publishes.
            numbers: their log numbers.
            plan: how many updates, how many items at once, and whether to publish.
        """
        result, ends = StepResult(), _ends(items, plan.at_once)
        for first, end in zip([0, *ends], ends, strict=False):
            is_last = end >= len(items)
            own = msgspec.structs.replace(
                plan,
                publish=plan.publish and is_last and result.decision is None,
                job=plan.job if result.forked is None else None,
            )
            result = result.joined(self._learn(items[first:end], numbers[first:end], own))
        return result

    def _learn(self, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> StepResult:
        """The items of a step that are learned at once."""
        self.course.state.references = self.promotion.references
        with self.course.state.drawing():
            rejected = refused(self.spec, numbers, items)
            sifted = self._sift(numbers, items, rejected)
            if sifted.held and not sifted.come:
                return StepResult(rejected=rejected).joined(sifted.result)
            come, corrections = parted(sifted.come)
            labelled_batch = self._labelled_batch(*self._known(come, plan, sifted.rows_of(come)))
            if come and not corrections and not len(labelled_batch) and not any(item.weight for _, item in come):
                # What counts nothing changes nothing: nor does it have former labels replayed.
                return StepResult(rejected=rejected)
            live = labelled_batch.live
            served, alarms, over = self._observe(labelled_batch, live, plan)
            errors = _live_errors(served)
            self._follow_answers(live)
            returned = self._update_mixture_weights(live, served, plan.version)
            latest = self._compare(live, errors, len(labelled_batch), plan.version) if plan.publish else None
            fresh = self._read(self.promotion.hold_out(labelled_batch, self.learned))
            quarantined = self._train(fresh, self._correct(corrections), plan)
            self.monitor.remember(fresh.where([n not in quarantined for n in fresh.numbers]))
            self.learned += len(labelled_batch)
            running = self.retraining
            decision = self._take_back(plan.version) or (self._decide(latest, plan.version) if plan.publish else None)
            dropped = running.job if running is not None and self.retraining is None else None
            if latest is not None:
                self.monitor.measure_forgetting(
                    self.promotion.champion, self.promotion.holdout.examples, self.class_table.names, self.learned
                )
            forked = self._act_on(alarms, plan.job)
        found = StepResult(served, alarms, rejected, quarantined, decision, forked, dropped, over, returned)
        return found.joined(sifted.result) if sifted.tells else found

    def _known(
        self, come: Sequence[tuple[int, Item]], plan: Plan, rows: dict[str, Tensor] | None
    ) -> tuple[list[tuple[int, Item]], dict[str, Tensor] | None]:
        """Of the records that have come, and of those whose labels were late, the ones whose labels count and are known now.

        What is imported is answered first, by what has been learned so far: live, it would have been served by then. Where that
        is all, as most often, its rows as tensors are given with it, or ``rows``, where these were known before.
        """
        counted = [(n, item) for n, item in come if item.weight > 0]
        history = [(n, item) for n, item in counted if is_history(item)]
        if not history and not len(self.late_labels):
            return counted, rows
        served = Model(self.spec, self.classes, self.course.candidate())
        version = max(plan.version - 1, self.ordered_since)
        numbers, items = [n for n, _ in history], [item for _, item in history]
        inputs = Examples.of_rows(self.spec, items)
        answered = dict(zip(numbers, lived(items, inputs, served, version), strict=True))
        if len(history) == len(come) and not len(self.late_labels) and not any(item.delay for item in items):
            return list(answered.items()), inputs
        known, late = self.late_labels.follow(come, answered)
        unfit = refused(self.spec, [n for n, _ in late], [item for _, item in late])
        return [record for record in known if record[0] not in unfit], None

    def _observe(
        self, labelled_batch: LabelledBatch, live: LabelledBatch, plan: Plan
    ) -> tuple[list[ServedRow], list[Alarm], list[str]]:
        """Scores what was served, tells all that follow errors, looks for drift; the answers, the alarms, and those over."""
        index_of, unit = self.course.state.index_of, self.module.error_unit
        served, alarms = self.monitor.score(labelled_batch, index_of, self.ordered_since, plan.version, unit)
        self.promotion.observe([(item, row.error) for item, row in served])
        for error in _live_errors(served):
            self.course.on_error(error)
        if alarms:
            self.promotion.holdout.on_drift(alarms[-1].since)
            self.course.on_drift(self.replay_source(plan), max(0, labelled_batch.numbers[0] - alarms[-1].since))
            self.trust.on_drift(alarms[-1].since)
        alarms += self.monitor.look(live, self.module, self.learned)
        alarms += self.monitor.doubt(live, self.known_since, self.served)
        over = self.monitor.settle(alarms)
        self.monitor.keep(alarms)
        return served, alarms, over

    def _follow_answers(self, live: LabelledBatch) -> None:
        """Shows intervals and prior how served answers and labels differ; what is served next has those of the stream."""
        intervals = self.module.intervals
        if intervals is not None:
            intervals.observe(*live.served_values(intervals.outputs, intervals.width))
            self.promotion.champion.intervals = intervals
        if self.module.prior is not None and len(live):
            live.show_prior(self.module, self.ordered_since)
            self.promotion.champion.follow_prior(self.module)

    def _update_mixture_weights(self, live: LabelledBatch, served: list[ServedRow], version: int) -> list[Return]:
        """Shows a strategy that mixes how good what was served and its parts had been; what it has brought back for that."""
        if self.module.experts is None or not len(live):
            return []
        strategy, state = self.course.strategy, self.course.state
        returned = strategy.on_served(state, *_shown(live, served, self.promotion.is_held_out))
        self.mixed_since = version if returned is not None else self.mixed_since
        outputs = member_outputs_of(live, self.served, self.module, self.ordered_since, self.mixed_since)
        strategy.update_mixture_weights(state, outputs, live.examples)
        return [] if returned is None else [returned]

    def _compare(self, live: LabelledBatch, errors: list[float], arriving: int, version: int) -> Comparison | None:
        """Candidate and champion on labels before they are learned, where a comparison is due."""
        self.promotion.watch(live, errors, self._candidate(version))
        return self.promotion.compare_latest(self.learned, arriving)

    def _candidate(self, version: int) -> Candidate:
        model = Model(self.spec, self.classes, self.course.candidate())
        return Candidate(model, self.learned, version)

    def _read(self, fresh: LabelledBatch) -> LabelledBatch:
        """Lets the encoder of rows follow what is about to be learned."""
        if self.spec.fields is None or not len(fresh):
            return fresh
        examples, rescaling = self.course.read(fresh.examples)
        if rescaling is not None:
            self._carry(rescaling)
        return fresh.with_examples(examples)

    def _train(self, fresh: LabelledBatch, corrected: Corrected, plan: Plan) -> dict[int, str]:
        """Learns the labels that are not held out, and again those that were corrected; the reasons of those that made the
        weights useless, by log number.
        """
        new, strategy = fresh.examples.joined(corrected.again.examples), self.course.strategy
        if len(new) and (rescaling := self.course.before_step(new)) is not None:
            self._carry(rescaling)
            if rescaling.error_unit is not None:
                self.promotion.take_error_unit(rescaling.error_unit)
        for _ in range(plan.updates):
            if (failure := self._update(new, self.replay_source(plan))) is not None:
                self._begin_again()
                return dict.fromkeys(fresh.numbers, failure)
        state = self.course.state
        self.course.after_step(fresh.examples.joined(corrected.lost))
        strategy.on_holdout(state, self.promotion.holdout, len(new))
        self.replay_buffer.add(strategy.annotate(state, fresh.examples), state.generator)
        if self.retraining is not None:
            items = [*fresh.items, *corrected.again.items]
            self.retraining.observe(new, [item.route == "live" for item in items])
        return {}

    def _update(self, new: Examples, replay: ExampleSource) -> str | None:
        """One update; or the reason why it was not made."""
        try:
            return self.course.update(new, replay)
        except LossFailed as error:
            return error.message

    def _take_back(self, version: int) -> Decision | None:
        """Rolls back to the former champion, where what took its place has harmed."""
        harmed = self.promotion.end_promotion_watch()
        if harmed is None:
            return None
        former = harmed.model
        self.rollback(former.spec, former.classes, former.module.state_dict(), version)
        return harmed.decide()

    def _decide(self, latest: Comparison | None, version: int) -> Decision | None:
        """Puts the present weights to the gate."""
        found = self.promotion.decide(self._candidate(version), latest)
        if found is None:
            return None
        self.course.on_decision(found.decision.promoted)
        if found.move == "begin_again":
            self._begin_again()
        if found.move != "stay":
            self._set_champion()
        return found.decision

    def _act_on(self, alarms: Sequence[Alarm], job: str | None) -> str | None:
        """Does what the recipe says after an alarm, at the end of its step; the job that was forked for it, if one was."""
        answered, answer = self.monitor.answered(alarms), self.spec.recipe.on_alarm
        if not answered or answer not in ("shorten", "retrain"):
            return None
        examples = self.monitor.recent.since(answered[-1].since)
        if answer == "shorten":
            self._renew_replay_buffer(examples)
            return None
        if job is None or self.retraining is not None or not examples:
            return None
        self.retraining = self._forked(job, RetrainPlan.of(self.spec, {}), examples, ALARM_EPOCHS)
        return job

    @classmethod
    def from_state(
        cls,
        state: State,
        *,
        factories: Collection[str] = (),
        limits: GateLimits = GateLimits(),  # noqa: B008
        module: ServedModel | None = None,
    ) -> Learner:
        """The learner that :meth:`state_dict` described, by this release or a former one; ``module``, of its spec, is taken."""
        state = upgraded(state)
        data = state.data
        spec, classes = parse(ModelSpec, data["spec"]), list(data["classes"])
        module = module or build(spec, classes, factories=factories, seed=0)
        leave_out_missing(module, part(state.tensors, "course.state.module"))
        learner = cls(spec, classes, module, data["seed"], factories, limits, ClassTable(data["class_table"]))
        learner.load_state_dict(state)
        learner.course.begin_experts(learner.replay_buffer.examples)
        return learner


def _live_errors(served: Sequence[ServedRow]) -> list[float]:
    return [row.error for item, row in served if item.route == "live"]


def _shown(
    live: LabelledBatch, served: list[ServedRow], is_held_out: Callable[[Item], bool]
) -> tuple[Examples, list[float]]:
    """The rows that were answered, with the loss of each. Where something comes back, it learns them: none is held out."""
    scored = {row.n: row for _, row in served}
    pairs = zip(live.numbers, live.items, strict=True)
    shown = live.where([n in scored and not is_held_out(item) for n, item in pairs])
    return shown.examples, [_loss(scored[n]) for n in shown.numbers]


def _loss(scored: Scored) -> float:
    """The Brier score of what was served, where it is known; else the error."""
    brier: float | None = getattr(scored, "brier", None)
    return float(scored.error) if brier is None else brier


def _ends(items: Sequence[Item], at_once: int) -> list[int]:
    """Where each part of a step ends that is learned at once: after so many items that count, 0: after all of them."""
    counted = [row for row, item in enumerate(items, 1) if item.weight > 0]
    inner = counted[at_once - 1 : -1 : at_once] if at_once else []
    return [*inner, len(items)]
