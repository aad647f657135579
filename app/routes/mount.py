"""Mounts a handler at the path and method of its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor, register_url_convertor

from driftline.api.endpoint import JSON, TEXT, Endpoint
from driftline.support import json_text

from ..fast_path import by_length, check_kind


class AnyText(PathConvertor):
    """The rest of a path, whatever it holds: that of starlette ends at the end of a line."""

    regex = "(?s:.*)"


register_url_convertor("path", AnyText())

Handler = TypeVar("Handler", bound=Callable[..., Any])


class JsonRequest(Request):
    """A request whose body is read as JSON is everywhere."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            check_kind(dict(self.scope["headers"]), JSON.encode())
            self._json = await by_length(json_text.loads, await self.body())
        return self._json


class JsonRoute(APIRoute):
    """A route whose body is JSON, whatever its content type says: another one is refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_and_handle(request: Request) -> Response:
            checked = JsonRequest(request.scope, request.receive)
            if self.body_field is not None and await checked.body():
                await checked.json()
            return await handle(checked)

        return read_and_handle


def json_router() -> APIRouter:
    """A router whose bodies are read as JSON is everywhere."""
    return APIRouter(route_class=JsonRoute)


def serves(router: APIRouter, endpoint: Endpoint[Any]) -> Callable[[Handler], Handler]:
    """Decorates the handler of an endpoint. What it returns is sent as it is."""
    return router.api_route(
        endpoint.path,
        methods=methods_of(endpoint),
        status_code=endpoint.status,
        response_model=dict[str, Any],
        include_in_schema=False,
    )


def methods_of(endpoint: Endpoint[Any]) -> list[str]:
    """What is read as a whole can also be asked for without its body."""
    is_whole = endpoint.streamed is None and endpoint.answer_kind in (JSON, TEXT)
    return [endpoint.method, "HEAD"] if endpoint.method == "GET" and is_whole else [endpoint.method]
