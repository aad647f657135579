"""What models take together, of all and of those that one key has made: reserved before a model is made or grows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from driftline.errors import InvalidInput
from driftline.networks.price import OVER_BUDGET
from driftline.settings import Settings
from driftline.store.model_prices import ModelPrices, SharedBudget
from driftline.versions import VersionFiles

from .services import Services

UNITS = {
    "key_models": "models that this key has made",
    "key_model_bytes": "bytes of weights, with the other models of whoever made it,",
    "all_model_bytes": "bytes of weights, with all other models,",
}


def shared_budget_of(settings: Settings) -> SharedBudget:
    """What models may take together here."""
    return SharedBudget(*(getattr(settings, f"max_{name}") for name in SharedBudget._fields))


async def reserve(services: Services, uid: str, size: int, maker: str = "", *, only_asks: bool = False) -> None:
    """Reserves ``size`` bytes of weights for a model; ``only_asks``: looks whether they fit.

    Args:
        maker: who makes a new one; one that is there is whose it was.

    Raises:
        InvalidInput: ``over_budget`` names the price and the budget.
    """
    prices = ModelPrices(services.connection, shared_budget_of(services.settings))
    unpriced = await prices.unpriced(services.catalog)
    if unpriced and max(prices.budget) >= 0:
        await prices.add(await _sizes(services, unpriced))
    excess = await prices.reserve(uid, maker, size, only_asks=only_asks)
    if excess is not None:
        message = (
            f"network: {excess.asked} {UNITS[excess.over]} where {excess.most} is the most here "
            f"(DRIFTLINE_MAX_{excess.over.upper()})"
        )
        raise InvalidInput(
            message,
            code=OVER_BUDGET,
            field="network",
            price={excess.over: excess.asked},
            budget=prices.budget._asdict(),
            over=excess.over,
        )


async def _sizes(services: Services, uids: Collection[str]) -> dict[str, int]:
    """The bytes of the live versions of models."""
    live = {model.uid: model.head.manifest for model in await services.catalog.models() if model.uid in uids}

    def sizes() -> dict[str, int]:
        return {uid: sum(VersionFiles(services.artifacts, uid).blobs(digest).values()) for uid, digest in live.items()}

    return await asyncio.to_thread(sizes)
