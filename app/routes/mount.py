"""Mounts a handler at the path and method of its endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter

from driftline.api.endpoint import Endpoint

Handler = TypeVar("Handler", bound=Callable[..., Any])


def serves(router: APIRouter, endpoint: Endpoint[Any]) -> Callable[[Handler], Handler]:
    """Decorates the handler of an endpoint. What it returns is sent as it is."""
    return router.api_route(
        endpoint.path,
        methods=[endpoint.method],
        status_code=endpoint.status,
        response_model=dict[str, Any],
        include_in_schema=False,
    )
