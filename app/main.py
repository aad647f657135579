"""The app: routes, lifespan, and errors in one shape."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_swagger import patch_fastapi
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from driftline.api import endpoints
from driftline.api.endpoint import Endpoint
from driftline.errors import DriftlineError, InvalidInput, ServerError, Unavailable
from driftline.settings import Settings
from driftline.support.tasks import end
from driftline.support.tracing import open_tracing

from . import openapi
from .fast_path import FastPathCall
from .gatekeeper import Gatekeeper
from .http_meter import metered
from .responses import error_content
from .routes import control, events, health, history, keys, labellers, log, models, scores, sources, v2
from .routes.feedback import Feedback, FeedbackStream, ReceiptRoute
from .routes.page import Page
from .routes.predict import Predict
from .routes.v2 import Infer
from .services import Services

PREDICT, INFER = Predict(), Infer()
PLAIN: dict[Endpoint[Any], ASGIApp] = {
    endpoints.PREDICT: PREDICT,
    endpoints.INFER: INFER,
    endpoints.INFER_VERSION: INFER,
    endpoints.GIVE_FEEDBACK: Feedback(),
    endpoints.STREAM_FEEDBACK: FeedbackStream(),
    endpoints.SHOW_RECEIPT: ReceiptRoute(),
}
"""The endpoints that are answered without FastAPI."""


class App(FastAPI):
    """FastAPI after the gatekeeper's checks. Calls of the fast path go to their routes without FastAPI."""

    gatekeeper: Gatekeeper
    path_prefix: bytes
    """What a proxy shows the server under, empty where it is its root."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await metered(self.state.services.http_meter, self.gatekeeper, scope, receive, send)
        else:
            await self.gatekeeper(scope, receive, send)

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Routes a request that has passed the gatekeeper."""
        call = self.fast_path_call(scope) if scope["type"] == "http" else None
        if call is None:
            with structlog.contextvars.bound_contextvars(request=_request_id(scope)):
                await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await call(scope, receive, send)

    @staticmethod
    def fast_path_call(scope: Scope) -> FastPathCall | None:
        """The fast path of a predict or infer call, after setting its ``path_params``; None for every other call."""
        if scope["method"] != "POST":
            return None
        match scope["path"].split("/"):
            case ["", "v1", "models", model, "predict"]:
                scope["path_params"] = {"model": model}
                return PREDICT
            case ["", "v2", "models", model, "infer"]:
                scope["path_params"] = {"model": model}
                return INFER
            case ["", "v2", "models", model, "versions", version, "infer"]:
                scope["path_params"] = {"model": model, "version": version}
                return INFER
        return None


def _request_id(scope: Scope) -> str:
    """What log lines name a request by: the caller's ``X-Request-ID``, or a random one."""
    given = dict(scope.get("headers", ())).get(b"x-request-id", b"").decode("latin-1")
    return given[:100] or secrets.token_hex(8)


def create_app(
    settings: Settings, *, is_public: bool = False, look_seconds: float = 0.05, services: Services | None = None
) -> App:
    """The serving app.

    Args:
        is_public: other machines can reach it, so every call needs a key.
        look_seconds: how often it checks whether the file of keys has changed.
        services: what the routes use; default: made from the settings.
    """
    services = services or Services(settings, tracing=open_tracing("driftline-app") if settings.traces else None)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with contextlib.suppress(Unavailable):
            await services.connection.time()
            await services.prediction_writer.claim_streams()
        running = [asyncio.create_task(task) for task in services.background()]
        try:
            yield
        finally:
            await end(*running)
            with contextlib.suppress(Unavailable):
                await services.prediction_writer.end()
            await services.close()

    app = App(title="Driftline", lifespan=lifespan, docs_url=None, redoc_url=None, swagger_ui_oauth2_redirect_url=None)
    app.state.services = services
    app.router.routes.extend(
        [Route(endpoint.path, handler, methods=[endpoint.method]) for endpoint, handler in PLAIN.items()]
    )
    app.router.routes.extend(Page().routes())
    for routes in (models, log, history, events, scores, control, labellers, sources, keys, health, v2):
        app.include_router(routes.router)
    app.add_exception_handler(DriftlineError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    services.keys.look_seconds = look_seconds
    app.gatekeeper = Gatekeeper(
        app.route,
        keys=services.keys,
        tokens=services.tokens,
        is_public=is_public,
        max_body_bytes=settings.max_body_bytes,
        max_weights_bytes=settings.max_weights_bytes,
        refusals=services.refusals,
        charges=services.charges,
    )
    app.path_prefix = settings.path_prefix.encode()
    openapi.install(app, settings.path_prefix)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    # The scripts of /docs come from this server: it works offline, and no other server sees who reads it.
    patch_fastapi(app, redirect_from_root_to_docs=False)
    return app


def _docs() -> HTMLResponse:
    """Describes the interface. It names what stands beside it, wherever a proxy shows that, by TLS or without."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Driftline",
        swagger_js_url="swagger/swagger-ui-bundle.js",
        swagger_css_url="swagger/swagger-ui.css",
        swagger_favicon_url="swagger/favicon-32x32.png",
        swagger_ui_parameters={"docExpansion": "list", "displayRequestDuration": True},
    )


def _answer(request: Request, error: DriftlineError, headers: Mapping[str, str] | None = None) -> Response:
    status, body, own = error_content(error, is_v2=request.url.path.startswith("/v2"))
    answered = {name.decode(): value.decode() for name, value in own}
    return Response(body, status, {**(headers or {}), **answered})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, DriftlineError)
    return _answer(request, error)


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return _answer(request, InvalidInput(f"{field}: {first['msg']}", field=field, value=first.get("input")))


async def _fail(request: Request, error: Exception) -> Response:
    return _answer(request, ServerError(f"{request.method} {request.url.path} failed: {type(error).__name__}"))


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, DriftlineError):
        return _answer(request, error.__cause__)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_input")
    problem = DriftlineError(f"{request.method} {request.url.path}: {error.detail}", code=code)
    problem.status = error.status_code
    return _answer(request, problem, error.headers)
