"""The labels since the last comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.examples import Examples, RowChange
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison
from driftline.learning.stateful import Stateful
from driftline.networks.served_model import ServedModel


class ComparisonBuffer(Stateful):
    """Labels that wait for a comparison, and how wrong the candidate was on each before it learned it, ``errors`` ``[rows]``.

    In steps of one label or a few no step by itself can tell a loss from chance. Where nobody compares, the newest ``size``
    labels are kept.
    """

    STATE = ("examples", "errors")
    DERIVED = ("size", "_examples", "_errors", "_added")

    def __init__(self, empty: Examples, size: int = 128) -> None:
        self.size = size
        self.examples = empty
        self.errors = torch.zeros(0)

    def add(self, examples: Examples, errors: Tensor) -> None:
        """Takes labels in."""
        self._examples.append(examples)
        self._errors.append(errors)
        self._added += len(examples)
        if self._added > self.size:
            self._join()

    def _join(self) -> None:
        """Puts together what has come one by one: to do so at each label would cost as much as to learn it."""
        if len(self._errors) > 1:
            examples, errors = Examples.all_of(self._examples), torch.cat(self._errors)
            newest = slice(max(0, len(errors) - self.size), None)
            self.examples, self.errors = examples.take(newest), errors[newest]

    @property
    def examples(self) -> Examples:
        self._join()
        return self._examples[0]

    @examples.setter
    def examples(self, examples: Examples) -> None:
        self._examples, self._added = [examples], 0

    @property
    def errors(self) -> Tensor:
        """How wrong the candidate was ``[rows]``."""
        self._join()
        return self._errors[0]

    @errors.setter
    def errors(self, errors: Tensor) -> None:
        self._errors = [errors]

    def carry(self, change: RowChange) -> None:
        """Brings the rows to what they would be now."""
        self.examples = self.examples.carried(change)

    def leave_out(self, numbers: Tensor) -> None:
        """Forgets the labels of these log numbers: what they were compared by counts no longer, or is another one."""
        stays = ~torch.isin(self.examples.numbers, numbers)
        self.examples, self.errors = self.examples.take(stays), self.errors[stays]

    def clear(self) -> None:
        """Forgets the labels, as where their errors had another unit."""
        self.examples, self.errors = self.examples.take(slice(0, 0)), self.errors[:0]

    def keep_answered(self, module: ServedModel) -> None:
        """Keeps the labels of classes that the module answers."""
        self.errors = self.errors[module.answers(self.examples.targets)]
        self.examples = self.examples.answered_by(module).without_notes()

    def compare(self, champion: ServedModel) -> Comparison:
        """The candidate beside a champion that has not changed; the next comparison is about what comes from now on."""
        errors, champions = self.errors, gate.errors(champion, self.examples)
        if champion.prior is not None:
            shares = gate.class_shares(self.examples.targets)
            errors, champions = errors * shares, champions * shares
        self.clear()
        return Comparison("latest labels", errors, champions)
