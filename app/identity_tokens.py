"""Tokens of an identity provider (OpenID Connect) in the place of API keys; needs ``pip install 'driftline[oidc]'``."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from driftline.api.scopes import SCOPES, Scope
from driftline.api_keys import Key, owner_by_default, parse_models, parse_owner
from driftline.errors import ConfigurationError, DriftlineError, InvalidInput, Unavailable
from driftline.processes.plan import is_loopback
from driftline.settings import Settings

logger = logging.getLogger("driftline.keys")

ALGORITHMS = [f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)] + ["EdDSA"]
"""Those that prove who has signed; one with a shared secret would let whoever can check a token make one."""
PREFIX = "driftline:"
"""What begins the scopes of a token that are Driftline's."""
NAMES = ("preferred_username", "email", "client_id", "azp", "sub")
MAX_KEPT = 4096
CLOCK_SECONDS = 30
"""By how much the provider's clock may differ."""


class IdentityTokens:
    """Takes a signed token of one issuer for what an API key is, with the scopes and models that its claims name.

    The provider's keys are fetched in the background, so no call waits for the provider, and what was fetched stays in use
    while it is away.

    Args:
        issuer: the provider's address, as its tokens have it.
        audience: whom a token must be for.
        scope_claim: the claim with the scopes, ``driftline:predict`` and the like: a list, or a text with spaces between them.
        models_claim: the claim with names or patterns of the models that the token is for; where it is missing, all.
        owner_claim: the claim that says whose its predictions and labels are; where it is missing, its subject's.
        refresh_seconds: how often the keys are fetched; those of a token that is not known at once, but not more often than
            every ``least_seconds``.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        scope_claim: str = "scope",
        models_claim: str = "driftline_models",
        owner_claim: str = "driftline_owner",
        refresh_seconds: float = 600.0,
        least_seconds: float = 10.0,
    ) -> None:
        try:
            import jwt
        except ImportError:
            message = "DRIFTLINE_OIDC_ISSUER needs a package more: pip install 'driftline[oidc]'"
            raise ConfigurationError(message, code="missing_extra") from None
        self._jwt = jwt
        self.issuer = issuer
        self.audience = audience
        self.scope_claim = scope_claim
        self.models_claim = models_claim
        self.owner_claim = owner_claim
        self.refresh_seconds = refresh_seconds
        self.least_seconds = least_seconds
        self._keys: dict[str, Any] | None = None
        self._proved: OrderedDict[bytes, Key] = OrderedDict()
        self._unknown = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings) -> IdentityTokens | None:
        """Those of the settings; None where they name no provider. :class:`ConfigurationError` says what is wrong."""
        issuer = settings.oidc_issuer
        if issuer is None:
            return None
        place = urlsplit(issuer)
        if not place.hostname or not (
            place.scheme == "https" or (place.scheme == "http" and is_loopback(place.hostname))
        ):
            raise ConfigurationError(f"DRIFTLINE_OIDC_ISSUER: {issuer!r} is no https address")
        if not settings.oidc_audience:
            raise ConfigurationError(
                "DRIFTLINE_OIDC_AUDIENCE is missing: a token for another service must not open this one"
            )
        return cls(
            issuer,
            settings.oidc_audience,
            scope_claim=settings.oidc_scope_claim,
            models_claim=settings.oidc_models_claim,
            owner_claim=settings.oidc_owner_claim,
        )

    def check(self, token: str) -> Key | None:
        """What a token allows, or None where it proves nothing; :class:`Unavailable` while no key of the provider is known."""
        digest, now = hashlib.sha256(token.encode()).digest(), time.time()
        known = self._proved.get(digest)
        if known is not None and known.expires is not None and now < known.expires:
            return known
        if self._keys is None:
            message = f"the keys of {self.issuer} have not been fetched yet"
            raise Unavailable(message, code="identity_unavailable", retry_after=1)
        key = self._read(token, self._keys)
        if key is not None:
            self._proved[digest] = key
            while len(self._proved) > MAX_KEPT:
                self._proved.popitem(last=False)
        return key

    async def run(self) -> None:
        """Fetches the provider's keys until cancelled."""
        is_away = False
        async with httpx.AsyncClient(timeout=10.0) as client:
            while True:
                self._unknown.clear()
                try:
                    await self.fetch(client)
                    if is_away:
                        logger.info("the keys of %s are fetched again", self.issuer)
                    is_away = False
                except (httpx.HTTPError, ValueError, DriftlineError) as error:
                    if not is_away:
                        logger.warning(
                            "the keys of %s cannot be fetched: %s", self.issuer, error or type(error).__name__
                        )
                    is_away = True
                await asyncio.sleep(self.least_seconds)
                try:
                    async with asyncio.timeout(0 if is_away else self.refresh_seconds):
                        await self._unknown.wait()
                except TimeoutError:
                    pass

    async def fetch(self, client: httpx.AsyncClient) -> None:
        """Fetches the provider's keys; :class:`InvalidInput` where what it says is not for this issuer."""
        told = await _document(client, self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if told.get("issuer") != self.issuer:
            raise InvalidInput(
                f"issuer: it calls itself {told.get('issuer')!r}", field="issuer", value=told.get("issuer")
            )
        found = (await _document(client, str(told.get("jwks_uri")))).get("keys")
        keys: dict[str, Any] = {}
        for each in found if isinstance(found, list) else []:
            try:
                key = self._jwt.PyJWK(each)
            except self._jwt.PyJWTError:  # Of a kind that this release does not know; others may be.
                continue
            if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS:
                keys[key.key_id or ""] = key
        if not keys:
            raise InvalidInput("keys: there is none that can sign", field="keys")
        self._keys = keys
        self._proved.clear()  # A key that is gone proves nothing any more.

    def _read(self, token: str, keys: Mapping[str, Any]) -> Key | None:
        jwt = self._jwt
        try:
            signed_by = keys.get(str(jwt.get_unverified_header(token).get("kid", "")))
            if signed_by is None:
                self._unknown.set()
                return None
            claims = jwt.decode(
                token,
                signed_by,
                algorithms=[signed_by.algorithm_name],
                audience=self.audience,
                issuer=self.issuer,
                leeway=CLOCK_SECONDS,
                options={"require": ["exp", "iat", "sub"]},
            )
            return self._key(claims)
        except (jwt.PyJWTError, InvalidInput, ValueError):
            return None

    def _key(self, claims: Mapping[str, Any]) -> Key:
        given = claims.get(self.scope_claim, [])
        words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        scopes: tuple[Scope, ...] = tuple(scope for scope in SCOPES if f"{PREFIX}{scope}" in words)
        models = claims.get(self.models_claim, ())
        if isinstance(models, str):
            models = models.split()
        # A claim that is there and names nothing is no claim for all of them.
        if self.models_claim in claims and not (isinstance(models, list) and models):
            raise InvalidInput(f"{self.models_claim}: it names no model", field=self.models_claim)
        name = next(str(claims[name]) for name in NAMES if claims.get(name))
        # The same caller has the same id with each token: what it made stays its own.
        identifier = hashlib.sha256(f"{self.issuer} {claims['sub']}".encode()).hexdigest()[:12]
        key = Key(identifier, "", scopes, name[:100], "", parse_models(map(str, models)), float(claims["exp"]))
        owner = parse_owner(str(claims.get(self.owner_claim, "")))
        return msgspec.structs.replace(key, owner=owner or owner_by_default(key))


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = (await client.get(url)).raise_for_status().json()
    if not isinstance(answer, dict):
        raise InvalidInput(f"{url} is no object", field="issuer")
    return answer
