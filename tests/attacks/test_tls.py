"""TLS of the server and of the store, and what every answer says to a browser."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftline.client.clients import Client
from driftline.errors import ConfigurationError
from driftline.processes.plan import is_ready
from driftline.processes.tls import server_context
from driftline.settings import Settings
from driftline.store.connection import connect
from tests.ports import free_port, missing
from tests.services import spec, up
from tests.waiting import SECONDS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    openssl = shutil.which("openssl") or missing("openssl")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made = [*command, "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


@pytest.mark.slow
def test_a_server_with_a_certificate_speaks_tls_alone(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    with up(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as instance:
        url = instance.url
        assert url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=str(cert)), timeout=SECONDS) as client:
            assert client.post("/v1/models", json=spec()).status_code == 201
            for answer in (
                client.post("/v1/models/weather/predict", json={"inputs": [[0.0] * 8]}),
                client.get("/v1/models"),
                client.get("/"),
            ):
                assert answer.status_code == 200
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/livez", timeout=SECONDS)
        with pytest.raises(Exception, match="certificate"), Client(url, retries=0) as stranger:
            stranger.models()


@pytest.mark.parametrize("broken", ["missing", "no certificate", "the key of another", "a key alone"])
def test_what_is_no_certificate_is_one_sentence(certificate: tuple[Path, Path], tmp_path: Path, broken: str) -> None:
    cert, key = certificate
    (tmp_path / "text").write_text("SECRET")
    given: dict[str, Any] = {
        "missing": {"tls_cert": tmp_path / "none", "tls_key": key},
        "no certificate": {"tls_cert": tmp_path / "text", "tls_key": key},
        "the key of another": {"tls_cert": cert, "tls_key": tmp_path / "text"},
        "a key alone": {"tls_key": key},
    }[broken]
    with pytest.raises(ConfigurationError) as refused:
        server_context(Settings(**given))
    assert "TLS" in refused.value.message and "SECRET" not in refused.value.message


def test_a_caller_needs_a_certificate_where_there_is_an_authority(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = server_context(Settings(tls_cert=cert, tls_key=key, tls_client_ca=cert))
    assert context is not None and context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert server_context(Settings()) is None


def test_a_server_that_asks_for_a_certificate_counts_as_ready(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = server_context(Settings(tls_cert=cert, tls_key=key, tls_client_ca=cert))
    assert context is not None
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        served = threads.submit(serve)
        assert is_ready(f"https://127.0.0.1:{listening.getsockname()[1]}", timeout=SECONDS)
        served.result()


@pytest.mark.anyio
async def test_a_store_is_reached_by_tls_with_a_user_of_its_own(
    certificate: tuple[Path, Path], tmp_path: Path, redis_binary: str
) -> None:
    """A user of the store with a password that has every kind of character, over TLS; another authority is refused."""
    (cert, key), port = certificate, free_port()
    password = "a#b@c/d?e%20:f"
    acl = tmp_path / "users.acl"
    acl.write_text(f"user default off\nuser driftline on >{password} ~driftline:* &driftline:* +@all\n")
    options = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--aclfile", str(acl), "--save", ""]
    tls = [
        "--tls-cert-file",
        str(cert),
        "--tls-key-file",
        str(key),
        "--tls-ca-cert-file",
        str(cert),
        "--tls-auth-clients",
        "no",
    ]
    process = subprocess.Popen([redis_binary, *options, *tls, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        place = f"driftline:{password.replace('%', '%25')}@localhost:{port}/0"
        client: Any = connect(f"rediss://{place}?ssl_ca_certs={cert}", retries=20)
        await client.set("driftline:x", 1)
        assert await client.get("driftline:x") == b"1"
        await client.aclose()
        stranger: Any = connect(f"rediss://{place}", retries=0)
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.ping()
        await stranger.aclose()
    finally:
        process.terminate()
        process.wait(SECONDS)
