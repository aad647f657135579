"""Labels that take the place of former ones: what is kept of a fact has the label that it has now, and is learned again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from driftline.learning.examples import NO_EXAMPLES, Examples
from driftline.learning.labelled_batch import LabelledBatch
from driftline.learning.learner_state import LearnerState
from driftline.records import Item


def parted(
    come: Sequence[tuple[int, Item]],
) -> tuple[list[tuple[int, Item]], dict[int, Item]]:
    """Of records that have come together, those that are new, and the corrections of former ones by the numbers of these.

    What is corrected by a record that has come with it has that label from the start; and so has what counted nothing before.
    """
    new: dict[int, Item] = {}
    corrections: dict[int, Item] = {}
    for n, item in come:
        if item.revises is None:
            new[n] = item
            continue
        row = item.revises.row
        if row in new or item.revises.weight == 0:
            new[row] = msgspec.structs.replace(item, revises=None)
        elif row in corrections:
            corrections[row] = msgspec.structs.replace(item, revises=corrections[row].revises)
        else:
            corrections[row] = item
    return list(new.items()), corrections


class Corrected(NamedTuple):
    """Corrected labels that are trained on again, and those of them that the strategy does not keep any more."""

    again: LabelledBatch
    lost: Examples


NOTHING_CORRECTED = Corrected(LabelledBatch([], [], NO_EXAMPLES), NO_EXAMPLES)


class CorrectedLearner(LearnerState):
    """A learner whose labels may turn out to be others."""

    def _correct(self, corrections: Mapping[int, Item]) -> Corrected:
        """Lets all that is kept of facts follow the labels that these have now.

        What detectors and comparisons have seen of the former labels stays.
        """
        if not corrections:
            return NOTHING_CORRECTED
        late = [row for row, item in corrections.items() if self.late_labels.revise(row, item)]
        # What is imported was answered by what was served then: it is a live one since.
        known = {
            row: msgspec.structs.replace(item, route="live") if item.route == "import" else item
            for row, item in corrections.items()
            if row not in late
        }
        batch = self._labelled_batch(list(known.items()))
        if not len(batch):
            return Corrected(batch, batch.examples)
        self.monitor.revise(batch, self.course.state.index_of, self.ordered_since, self.module.error_unit)
        self.promotion.revise(batch.examples)
        self.replay_buffer.revise(batch.examples)
        if self.retraining is not None:
            self.retraining.revise(batch.examples)
        self.course.state.discount(self._former_targets(batch))
        if self.spec.fields is not None:
            inputs = self.module.with_statistics(batch.examples.inputs)
            batch = batch.with_examples(batch.examples.with_inputs(inputs))
        is_kept = self.course.strategy.revise(self.course.state, batch.examples)
        is_learned = torch.tensor([self._is_learned(n, item) for n, item in known.items()])
        again = batch.where(is_learned.tolist())
        return Corrected(again, batch.examples.take(is_learned & ~is_kept))

    def _is_learned(self, n: int, item: Item) -> bool:
        """Whether a fact is one of those that are trained on: it is not held out, or was learned before any was."""
        is_in_memory = bool((self.replay_buffer.rows.numbers == n).any())
        is_held_out = self.promotion.is_held_out(item) and not is_in_memory
        return item.weight > 0 and not is_held_out

    def _former_targets(self, batch: LabelledBatch) -> Tensor:
        """The ids of the classes that corrected labels were of; none where labels are no classes."""
        if not self.spec.kind.has_one_class:
            return torch.zeros(0, dtype=torch.int64)
        former = [item.revises.label for item in batch.items if item.revises is not None]
        ids = self.class_table.ids
        return torch.tensor([ids[key] for label in former if (key := (type(label), label)) in ids], dtype=torch.int64)

    def _labelled_batch(
        self, records: Sequence[tuple[int, Item]], inputs: dict[str, Tensor] | None = None
    ) -> LabelledBatch:
        """Records that fit, as tensors; a class that comes with them is one of the model's from here on.

        ``inputs`` are their rows, where these are tensors already.
        """
        numbers, items = [n for n, _ in records], [item for _, item in records]
        if self.spec.kind.has_one_class:
            labels = dict.fromkeys((type(item.label), item.label) for item in items)
            self.course.add_classes([name for kind, name in labels if (kind, name) not in self.course.state.index_of])  # type: ignore[misc]
        return LabelledBatch.of(self.spec, self.class_table, numbers, items, inputs)
