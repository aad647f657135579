"""The processes of one machine and their settings."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from driftline.api_keys import KeyStore
from driftline.errors import ConfigurationError
from driftline.processes.supervisor import Child, Guard, Output, Plan
from driftline.settings import Settings
from driftline.store.format import check_at_start

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
APP_STOP_SECONDS, WORKER_STOP_SECONDS = 20.0, 30.0
"""How long a process may take to end: to answer what has begun; to finish a step and write the checkpoints."""


def folder_of(name: str) -> Path:
    """Where ``app`` or ``worker`` is: inside ``driftline`` where that is installed, beside it in a checkout."""
    installed = PACKAGE / name
    return installed if (installed / "__main__.py").is_file() else ROOT / name


def program(name: str, *arguments: str) -> list[str]:
    """The command that starts ``app`` or ``worker``, even if the current folder has packages of these names, or a module."""
    if "." in name:
        return [sys.executable, "-P", "-m", name, *arguments]
    return [sys.executable, "-P", str(folder_of(name) / "__main__.py"), *arguments]


def environment(settings: Settings, redis_url: str | None) -> dict[str, str]:
    """The environment that gives a process these settings."""
    chosen = {
        "DRIFTLINE_DATA_DIR": str(settings.data_dir.resolve()),
        "DRIFTLINE_HOST": settings.host,
        "DRIFTLINE_PORT": str(settings.port),
        **{
            f"DRIFTLINE_{name.upper()}": str(path.resolve())
            for name in ("tls_cert", "tls_key", "tls_client_ca")
            if (path := getattr(settings, name)) is not None
        },
    }
    return {**os.environ, **chosen, **({"DRIFTLINE_REDIS_URL": redis_url} if redis_url else {})}


def plan(settings: Settings, listener: socket.socket, output: Output = None) -> Plan:
    """The children of ``driftline up``: a Valkey server unless there is a ``redis_url``, workers, and the app.

    ``output`` is where they write.
    """

    @contextlib.contextmanager
    def children(guard: Guard) -> Iterator[Sequence[Child]]:
        with contextlib.ExitStack() as stack:
            server = None if settings.redis_url else stack.enter_context(_embedded(settings, guard))
            env = environment(settings, settings.redis_url or (server.url if server else None))
            apps = stack.enter_context(_apps(settings.replicas, listener, guard, env, output))
            ours = [*_workers(settings, guard, env, output), *apps]
            yield [server.child, *ours] if server else ours

    return children


def learning_plan(settings: Settings, command: Sequence[str] | None = None) -> Plan:
    """The children of ``driftline worker`` with several processes, each of which is, or stands for, a worker.

    ``command`` starts one; None: a worker on this machine.
    """

    @contextlib.contextmanager
    def children(guard: Guard) -> Iterator[Sequence[Child]]:
        yield _workers(settings, guard, environment(settings, settings.redis_url), None, command)

    return children


def _workers(
    settings: Settings, guard: Guard, env: Mapping[str, str], output: Output, command: Sequence[str] | None = None
) -> list[Child]:
    """The learning processes, each with a name that it keeps when it is started again, and its models with it."""
    prefix = settings.worker_id or secrets.token_hex(6)

    def child(number: int) -> Child:
        identifier = prefix if settings.workers == 1 else f"{prefix}-{number}"

        def worker() -> subprocess.Popen[bytes]:
            named = {**env, "DRIFTLINE_WORKER_ID": identifier}
            if settings.worker_port:
                named["DRIFTLINE_WORKER_PORT"] = str(settings.worker_port + number - 1)
            return guard.spawn(command or program("worker"), env=named, stdout=output, stderr=output)

        return Child(
            "worker" if settings.workers == 1 else f"worker-{number}", worker, stop_seconds=WORKER_STOP_SECONDS
        )

    return [child(number) for number in range(1, settings.workers + 1)]


def serving_plan(settings: Settings, listener: socket.socket) -> Plan:
    """The children of ``driftline serve`` with several replicas."""

    @contextlib.contextmanager
    def children(guard: Guard) -> Iterator[Sequence[Child]]:
        with _apps(settings.replicas, listener, guard, environment(settings, settings.redis_url), None) as apps:
            yield apps

    return children


@contextlib.contextmanager
def _apps(
    replicas: int, listener: socket.socket, guard: Guard, env: Mapping[str, str], output: Output
) -> Iterator[list[Child]]:
    """The serving processes, which share the listening socket and the folder of their metrics."""
    with tempfile.TemporaryDirectory(prefix="driftline-counts-") as counts:

        def app() -> subprocess.Popen[bytes]:
            file = listener.fileno()
            counting = {**env, "PROMETHEUS_MULTIPROC_DIR": counts}
            command = program("app", "--fd", str(file))
            return guard.spawn(command, env=counting, pass_fds=[file], stdout=output, stderr=output)

        names = [f"app-{number}" for number in range(1, replicas + 1)] if replicas > 1 else ["app"]
        yield [Child(name, app, stop_seconds=APP_STOP_SECONDS) for name in names]


class _Embedded:
    """The embedded server as a child."""

    def __init__(self, settings: Settings, guard: Guard) -> None:
        from driftline.processes.embedded import EmbeddedServer

        self._settings = settings
        self._server = EmbeddedServer(settings.data_dir, guard)
        self.child = Child("valkey", self._start, stop_seconds=20.0)
        self.url = self._server.url
        self.stop = self._server.stop

    def _start(self) -> subprocess.Popen[bytes]:
        self._server.start()
        # Before a process that would read or write is started.
        check_at_start(self._settings.model_copy(update={"redis_url": self.url}))
        assert self._server.process is not None
        return self._server.process


@contextlib.contextmanager
def _embedded(settings: Settings, guard: Guard) -> Iterator[_Embedded]:
    server = _Embedded(settings, guard)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def store_url(settings: Settings) -> Iterator[str]:
    """The URL of the store: ``redis_url``, else the server of the running ``up``, else one that runs during the block."""
    from driftline.processes.embedded import EmbeddedServer, running_url

    url = settings.redis_url or running_url(settings.data_dir)
    if url is not None:
        yield url
        return
    with Guard() as guard:
        server = EmbeddedServer(settings.data_dir, guard)
        try:
            server.start()
            yield server.url
        finally:
            server.stop()


def require_redis(settings: Settings) -> str:
    """The URL of the Redis that ``serve`` and ``worker`` need; :class:`ConfigurationError` if it is not set."""
    if settings.redis_url is None:
        raise ConfigurationError("DRIFTLINE_REDIS_URL is not set; set it, or let `driftline up` start its own server")
    return settings.redis_url


def refuse_exposure(settings: Settings, host: str | None = None) -> None:
    """Refuse an address that other machines can reach (by default that of the settings) where no key could be asked for."""
    host = host or settings.host
    if not is_loopback(host) and settings.oidc_issuer is None and not KeyStore.of(settings).list():
        raise ConfigurationError(
            f"without API keys the server listens on this machine only, not on {host}; make a key first: "
            f"driftline keys create --scope admin --name me --data-dir {settings.data_dir}"
        )


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address(listener: socket.socket, is_tls: bool = False) -> str:
    """The URL of a listening socket, for clients on this machine."""
    host, port = listener.getsockname()[:2]
    host, scheme = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_ready(url: str, timeout: float = 2.0) -> bool:
    """Whether ``/readyz`` at ``url`` says yes, or asks for a certificate, which none but its clients have."""
    scheme, _, place = url.partition("://")
    connection = http.client.HTTPConnection(place, timeout=timeout)
    if scheme == "https":  # It is our own server, and its certificate names another place than this machine.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(place, timeout=timeout, context=context)
    is_met = False
    try:
        connection.connect()
        is_met = scheme == "https"
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except TimeoutError:
        return False
    except (OSError, http.client.HTTPException):
        return is_met  # By TLS 1.3 it hangs up on whoever has no certificate after the handshake.
    finally:
        connection.close()
