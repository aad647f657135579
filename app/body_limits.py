"""How many bytes the body of a call may have: its route says so, whatever its content type, and what is held of all bodies."""

from __future__ import annotations

from collections import defaultdict

from driftline.api import endpoints
from driftline.api.endpoints import ENDPOINTS

WITHOUT_BODY_BYTES = 64 * 2**10
"""The most of a body that is passed over: of a call that takes none, or that is refused."""
CONTROL_BYTES = 4 * 2**20
"""The most of a body that holds neither rows nor weights."""
DATA = frozenset(
    (
        endpoints.CREATE_MODEL,
        endpoints.PREDICT,
        endpoints.INFER,
        endpoints.INFER_VERSION,
        endpoints.GIVE_FEEDBACK,
    )
)


def body_limit(method: str, path: str, max_body_bytes: int) -> int | None:
    """The most bytes of a body; None for a stream of lines, each of which its route bounds."""
    for endpoint in ENDPOINTS:
        if endpoint.method == method and endpoint.pattern.fullmatch(path):
            if endpoint is endpoints.STREAM_FEEDBACK:
                return None
            if endpoint in DATA:
                return max_body_bytes
            return min(max_body_bytes, CONTROL_BYTES if endpoint.bodies else WITHOUT_BODY_BYTES)
    return min(max_body_bytes, WITHOUT_BODY_BYTES)


class HeldBytes:
    """The bytes of bodies that a process holds at once, of all connections: ``limit`` at most, and half of it of one caller."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._by_caller: defaultdict[str, int] = defaultdict(int)

    def take(self, caller: str, size: int) -> bool:
        """Counts bytes that have come; False where there is no room for them."""
        if self.total + size > self.limit or self._by_caller[caller] + size > self.limit // 2:
            return False
        self.total += size
        self._by_caller[caller] += size
        return True

    def release(self, caller: str, size: int) -> None:
        """The bytes are held no longer."""
        self.total -= size
        self._by_caller[caller] -= size
        if not self._by_caller[caller]:
            del self._by_caller[caller]
