"""The URL of a store, read so that nothing of a password is ever taken for another part of it, and shown."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import AfterValidator

from driftline.errors import ConfigurationError

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]*)"
_SERVER = re.compile(rf"(?:(?P<user>.*)@)?(?P<place>{_HOST}(?::\d{{1,5}})?)(?P<end>(?:/\d*)?(?:\?[^#@]*)?)", re.S)
_SOCKET = re.compile(r"(?:(?P<user>[^/].*)@)?(?P<place>/[^?#]*)(?P<end>(?:\?[^#@]*)?)", re.S)
_FORMS = {"redis": _SERVER, "rediss": _SERVER, "redis+cluster": _SERVER, "rediss+cluster": _SERVER, "unix": _SOCKET}
_MIXED = re.compile(r"[?&](username|password)=")
"""What stands before the last @ and also looks like options: whether a part of it is a password, nobody can tell."""


def parse_redis_url(url: str) -> tuple[str, bool]:
    """A URL that any client reads alike, with user name and password percent-encoded; and whether it names a cluster.

    In the password any character may stand as it is. A URL that could be read in two ways is refused, and the refusal shows
    nothing of it: :class:`ConfigurationError`.

    >>> parse_redis_url("redis://:a#b@store:6379/0")
    ('redis://:a%23b@store:6379/0', False)
    """
    scheme, separator, rest = url.partition("://")
    found = _FORMS[scheme].fullmatch(rest) if separator and scheme in _FORMS else None
    if found is None or _MIXED.search(found["user"] or ""):
        raise unreadable_url()
    user = "" if found["user"] is None else ":".join(map(_encoded, found["user"].split(":", 1))) + "@"
    is_cluster = scheme.endswith("+cluster")
    return f"{scheme.removesuffix('+cluster')}://{user}{found['place']}{found['end']}", is_cluster


def unreadable_url() -> ConfigurationError:
    """The refusal of a URL, which tells nothing of it: what is wrong may be the password."""
    return ConfigurationError(
        "the URL of the store cannot be read; it is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or begins with "
        "rediss:// (TLS), redis+cluster://, rediss+cluster:// or unix:///PATH. In a user name or password, and in options, "
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
