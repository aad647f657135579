"""What the models of an instance take together, and those that one caller has made: a budget that all replicas share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection, store_errors


class SharedBudget(NamedTuple):
    """The most that models may take together: ``key_models`` of one maker, ``key_model_bytes`` the weights of these, and
    ``all_model_bytes`` those of all models. A number below 0: as much as they like."""

    key_models: int = -1
    key_model_bytes: int = -1
    all_model_bytes: int = -1


class Excess(NamedTuple):
    """What there would be too much of, as :class:`SharedBudget` names it, how much that is, and the most."""

    over: str
    asked: int
    most: int


class ModelPrices:
    """The bytes of each model's weights, and who made it.

    A price is reserved before its model is written, and after the model was marked as one that has no name yet: so the price of
    one that never came to be is known as such.
    """

    def __init__(self, connection: RedisConnection, budget: SharedBudget) -> None:
        self.connection = connection
        self.budget = budget
        self._key = connection.keys.model_prices

    async def reserve(self, uid: str, maker: str, size: int, *, only_asks: bool = False) -> Excess | None:
        """Reserves the bytes of a model's weights, in place of what was reserved for it; or says what would be too much.

        Args:
            maker: whose a model is that has no price yet.
            only_asks: nothing is reserved.
        """
        arguments = [uid, maker, size, int(only_asks), *self.budget]
        found = await self.connection.scripts.run("reserve", [self._key], arguments)
        if not found:
            return None
        place = found[0] - 1
        return Excess(SharedBudget._fields[place], int(found[1]), self.budget[place])

    async def unpriced(self, catalog: Catalog) -> set[str]:
        """The uids of models that have no price, as those of a former release; the prices of models that are gone go."""
        # In this order: a model is unnamed until it has its name, so one that is coming is in either of the two.
        with store_errors():
            priced = {uid.decode() for uid in await self.connection.redis.hkeys(self._key)}
            coming = {uid.decode() for uid in await self.connection.redis.zrange(self.connection.keys.unnamed, 0, -1)}
        there = set((await catalog.names()).values())
        if gone := priced - coming - there:
            with store_errors():
                await self.connection.redis.hdel(self._key, *gone)
        return there - priced

    async def add(self, sizes: Mapping[str, int]) -> None:
        """Adds the bytes of models of which it is not known who made them."""
        with store_errors():
            for uid, size in sizes.items():
                await self.connection.redis.hsetnx(self._key, uid, f"{size} ")
