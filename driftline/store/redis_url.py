"""The URL of a store, read so that nothing of a password is ever taken for another part of it, and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator

from driftline.errors import ConfigurationError

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]*)"
_SERVER = re.compile(rf"(?:(?P<user>.*)@)?(?P<place>{_HOST}(?::\d{{1,5}})?)(?P<end>(?:/\d*)?(?:\?[^#@]*)?)", re.S)
_SOCKET = re.compile(r"(?:(?P<user>[^/].*)@)?(?P<place>/[^?#]*)(?P<end>(?:\?[^#@]*)?)", re.S)
_SENTINELS = re.compile(
    rf"(?:(?P<user>.*)@)?(?P<place>{_HOST}(?::\d{{1,5}})?(?:,{_HOST}(?::\d{{1,5}})?)*/(?P<service>[\w.-]+))"
    r"(?P<end>(?:/\d*)?(?:\?[^#@]*)?)",
    re.S,
)
_FORMS = {
    **dict.fromkeys(("redis", "rediss", "redis+cluster", "rediss+cluster"), _SERVER),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), _SENTINELS),
    "unix": _SOCKET,
}
_MIXED = re.compile(r"[?&](username|password)=")
"""What stands before the last @ and also looks like options: whether a part of it is a password, nobody can tell."""


@dataclass(frozen=True)
class StoreUrl:
    """A URL of a store in its parts, ``user`` and password percent-encoded.

    Args:
        kind: what it names: a ``server``, any node of a ``cluster``, or, by ``sentinel``, those of a service.
        scheme: as for a server.
        place: where that is.
        end: the database and options.
        service: what the Sentinels watch.
    """

    kind: str
    scheme: str
    user: str
    place: str
    end: str
    service: str = ""

    @property
    def url(self) -> str:
        """As any client reads that of a server."""
        return f"{self.scheme}://{self.user}{self.place}{self.end}"

    @property
    def hosts(self) -> list[tuple[str, int | None]]:
        """Where the Sentinels are, with the ports that are given."""
        parts = [urlsplit(f"//{host}") for host in self.place.rpartition("/")[0].split(",")]
        return [(part.hostname or "localhost", part.port) for part in parts]


def parse_redis_url(url: str) -> StoreUrl:
    """What a URL says.

    In the password any character may stand as it is. A URL that could be read in two ways is refused, and the refusal shows
    nothing of it: :class:`ConfigurationError`.

    >>> parse_redis_url("redis://:a#b@store:6379/0").url
    'redis://:a%23b@store:6379/0'
    >>> parse_redis_url("redis+sentinel://one,two:26380/main/0").hosts
    [('one', None), ('two', 26380)]
    """
    scheme, separator, rest = url.partition("://")
    found = _FORMS[scheme].fullmatch(rest) if separator and scheme in _FORMS else None
    if found is None or _MIXED.search(found["user"] or ""):
        raise unreadable_url()
    user = "" if found["user"] is None else ":".join(map(_encoded, found["user"].split(":", 1))) + "@"
    parts = found.groupdict()
    scheme, _, kind = scheme.partition("+")
    return StoreUrl(kind or "server", scheme, user, parts["place"], parts["end"], parts.get("service", ""))


def unreadable_url() -> ConfigurationError:
    """The refusal of a URL, which tells nothing of it: what is wrong may be the password."""
    return ConfigurationError(
        "the URL of the store cannot be read; it is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or begins with "
        "rediss:// (TLS), redis+cluster://, rediss+cluster:// or unix:///PATH, or is "
        "redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,…]/SERVICE[/DATABASE]. In a user name or password, and in options, "
        "write %23 for #, %2F for /, %3A for :, %3F for ? and %40 for @",
        code="store_url",
    )


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="")


def _readable(url: str) -> str:
    try:
        parse_redis_url(url)
    except ConfigurationError as error:
        raise ValueError(error.message) from None
    return url


RedisUrl = Annotated[str, AfterValidator(_readable)]
"""The URL of a store as a field of a spec, which can be read."""
