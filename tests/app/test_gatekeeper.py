"""Who may call what: no page of another site, no stranger, no key beyond its scopes, no endless body."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from app.gatekeeper import Gatekeeper
from driftline.api_keys import KeyStore
from driftline.errors import DriftlineError

pytestmark = pytest.mark.anyio


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DriftlineError)
    return JSONResponse({"error": error.as_json()}, error.status)


def gatekeeper(path: Path, is_public: bool = False) -> Gatekeeper:
    route = Route("/{path:path}", echo, methods=["GET", "POST", "DELETE", "PATCH"])
    inner = Starlette(routes=[route], exception_handlers={DriftlineError: refuse})
    keys = KeyStore(path / "keys.json")
    return Gatekeeper(inner, keys=keys, is_public=is_public, max_body_bytes=100, max_weights_bytes=1000)


async def call(gate: Any, method: str, path: str, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        return await client.request(method, path, **more)


OTHER_HOSTS = [
    *(
        "driftline.example",
        "127.0.0.1.example",
        "",
        "0.0.0.0",
        "evil@localhost",
        "evil:x@127.0.0.1:8000",
        "localhost@evil",
    ),
    *(
        "localhost/",
        "localhost?x",
        "localhost#x",
        "evil\\@localhost",
        "localhost, evil",
        "localhost:80:80",
        "localhost:x",
    ),
    *("[localhost]", "[::1", "::1", "[::1]evil", "[evil@::1]", "localhost%00", " localhost", "local\thost"),
]


async def test_without_keys_only_this_machine_may_call(tmp_path: Path) -> None:
    gate = gatekeeper(tmp_path)
    assert (await call(gate, "GET", "/v1/models")).status_code == 200
    for host in OTHER_HOSTS:
        assert (await call(gate, "GET", "/v1/models", headers={"host": host})).status_code == 403
    for host in ("localhost:8000", "[::1]:8000", "127.0.0.1", "LOCALHOST", "127.0.0.1:", "127.8.8.8"):
        assert (await call(gate, "GET", "/v1/models", headers={"host": host})).status_code == 200


async def test_a_page_of_another_site_may_not_call(tmp_path: Path) -> None:
    gate = gatekeeper(tmp_path)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        answer = await call(gate, "POST", "/v1/models", json={}, headers={"origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")
    answer = await call(gate, "POST", "/v1/models", json={}, headers={"origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 200


async def test_a_form_s_content_type_is_refused(tmp_path: Path) -> None:
    answer = await call(
        gatekeeper(tmp_path), "POST", "/v1/models", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415
    assert answer.json()["error"]["details"]["value"] == "text/plain"


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("predict", {"POST /v1/models/m/predict", "GET /v1/models"}),
        ("feedback", {"POST /v1/models/m/feedback", "GET /v1/models/m/feedback/x", "GET /v1/models"}),
        ("metrics", {"GET /metrics", "GET /v1/models"}),
        (
            "admin",
            {
                *(
                    "POST /v1/models",
                    "DELETE /v1/models/m",
                    "POST /v1/models/m/predict",
                    "GET /metrics",
                    "GET /v1/models",
                ),
                *(
                    "POST /v1/models/m/feedback",
                    "GET /v1/models/m/feedback/x",
                    "GET /v1/models/m/log",
                    "PATCH /v1/models/m/recipe",
                ),
            },
        ),
    ],
)
async def test_a_key_does_what_its_scopes_allow_and_no_more(tmp_path: Path, scope: str, allowed: set[str]) -> None:
    calls = {
        *("POST /v1/models", "DELETE /v1/models/m", "POST /v1/models/m/predict", "GET /metrics", "GET /v1/models"),
        *(
            "POST /v1/models/m/feedback",
            "GET /v1/models/m/feedback/x",
            "GET /v1/models/m/log",
            "PATCH /v1/models/m/recipe",
        ),
    }
    token = KeyStore(tmp_path / "keys.json").create([scope])
    gate = gatekeeper(tmp_path, is_public=True)
    for made in calls:
        method, path = made.split()
        answer = await call(
            gate, method, path, headers={"authorization": f"Bearer {token}", "host": "driftline.example"}
        )
        assert answer.status_code == (200 if made in allowed else 403), made


async def test_a_stranger_gets_no_further_than_the_probes(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    token = store.create(["admin"])
    gate = gatekeeper(tmp_path)
    for headers in (
        {},
        {"authorization": "Bearer x.y"},
        {"authorization": f"Bearer {token}x"},
        {"authorization": token},
    ):
        answer = await call(gate, "GET", "/v1/models", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert (await call(gate, "GET", path)).status_code == 200
    store.revoke(token.split(".")[0])
    public = gatekeeper(tmp_path, is_public=True)
    answer = await call(public, "GET", "/v1/models", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 401, "a public address without any key left is closed, not open"


async def test_a_body_is_bounded_in_size_with_and_without_its_length(tmp_path: Path) -> None:
    gate = gatekeeper(tmp_path)

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 10

    kind = {"content-type": "application/json"}
    for content in (b"x" * 101, chunks()):
        answer = await call(gate, "POST", "/v1/models", content=content, headers=kind)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert (await call(gate, "POST", "/v1/models", content=b"x" * 100, headers=kind)).text == "100"
