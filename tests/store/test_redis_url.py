"""The URL of the store: any password is read, and nothing of it is ever shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from driftline.doctor import place
from driftline.errors import ConfigurationError
from driftline.settings import Settings
from driftline.store.connection import connect
from driftline.store.redis_url import parse_redis_url, unreadable_url

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
PLACES = st.sampled_from(
    ["store", "store:6379", "store/3", "store:7000/3", "store?protocol=2", "store:1/0?socket_timeout=3"]
)


def read(url: str) -> dict[str, Any]:
    """Where a client of ``url`` would connect to, and as whom."""
    client: Any = connect(url)
    found = client.connection_pool.connection_kwargs
    return {name: found.get(name) for name in ("host", "port", "db", "username", "password")}


@given(user=st.just("") | SECRETS, password=SECRETS, where=PLACES)
def test_a_password_that_is_encoded_is_read_as_it_was(user: str, password: str, where: str) -> None:
    found = read(f"redis://{quote(user, safe='')}:{quote(password, safe='')}@{where}")
    assert found == read(f"redis://{where}") | {"username": user or None, "password": password}


@given(password=SECRETS | st.from_regex(r"[@/?#:&=%a1]{1,8}", fullmatch=True), where=PLACES)
def test_a_password_that_is_not_encoded_is_read_or_refused_and_never_a_part_of_a_place(
    password: str, where: str
) -> None:
    try:
        found = read(f"redis://:{password}@{where}")
    except ConfigurationError as refused:
        assert str(refused) == str(unreadable_url()), "the same words, whatever was given"
    else:
        assert found == read(f"redis://{where}") | {"password": unquote(password)}


@given(text=st.text())
def test_whatever_is_refused_is_not_repeated(text: str) -> None:
    for url in (text, f"redis://{text}", f"unix://{text}", f"rediss+cluster://{text}", f"redis://h/0?db={text}"):
        try:
            connect(url)
        except ConfigurationError as refused:
            assert str(refused) == str(unreadable_url())


@pytest.mark.parametrize(
    ("url", "readable"),
    [
        ("redis://:p#1@store", "redis://:p%231@store"),
        ("redis://user:a@b@store:6379/1", "redis://user:a%40b@store:6379/1"),
        (
            "rediss://app:s%23t@[::1]:6380/0?ssl_ca_certs=/etc/ca.pem",
            "rediss://app:s%23t@[::1]:6380/0?ssl_ca_certs=/etc/ca.pem",
        ),
        ("redis://store?password=a%40b", "redis://store?password=a%40b"),
        ("unix:///run/a@b/s?db=1", "unix:///run/a@b/s?db=1"),
        ("unix://app:x#y@/run/s", "unix://app:x%23y@/run/s"),
    ],
)
def test_users_tls_and_sockets(url: str, readable: str) -> None:
    assert (parse_redis_url(url).url, parse_redis_url(url).kind) == (readable, "server")
    connect(url)


def test_sentinels_are_asked_for_the_primary_of_a_service() -> None:
    client: Any = connect(
        "rediss+sentinel://app:a#b@one,[::1]:26380/main.1/3?ssl_ca_certs=/ca.pem&sentinel_password=x%2Fy"
    )
    pool = client.connection_pool
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(kwargs["host"], kwargs["port"]) for kwargs in asked] == [("one", 26379), ("::1", 26380)]
    assert {(kwargs["password"], kwargs["ssl_ca_certs"], kwargs["username"]) for kwargs in asked} == {
        ("x/y", "/ca.pem", None)
    }
    own = pool.connection_kwargs
    assert pool.service_name == "main.1" and pool.connection_class is SentinelManagedSSLConnection
    assert (own["username"], own["password"], own["db"], own["ssl_ca_certs"]) == ("app", "a#b", 3, "/ca.pem")
    assert "sentinel_password" not in own


@pytest.mark.parametrize("place", ["one", "one/", "one,two", ",/x y", "one:1:2/main"])
def test_sentinels_without_a_service_are_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match="SERVICE"):
        parse_redis_url(f"redis+sentinel://{place}")


@pytest.mark.parametrize(
    "url", ["redis://store?password=a@b", "redis://x?username=a&password=a@b", "http://store", "store"]
)
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="%23 for #"):
        parse_redis_url(url)


SECRET = "Zq7#Wx9/Ky3?"


def test_settings_do_not_show_what_holds_secrets() -> None:
    settings = Settings(redis_url=f"redis://:{SECRET}@h", sources=f'["{SECRET}"]', webhooks=f'["{SECRET}"]')
    assert SECRET not in repr(settings)


def test_the_doctor_says_that_it_cannot_be_read_and_no_more() -> None:
    with place.find(Settings(redis_url=f"redis://h?password={SECRET}@h")) as found:
        assert found.url is None and "store cannot be read" in found.findings[0].message
        assert "Zq7" not in str(found.findings)
