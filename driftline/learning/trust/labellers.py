"""The labellers of a model, whose each label is that was learned, and how much each weighs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from driftline.learning.stateful import State, Stateful
from driftline.learning.trust.labeller import Labeller
from driftline.records import Item
from driftline.spec.parts.trust import LabellerTrust

MAX_LABELLERS = 64
MAX_SOURCES = 16
"""So many sources of one key are told apart; further ones are the key's own."""
OTHERS = "others"
SHARE_WINDOW = 1000


class Labellers(Stateful):
    """Those that are known, in the order of their first labels.

    ``numbers`` ``[rows]`` and ``owners`` ``[rows]`` say whose the labels are that have been learned; ``shares`` are the newest
    ones: whose, and what each weighs.
    """

    STATE = ("labellers", "numbers", "owners", "shares")
    DERIVED: ClassVar[tuple[str, ...]] = ("recipe", "_places")

    def __init__(self, recipe: LabellerTrust) -> None:
        self.recipe = recipe
        self.labellers: list[Labeller] = []
        self.numbers = self.owners = np.zeros(0, np.int64)
        self.shares: deque[list[float]] = deque(maxlen=SHARE_WINDOW)
        self._places: dict[tuple[str, str | None], int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known of any labeller."""
        return not self.labellers

    @property
    def is_comparing(self) -> bool:
        """Whether there are labellers to compare."""
        return len(self.labellers) > 1 and self.recipe.mode != "off"

    def is_joined_by(self, items: Sequence[Item]) -> bool:
        """Whether one who was alone until now is joined by another one."""
        is_alone = len(self.labellers) == 1 and self.recipe.mode != "off"
        return is_alone and any((item.caller, item.source) not in self._places for item in items)

    def find(self, name: str) -> Labeller | None:
        """The labeller of this name."""
        return next((each for each in self.labellers if each.name == name), None)

    def learned(self, items: Sequence[Item]) -> list[Item]:
        """Those of former items that would be learned now, with the weights that they would have."""
        if not self.is_comparing:
            return [*items]
        found = []
        for item in items:
            place = self._places.get((item.caller, item.source))
            if place is None or self.labellers[place].is_learned:
                weight = item.weight if place is None else self.labellers[place].weighed(item.weight)
                found.append(item if weight == item.weight else msgspec.structs.replace(item, weight=weight))
        return found

    def keep_owners(self, present: NDArray[np.int64]) -> None:
        """Forgets whose labels are that are old and kept nowhere; ``present`` are the numbers of those that are kept."""
        stays = np.isin(self.numbers, present)
        stays[-SHARE_WINDOW:] = True
        self.numbers, self.owners = self.numbers[stays], self.owners[stays]

    def shown(self) -> list[dict[str, Any]]:
        """What is told of each labeller."""
        scored, errors = sum(each.scored for each in self.labellers), sum(each.errors for each in self.labellers)
        whole = sum(weight for _, weight in self.shares)
        found = []
        for place, each in enumerate(self.labellers):
            rest = scored - each.scored
            weight = sum(weight for owner, weight in self.shares if owner == place)
            found.append(each.shown((errors - each.errors) / rest if rest else None, weight / whole if whole else 0.0))
        return found

    def is_set_aside(self, n: int, item: Item) -> bool:
        """Whether a label ``n`` is of one who is set aside, and counts no longer."""
        place = self._places.get((item.caller, item.source))
        return place is not None and self.labellers[place].is_set_aside(n)

    def _place(self, item: Item) -> int:
        """The place of whom an item came from among the labellers."""
        return self._place_of(item.caller, item.source)

    def _place_of(self, caller: str, source: str | None) -> int:
        key = (caller, source)
        if key in self._places:
            return self._places[key]
        if sum(known == caller for known, _ in self._places) > MAX_SOURCES:
            key = (caller, None)
        if key not in self._places and len(self.labellers) >= MAX_LABELLERS:
            key = (OTHERS, None)
        if key not in self._places:
            self._places[key] = len(self.labellers)
            self.labellers.append(Labeller(*key))
        return self._places[key]

    def _numbers_of(self, place: int) -> NDArray[np.int64]:
        return np.asarray(self.numbers[self.owners == place])

    def _note(self, numbers: Sequence[int], owners: Sequence[int]) -> None:
        """Notes whose labels are that are about to be learned."""
        self.numbers = np.concatenate([self.numbers, np.array(numbers, np.int64)])
        self.owners = np.concatenate([self.owners, np.array(owners, np.int64)])

    def _weighed(self, item: Item, place: int) -> Item:
        """An item with the weight that it has beside those of others."""
        weight = self.labellers[place].weigh(item.weight) * self._capped(place)
        self.shares.append([place, weight])
        return item if weight == item.weight else msgspec.structs.replace(item, weight=weight)

    def _capped(self, place: int) -> float:
        """What the labels of a labeller weigh so that they have no more than its share of influence."""
        cap = self.recipe.share
        if cap is None:
            return 1.0
        own = sum(owner == place for owner, _ in self.shares)
        others = sum(weight for owner, weight in self.shares if owner != place)
        return min(1.0, cap / (1 - cap) * others / own) if own and others else 1.0

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value)
        return msgspec.to_builtins(value) if name == "labellers" else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if isinstance(getattr(self, name), np.ndarray):
            return state.tensors[name].numpy().copy()
        if name == "labellers":
            return msgspec.convert(state.data[name], list[Labeller])
        return super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._places = {(each.caller, each.source): place for place, each in enumerate(self.labellers)}
