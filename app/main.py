"""The app: routes, lifespan, and errors in one shape."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_swagger import patch_fastapi
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import openapi
from app.routes import control, health, models
from app.routes.feedback import Feedback, FeedbackStream, Receipt
from app.routes.predict import Predict
from app.security import Gatekeeper
from app.services import Services
from driftline.errors import DriftlineError, Unavailable
from driftline.keys import KeyStore
from driftline.settings import Settings
from driftline.tasks import end

logger = logging.getLogger("driftline.app")


def create_app(settings: Settings, *, is_public: bool = False) -> FastAPI:
    """The serving app. ``is_public``: other machines reach it, so every call needs a key."""
    services = Services(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with contextlib.suppress(Unavailable):
            await services.recorder.synchronize()
        follower, recorder = services.follower, services.recorder
        running = [asyncio.create_task(task) for task in (follower.listen(), follower.poll(), recorder.run())]
        try:
            yield
        finally:
            await end(*running)
            with contextlib.suppress(Unavailable):
                await services.recorder.flush()
            await services.close()

    app = FastAPI(
        title="Driftline", lifespan=lifespan, docs_url=None, redoc_url=None, swagger_ui_oauth2_redirect_url=None
    )
    app.state.services = services
    app.router.routes.extend(
        [
            Route("/v1/models/{model}/predict", Predict(), methods=["POST"]),
            Route("/v1/models/{model}/feedback", Feedback(), methods=["POST"]),
            Route("/v1/models/{model}/feedback/stream", FeedbackStream(), methods=["POST"]),
            Route("/v1/models/{model}/feedback/{id:path}", Receipt(), methods=["GET"]),
        ]
    )
    for router in (models.router, control.router, health.router):
        app.include_router(router)
    app.add_exception_handler(DriftlineError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(
        Gatekeeper,
        keys=KeyStore(settings.keys_path),
        is_public=is_public,
        max_body_bytes=settings.max_body_bytes,
        read_timeout=settings.read_timeout,
    )
    openapi.install(app)
    # The page's scripts come from this server: it works without a network, and tells nobody who reads it.
    patch_fastapi(app, swagger_ui_parameters={"docExpansion": "list", "displayRequestDuration": True})
    return app


def _answer(error: DriftlineError) -> JSONResponse:
    headers = {"retry-after": str(max(1, round(error.retry_after)))} if error.retry_after is not None else None
    return JSONResponse({"error": error.as_json()}, error.status, headers)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DriftlineError)
    return _answer(error)


async def _refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        problem = DriftlineError(f"body: not JSON: {first['ctx']['error']}", code="malformed_json", field="body")
    else:
        field = ".".join(where) or "body"
        problem = DriftlineError(
            f"{field}: {first['msg']}", code="invalid_input", field=field, value=first.get("input")
        )
    return JSONResponse({"error": problem.as_json()}, 422)


async def _fail(request: Request, error: Exception) -> JSONResponse:
    return _answer(DriftlineError(f"{request.method} {request.url.path} failed: {type(error).__name__}"))


async def _refuse_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, DriftlineError):
        return _answer(error.__cause__)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_input")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": {"code": code, "message": message}}, error.status_code, error.headers)
