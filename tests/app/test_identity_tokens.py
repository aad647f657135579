"""Tokens of an identity provider: what they allow, and what no token gets by."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.gatekeeper import Gatekeeper
from app.identity_tokens import IdentityTokens
from driftline.api_keys import KeyStore
from driftline.errors import ConfigurationError, DriftlineError, Unavailable
from driftline.settings import Settings
from tests.app.test_gatekeeper import call

pytestmark = pytest.mark.anyio
ISSUER, AUDIENCE = "https://login.example/realm", "driftline"


class Provider:
    """An identity provider: its keys, and the tokens that it signs."""

    def __init__(self, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.keys: dict[str, Any] = {
            "r": rsa.generate_private_key(65537, 2048),
            "e": ec.generate_private_key(ec.SECP256R1()),
        }
        self.is_away = False
        self.tokens = IdentityTokens(ISSUER, AUDIENCE)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("it is away")
        if request.url.path.endswith("/openid-configuration"):
            return httpx.Response(200, json={"issuer": self.issuer, "jwks_uri": f"{ISSUER}/keys"})
        shared = {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(b"secret" * 8).decode(), "alg": "HS256"}
        return httpx.Response(200, json={"keys": [shared, *(self._public(kid) for kid in self.keys), {"kty": "new"}]})

    def _public(self, kid: str) -> dict[str, Any]:
        kind, key = (jwt.algorithms.RSAAlgorithm, "RS256") if kid[0] == "r" else (jwt.algorithms.ECAlgorithm, "ES256")
        told = kind.to_jwk(self.keys[kid].public_key(), as_dict=True)
        return {**told, "kid": kid, "alg": key, "use": "sig"}

    async def fetch(self) -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(self.answer)) as client:
            await self.tokens.fetch(client)

    def token(self, kid: str = "r", **changes: Any) -> str:
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "anna",
            "iat": now,
            "exp": now + 60,
            "scope": "driftline:predict",
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        algorithm = {"r": "RS256", "e": "ES256"}[kid[0]]
        return jwt.encode(claims, self.keys[kid], algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def made() -> Provider:
    return Provider()


@pytest.fixture
async def provider(made: Provider) -> Provider:
    await made.fetch()
    return made


@pytest.fixture
def gate(provider: Provider, tmp_path: Path) -> Iterator[Any]:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await httpx_answer(send, scope.get("actor", ""))

    keys = KeyStore(tmp_path / "keys.json")
    yield Gatekeeper(
        inner, keys=keys, tokens=provider.tokens, is_public=False, max_body_bytes=100, max_weights_bytes=1000
    )


async def httpx_answer(send: Any, text: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def asked(
    gate: Any, token: str, path: str = "/v1/models/weather/predict", method: str = "POST"
) -> tuple[int, str]:
    answer = await call(gate, method, path, headers={"authorization": f"Bearer {token}"})
    return answer.status_code, answer.text if answer.is_success else answer.json()["error"]["code"]


def with_a_secret(claims: dict[str, Any], secret: bytes) -> str:
    """A token whose secret is a public key, as a check by the token's own algorithm would take it."""
    parts = [json.dumps(each).encode() for each in ({"alg": "HS256", "kid": "r"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


@pytest.mark.parametrize("kid", ["r", "e"])
async def test_a_token_is_a_key_with_the_scopes_that_its_claims_name(provider: Provider, gate: Any, kid: str) -> None:
    token = provider.token(kid, preferred_username="Anna", scope="openid driftline:predict driftline:cook")
    assert await asked(gate, token) == (200, "Anna")
    assert await asked(gate, token) == (200, "Anna"), "proved once, it is known"
    assert await asked(gate, token, "/v1/models") == (403, "missing_scope")
    assert await asked(gate, provider.token(scope=["driftline:admin"]), "/v1/models") == (200, "anna")
    assert await asked(gate, provider.token(scope=None)) == (403, "missing_scope")
    key = provider.tokens.check(token)
    assert key is not None and key.scopes == ("predict",) and key.models == ()
    other = provider.tokens.check(provider.token(kid))
    assert other is not None and other.id == key.id, "the same caller is the same with each token"


async def test_a_token_is_for_the_models_that_it_names(provider: Provider, gate: Any) -> None:
    token = provider.token(driftline_models=["team-a-*"])
    assert await asked(gate, token, "/v1/models/team-a-1/predict") == (200, "anna")
    assert await asked(gate, token) == (403, "wrong_model")
    for nothing in ([], "", 5, ["no model!"], {"a": 1}):
        assert await asked(gate, provider.token(driftline_models=nothing)) == (401, "unknown_key"), nothing


BROKEN: dict[str, dict[str, Any]] = {
    "of another issuer": {"iss": "https://evil.example"},
    "for another service": {"aud": "mail"},
    "for nobody": {"aud": None},
    "expired": {"exp": time.time() - 3600},
    "without an end": {"exp": None},
    "of nobody": {"sub": None},
    "not valid yet": {"nbf": time.time() + 36000},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN)
async def test_a_token_that_is_not_for_this_service_opens_nothing(
    provider: Provider, gate: Any, changes: dict[str, Any]
) -> None:
    assert await asked(gate, provider.token(**changes)) == (401, "unknown_key")


async def test_a_token_that_the_provider_has_not_signed_opens_nothing(provider: Provider, gate: Any) -> None:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    head, body, signature = provider.token().split(".")
    admin = base64.urlsafe_b64encode(json.dumps(claims | {"scope": "driftline:admin"}).encode()).decode().rstrip("=")
    public = provider._public("r")
    stranger = rsa.generate_private_key(65537, 2048)
    forged = [
        f"{head}.{admin}.{signature}",
        f"{head}.{body}.",
        f"{head}..{signature}",
        "..",
        "a.b.c",
        "é.é.é",
        jwt.encode(claims, "", "none", headers={"kid": "r"}),
        jwt.encode(claims, b"secret" * 8, "HS256", headers={"kid": "s"}),
        with_a_secret(claims, json.dumps(public).encode()),
        jwt.encode(claims, stranger, "RS256", headers={"kid": "r"}),
        jwt.encode(claims, stranger, "RS256", headers={"kid": "x", "jwk": public}),
        jwt.encode(claims, stranger, "RS256"),
    ]
    for token in forged:
        sent = {b"authorization": f"Bearer {token}".encode("latin-1")}
        answer = await call(gate, "POST", "/v1/models/m/predict", headers=sent)
        assert answer.status_code == 401, token


async def test_a_key_that_the_provider_has_taken_back_proves_nothing(provider: Provider, gate: Any) -> None:
    provider.keys["r2"] = rsa.generate_private_key(65537, 2048)
    token = provider.token("r2")
    assert await asked(gate, token) == (401, "unknown_key"), "it is not known yet"
    await provider.fetch()
    assert await asked(gate, token) == (200, "anna")
    del provider.keys["r2"]
    await provider.fetch()
    assert await asked(gate, token) == (401, "unknown_key")


async def test_what_was_fetched_stays_in_use_while_the_provider_is_away(provider: Provider, gate: Any) -> None:
    provider.is_away = True
    with pytest.raises(httpx.ConnectError):
        await provider.fetch()
    provider.is_away = False
    assert await asked(gate, provider.token()) == (200, "anna")
    with pytest.raises(Unavailable, match="have not been fetched yet"):
        IdentityTokens(ISSUER, AUDIENCE).check(provider.token())


async def test_a_provider_that_calls_itself_otherwise_is_not_taken() -> None:
    with pytest.raises(DriftlineError, match=r"evil\.example"):
        await Provider("https://evil.example").fetch()


async def test_keys_of_the_instance_work_beside_tokens(provider: Provider, gate: Any) -> None:
    assert (await call(gate, "GET", "/v1/models")).json()["error"]["code"] == "no_key"
    assert await asked(gate, gate.keys.create(["admin"], "me"), "/v1/models") == (200, "me")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"oidc_issuer": "http://login.example", "oidc_audience": "d"}, "no https address"),
        ({"oidc_issuer": "login.example", "oidc_audience": "d"}, "no https address"),
        ({"oidc_issuer": ISSUER}, "AUDIENCE is missing"),
    ],
)
async def test_settings_that_would_not_be_safe_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        IdentityTokens.of(Settings(**settings))
