"""What the mixtures of either task learn alike: the newest rows, and the bank that replays them."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.stateful import State, Stateful
from driftline.learning.training.experts.bank import BankLearner
from driftline.learning.training.experts.trees import TreesLearner
from driftline.learning.training.updates_per_step import WELL_TAUGHT
from driftline.networks.experts.bank import Bank
from driftline.networks.experts.encoding import LARGEST, Encoding
from driftline.networks.experts.neighbours import NewestRows
from driftline.networks.experts.trees import NO_TREES
from driftline.networks.kernels.views import BufferViews, array_of
from driftline.networks.kernels.window import keep, write

ALL = slice(None)
NO_SUMS = torch.zeros(0, 0)


class WindowedMixture(Protocol):
    """A mixture whose members look at encoded rows, and some of them at the newest of these."""

    features: int

    @property
    def encoding(self) -> Encoding: ...

    @property
    def bank(self) -> Bank: ...

    @property
    def neighbours(self) -> NewestRows: ...


class WindowLearner(Stateful):
    """The newest rows as they came, which a mixture's encoding and neighbours follow, and its bank and trees. ``numbers`` are
    their log numbers, by which a correction finds a row.

    ``unsolved`` and ``untrained`` count the newest rows that what is solved in closed form and the bank have not learned yet.

    Args:
        bank: what trains the bank.
        trees: what grows the trees; None where there are none.
        period: rows between two looks at the encoding; the first come at 1, 2, 4, … rows.
        fresh: new rows of a gradient update of the bank, beside so many ``replayed`` ones.
        hurried: the same two while labels pile up, before and after ``WELL_TAUGHT`` rows.
    """

    STATE: ClassVar[tuple[str, ...]] = ("rows", "weights", "numbers", "unsolved", "untrained", "bank", "trees")
    DERIVED: ClassVar[tuple[str, ...]] = (*("mixture", "period", "fresh", "replayed", "hurried", "_encoded", "_views"),)
    mixture: WindowedMixture

    def __init__(
        self,
        mixture: WindowedMixture,
        bank: BankLearner,
        trees: TreesLearner | None,
        *,
        period: int = 32,
        fresh: int = 2,
        replayed: int = 14,
        hurried: tuple[tuple[int, int], tuple[int, int]] = ((8, 14), (32, 28)),
    ) -> None:
        self.mixture = mixture
        self.bank = bank
        self.trees = trees
        self.period, self.replayed = period, replayed
        self.fresh, self.hurried = fresh, hurried
        size = len(mixture.neighbours.rows)
        self.rows = torch.zeros(size, mixture.features)
        self.weights = torch.zeros(size)
        self.numbers = torch.zeros(size, dtype=torch.int64)
        self.unsolved = 0
        self.untrained = 0
        self._encoded = torch.zeros(size, mixture.encoding.width)
        self._views: BufferViews[tuple[NDArray[Any], ...]] = BufferViews()

    @property
    def filled(self) -> int:
        """How many rows are kept."""
        return self.mixture.neighbours.filled

    @property
    def seen(self) -> int:
        """How many rows have come into the window."""
        return int(self.mixture.neighbours.arrays()[3])

    @property
    def learned(self) -> int:
        """How many rows were learned."""
        return self.seen

    @torch.no_grad()
    def _recall(self) -> None:
        """Makes state that fits a mixture which has learned already."""
        neighbours, encoding = self.mixture.neighbours, self.mixture.encoding
        self.rows[: self.filled] = neighbours.rows[: self.filled] / encoding.slope[0] + encoding.mean
        self.weights[: self.filled] = 1
        self._encode()
        if self.trees is not None:
            self.trees.recall(self.rows[: self.filled])

    def continue_window(self, former: WindowLearner, places: Tensor, encoded: Tensor, slots: Tensor) -> None:
        """Goes on with the window, bank and trees of rows with fewer numbers; its mixture does so already.

        Args:
            places: where the numbers of a row stand now.
            encoded: where those of an encoded row do.
            slots: those of the rows that are kept, which come into the first ones.
        """
        self.rows[: len(slots), places], self.weights[: len(slots)] = former.rows[slots], former.weights[slots]
        self.numbers[: len(slots)] = former.numbers[slots]
        self.unsolved, self.untrained = (min(len(slots), count) for count in (former.unsolved, former.untrained))
        if self.trees is not None and former.trees is not None:
            self.trees.continue_from(former.trees, places, slots)
        self.bank.continue_from(former.bank, encoded)
        self._encode()

    def _keep(self, rows: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor | None = None) -> None:
        """Puts rows in the places of the oldest."""
        mixture, trees = self.mixture, self.trees
        if trees is not None:
            trees.waiting += len(rows)
        window, numbers_of_slots = self._window()
        scores, norms, _, seen, *_ = mixture.neighbours.arrays()
        arrays = NO_TREES if trees is None else trees.trees.arrays()
        new = array_of(rows), array_of(weights)
        keep(*new, mixture.encoding.binned, mixture.encoding.arrays(), window, scores, norms, seen, arrays)
        end = int(seen)
        slots = np.arange(end - len(rows), end) % len(self.rows)
        array_of(mixture.neighbours.targets)[slots] = targets.numpy()
        numbers_of_slots[slots] = 0 if numbers is None else numbers.numpy()

    def _window(self) -> tuple[tuple[NDArray[Any], ...], NDArray[np.int64]]:
        """What is kept of the newest rows, as kernels take it, and their log numbers."""
        sums = NO_SUMS if self.trees is None else self.trees.sums
        tensors = (self.rows, self.weights, self._encoded, sums, self.numbers)
        *window, numbers = self._views.of(tensors, lambda: tuple(map(array_of, tensors)))
        return tuple(window), numbers

    @torch.no_grad()
    def revise(self, numbers: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Gives rows of the window the targets and weights that they have now; which of them are still in it ``[rows]``.

        The sums have the former targets exchanged, as the rows are encoded now; what was learned of them by gradients and
        trees follows as the window is replayed.

        Args:
            numbers: the log numbers of the rows; ``targets`` and ``weights`` as :meth:`learn` takes them.
        """
        slot_of = {number: slot for slot, number in enumerate(self.numbers[: self.filled].tolist()) if number}
        slots = [slot_of.get(number, -1) for number in numbers.tolist()]
        is_kept = torch.tensor(slots, dtype=torch.int64) >= 0
        if bool(is_kept.any()):
            kept = torch.tensor(slots)[is_kept]
            seen, size = int(self.mixture.neighbours.seen), len(self.rows)
            ages = (seen - 1 - kept).remainder(size)
            self._exchange(kept, ages, targets[is_kept], weights[is_kept])
        return is_kept

    def _exchange(self, slots: Tensor, ages: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Puts other targets and weights into slots, and into the sums; ``ages`` is how many rows have come since each."""
        raise NotImplementedError

    def _follow(self) -> None:
        """Lets the encoding follow the newest rows, and encodes them again."""
        self.mixture.encoding.observe(self.rows[: self.filled], self.learned, self.unsolved)
        self._encode()
        self._write_scores()

    def carry(self, rows: Tensor, has_changed: Tensor) -> None:
        """Goes on with the newest rows ``[rows, features]`` in other units; which features have changed ``[features]``."""
        if not self.filled:
            return
        self.rows[: self.filled] = rows[: self.filled].clamp(-LARGEST, LARGEST)
        self.mixture.encoding.observe(self.rows[: self.filled], self.learned, 0, has_changed)
        self._encode()
        self._write_scores()
        if self.trees is not None:
            self.trees.restart(self.rows[: self.filled])

    def _write_scores(self) -> None:
        scores, norms, *_ = self.mixture.neighbours.arrays()
        write(array_of(self._encoded), scores, norms)

    def encoded_rows(self, slots: slice | Tensor) -> Tensor:
        """Rows of the window as members see them, by their slots ``[rows, width]``."""
        return self._encoded[slots]

    def _encode(self) -> None:
        self.mixture.encoding.encode(self.rows, self._encoded)

    def _train_bank(self, generator: torch.Generator, is_hurried: bool) -> None:
        """The updates of the bank that are due, each of so many new rows; the first rows are not waited with."""
        seen = self.seen
        fresh, replayed = self.hurried[self.learned >= WELL_TAUGHT] if is_hurried else (self.fresh, self.replayed)
        while self.untrained >= fresh or (self.untrained and seen <= self.period):
            self._train(generator, fresh, replayed)

    def _train(self, generator: torch.Generator, fresh: int, replayed: int) -> None:
        """One update of the bank: the oldest rows that it has not had, beside replayed ones."""
        fresh = min(fresh, self.untrained)
        drawn = torch.rand(self.mixture.bank.members, replayed, generator=generator)
        waiting, self.untrained = self.untrained, self.untrained - fresh
        self.bank.learn(self._encoded, drawn, self.seen, waiting, fresh, self._targets(ALL), self.weights)

    def _grow_trees(self, generator: torch.Generator, is_hurried: bool) -> None:
        """Grows the trees that are due."""
        if self.trees is not None and self.trees.waiting and self.trees.are_due(self.filled, is_hurried):
            kept = slice(self.filled)
            self.trees.learn(self.rows[kept], self._targets(kept), self.weights[kept], generator, is_hurried)

    def _targets(self, slots: slice | Tensor) -> Tensor:
        """The targets of rows by their slots, as bank and trees learn them."""
        targets = self.mixture.neighbours.targets
        return targets if slots is ALL else targets[slots]

    def restored(self, name: str, state: State) -> Any:
        # Of rows that a former release has kept no correction can tell which one it is about.
        if name == "numbers" and name not in state.tensors:
            return torch.zeros_like(self.numbers)
        return super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        """Sets the state that :meth:`state_dict` gave. The mixture's own is loaded first."""
        super().load_state_dict(state)
        self._encode()
