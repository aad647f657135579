"""The calls about whose labels a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftline.api import endpoints
from driftline.client.methods import CallMethod
from driftline.client.requests import Call, call, encode, given

if TYPE_CHECKING:
    from driftline.api.control import CommandQueued
    from driftline.api.labellers import LabellerInfo


class LabellerCalls:
    """Labellers, and what becomes of their labels."""

    @CallMethod
    def labellers(self, model: str) -> Call[list[LabellerInfo]]:
        """Whom labels came from, how far these agree with those of others, and whether they are learned."""
        return call(endpoints.LIST_LABELLERS, model=model).then(lambda answer: answer["labellers"])

    @CallMethod
    def release_labeller(self, model: str, labeller: str, reason: str | None = None) -> Call[CommandQueued]:
        """Trust a labeller: what is kept of its labels is learned with the next step."""
        body = encode({"labeller": labeller} | given(reason=reason))
        return call(endpoints.RELEASE_LABELLER, content=body, model=model)

    @CallMethod
    def drop_labeller(self, model: str, labeller: str, reason: str | None = None) -> Call[CommandQueued]:
        """Drop what is kept of a labeller's labels; those that come are not learned."""
        body = encode({"labeller": labeller} | given(reason=reason))
        return call(endpoints.DROP_LABELLER, content=body, model=model)
