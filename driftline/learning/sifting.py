"""A learner that knows whose labels it learns, and sets some aside."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import torch
from torch import Tensor

from driftline.errors import NotFound
from driftline.learning.corrections import CorrectedLearner
from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.trust.comparison import MeasuredLabels
from driftline.learning.trust.labeller import WEIGHTS, Labeller
from driftline.learning.trust.likeness import Floats, points_of
from driftline.learning.trust.trust import Records, Sifted
from driftline.networks.served_model import evaluating
from driftline.records import Item
from driftline.spec.classes import indices_of

MAX_OWNERS = 20_000
UNKNOWN = -1


class SiftingLearner(CorrectedLearner):
    """A learner whose labels come from several labellers, of whom some may depart from the others."""

    def _sift(self, numbers: Sequence[int], items: Sequence[Item], rejected: Container[int]) -> Sifted:
        """Parts the records that are learned from those that are set aside; what was learned of these counts no longer.

        Args:
            rejected: the numbers of those that do not fit.
        """
        come = [each for each in zip(numbers, items, strict=True) if each[0] not in rejected]
        unfit = [item for n, item in zip(numbers, items, strict=True) if n in rejected]
        if self.trust.is_joined_by(items):
            self._normalise_weights(self.trust.labellers[0])
        sifted = self.trust.sift(come, unfit, self._measured)
        for withdrawn in sifted.withdrawn:
            self._withdraw(torch.from_numpy(withdrawn))
        if len(self.trust.numbers) > MAX_OWNERS:
            kept = (self.replay_buffer.rows.numbers, self.promotion.holdout.rows.numbers)
            self.trust.keep_owners(torch.cat(kept).numpy())
        return sifted

    def _measured(self, come: Records) -> MeasuredLabels:
        items = [item for _, item in come]
        inputs = Examples.of_rows(self.spec, items)
        targets, served = self._label_rows(items), None
        if self.spec.kind.has_one_class:
            served = self._served_classes(items, inputs)
            errors = (served != targets[:, 0]).astype(np.float64)
        else:
            examples = Examples.of(self.spec, items, self.class_table.ids, inputs)
            errors = gate.errors(self.served, examples, in_order=False).double().numpy()
        return MeasuredLabels(
            np.array([n for n, _ in come], np.int64), points_of(inputs), targets, errors, served, inputs
        )

    def _label_rows(self, items: Sequence[Item]) -> Floats:
        """Labels as numbers ``[rows, width]``: ids of classes, values, or 1 for the classes of a row, else 0."""
        if self.spec.kind.has_one_class:
            ids = self.class_table.ids
            found: list[object] = [[ids.get((type(item.label), item.label), UNKNOWN)] for item in items]
        elif self.spec.kind.is_multilabel:
            places = indices_of(self.spec.known_classes())
            found = [[0.0] * len(places) for _ in items]
            for row, item in zip(found, items, strict=True):
                for name in item.label:  # type: ignore[union-attr]
                    row[places[type(name), name]] = 1.0  # type: ignore[index]
        else:
            found = [item.label if isinstance(item.label, list) else [item.label] for item in items]
        return np.array(found, np.float64).reshape(len(items), -1)

    def _served_classes(self, items: Sequence[Item], inputs: dict[str, Tensor]) -> Floats:
        """The ids of the classes that were served ``[rows]``, NaN where there was none; of rows that bring no answer, what is
        served now.
        """
        ids = self.class_table.ids
        found = np.full(len(items), np.nan)
        for row, item in enumerate(items):
            if item.answer is not None and item.answer.label is not None:
                found[row] = ids.get((type(item.answer.label), item.answer.label), np.nan)
        unknown = [row for row, item in enumerate(items) if item.answer is None]
        if unknown and self.served.width:
            rows = torch.tensor(unknown, dtype=torch.int64)
            with torch.no_grad():
                outputs = evaluating(self.served).predict({name: value[rows] for name, value in inputs.items()}, False)
            names = self.classes_of(self.served)
            places = self.served.decided(outputs).tolist()
            found[unknown] = [ids[type(names[place]), names[place]] for place in places]
        return found

    def _withdraw(self, numbers: Tensor) -> None:
        """Lets labels that were learned count no longer, as far as they are kept."""
        buffer = self.replay_buffer
        own = torch.isin(buffer.rows.numbers[: len(buffer)], numbers).nonzero().flatten()
        rows = buffer.rows.take(own).without_notes()
        withdrawn = Examples(rows.inputs, rows.targets, torch.zeros_like(rows.weights), {}, rows.numbers)
        self.promotion.leave_out(numbers)
        if len(withdrawn) and self.spec.kind.has_one_class:
            self.course.state.discount(withdrawn.targets)
        self._reweigh(withdrawn)

    def _normalise_weights(self, labeller: Labeller) -> None:
        """Lets the labels of one who was alone until now weigh among themselves alone, as they do beside others."""
        rows = self.replay_buffer.examples.without_notes()
        counted = rows.weights[rows.numbers.argsort(stable=True)]
        labeller.weights = counted[counted > 0][-WEIGHTS:].tolist()
        weights = torch.tensor([labeller.weighed(weight) if weight else 0.0 for weight in rows.weights.tolist()])
        if not torch.equal(weights, rows.weights):
            self._reweigh(Examples(rows.inputs, rows.targets, weights, {}, rows.numbers))

    def _reweigh(self, revised: Examples) -> None:
        """Gives labels that are kept the weights that they have now."""
        buffer = self.replay_buffer
        buffer.revise(revised)
        self.monitor.recent.revise(revised)
        if self.retraining is not None:
            self.retraining.revise(revised)
        if len(revised):
            self.course.strategy.revise(self.course.state, revised)
            if self.learned <= buffer.size:
                # As long as all is remembered, what was learned of them goes without a trace but in the network.
                kept = buffer.examples.take(buffer.examples.weights > 0).without_notes()
                self.course.relearn(kept.take(kept.numbers.argsort(stable=True)).answered_by(self.module))

    def release(self, labeller: str) -> None:
        """Trusts a labeller: what is held of it is learned with the next step; :class:`NotFound` if there is none."""
        self._check_labeller(labeller)
        self.trust.release(labeller)

    def drop(self, labeller: str) -> None:
        """Drops what is held of a labeller, which stays quarantined; :class:`NotFound` if there is none."""
        self._check_labeller(labeller)
        self.trust.drop(labeller)

    def _check_labeller(self, labeller: str) -> None:
        if self.trust.find(labeller) is None:
            message = f"there is no labeller {labeller!r}"
            raise NotFound(message, code="unknown_labeller", field="labeller", value=labeller)
