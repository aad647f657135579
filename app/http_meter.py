"""How many requests each call has had, how they were answered, and how long that took."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline.api.endpoints import ENDPOINTS
from driftline.support.tally import QUICK, Tally

from .gatekeeper import PAGES, kept_by_path

OTHER = "(other)"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
CLIENT_GONE = 499
"""The status of a request whose client did not wait for the answer."""


@kept_by_path
def named_path(method: str, path: str) -> tuple[str, str]:
    """The method and path under which a call is counted: that of its endpoint, so that no client can make up new ones."""
    if PAGES.fullmatch(path):
        return method if method in METHODS else OTHER, _page(path)
    for endpoint in ENDPOINTS:
        if endpoint.method == method and endpoint.pattern.fullmatch(path):
            return method, endpoint.shown_path
    return method if method in METHODS else OTHER, OTHER


def _page(path: str) -> str:
    """The page itself, or the folder of its files."""
    folder, _, file = path[1:].partition("/")
    return f"/{folder}" if file else path


class HttpMeter:
    """Counts requests in plain numbers: they go into the metrics all at once, when somebody looks."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str, str, int], Tally] = {}

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        answer = method, path, status
        tally = self._durations.get(answer)
        if tally is None:
            tally = self._durations[answer] = Tally(QUICK)
        tally.observe(seconds)

    def take(self) -> dict[tuple[str, str, int], Tally]:
        """The requests that were answered since this was last asked for, by method, path and status."""
        taken, self._durations = self._durations, {}
        return taken


async def metered(meter: HttpMeter, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Makes a call of ``app`` and counts it."""
    begin, status = time.perf_counter(), CLIENT_GONE

    async def noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await app(scope, receive, noting)
    except Exception:
        status = 500
        raise
    finally:
        meter.observe(*named_path(scope["method"], scope["path"]), status, time.perf_counter() - begin)
