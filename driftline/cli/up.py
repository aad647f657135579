"""``up``, ``serve``, ``worker`` and ``demo``: start processes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.common import DataDir, load_settings
from driftline.cli.parameters import expanded

if TYPE_CHECKING:
    import socket

    from driftline.processes.supervisor import Plan
    from driftline.settings import Settings

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Learning processes that share the models.", show_default="1")
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="Learning processes that share the models.", show_default="1")
]
OnRay = Annotated[
    int | None, typer.Option("--ray", metavar="COUNT", min=1, help="So many of them, on the nodes of a Ray cluster.")
]


@dataclass(frozen=True)
class ServingChoices:
    """Where the server listens, and how it is run."""

    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.", show_default="127.0.0.1")] = (
        None
    )
    port: Annotated[int | None, typer.Option("--port", help="The port; 0: a free one.", show_default="8000")] = None
    data_dir: DataDir = None
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=1, help="Serving processes that share the port.", show_default="1")
    ] = None
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="The server's certificate: it then speaks TLS alone.")
    ] = None
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="The private key of the certificate.")] = None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, serve, worker, demo):
        app.command()(expanded(command))


def up(serving: ServingChoices, workers: Workers = None) -> None:
    """Start everything on this machine: the server, a worker, and a Valkey unless DRIFTLINE_REDIS_URL names one."""
    from driftline.processes import plan as local
    from driftline.store.format import check_at_start

    settings = load_settings(**asdict(serving), workers=workers)
    check_at_start(settings)
    supervise(settings, lambda listener: local.plan(settings, listener))


def supervise(settings: Settings, plan: Callable[[socket.socket], Plan]) -> None:
    """Bind the port, and keep the children of a plan running until a signal ends them."""
    from driftline.processes import plan as local
    from driftline.processes.supervisor import Supervisor, bind
    from driftline.processes.tls import server_context

    local.refuse_exposure(settings)
    is_tls = server_context(settings) is not None
    with bind(settings.host, settings.port) as listener:
        supervisor = Supervisor(plan(listener), report)
        threading.Thread(target=announce, args=(local.address(listener, is_tls),), daemon=True).start()
        with supervisor.handling_signals():
            supervisor.run()


def announce(url: str) -> None:
    """Print the address once the server is ready, and how other commands find it where it is not the usual one."""
    from driftline.client.clients import DEFAULT_URL
    from driftline.processes import plan as local

    while not local.is_ready(url):
        time.sleep(0.1)
    print(f"Driftline answers at {url}", flush=True)
    if url != DEFAULT_URL:
        print(f"export DRIFTLINE_URL={url}  # so that other commands find it", flush=True)


def report(line: str) -> None:
    """Print a line about what the supervisor does."""
    print(f"driftline: {line}", file=sys.stderr, flush=True)


def serve(serving: ServingChoices) -> None:
    """Run the server alone, in one process or several; it needs DRIFTLINE_REDIS_URL."""
    from driftline.processes import plan as local
    from driftline.store.format import check_at_start

    settings = load_settings(**asdict(serving))
    if settings.replicas > 1:
        local.require_redis(settings)
        check_at_start(settings)
        supervise(settings, lambda listener: local.serving_plan(settings, listener))
        return
    command = local.program("app", "--host", settings.host, "--port", str(settings.port))
    os.execve(sys.executable, command, local.environment(settings, settings.redis_url))


def worker(data_dir: DataDir = None, processes: Processes = None, ray: OnRay = None) -> None:
    """Run learning alone, in one process or several, here or on a Ray cluster; it needs DRIFTLINE_REDIS_URL."""
    from driftline.processes import on_ray
    from driftline.processes import plan as local
    from driftline.processes.supervisor import Supervisor
    from driftline.store.format import check_at_start

    settings = load_settings(data_dir=data_dir, workers=processes if ray is None else ray)
    if settings.workers > 1 or ray is not None:
        if ray is not None:
            on_ray.require()
        local.require_redis(settings)
        check_at_start(settings)
        supervisor = Supervisor(local.learning_plan(settings, None if ray is None else on_ray.WORKER), report)
        with supervisor.handling_signals():
            supervisor.run()
        return
    os.execve(sys.executable, local.program("worker"), local.environment(settings, settings.redis_url))


def demo(
    seconds: Annotated[
        float, typer.Option(min=6.0, help="How long the stream runs; longer where the machine is busy.")
    ] = 100.0,
    is_plain: Annotated[bool, typer.Option("--plain", help="Plain lines even in a terminal.")] = False,
) -> None:
    """Watch a model meet drift and recover: handwritten digits as a live stream, with labels that come late."""
    from driftline.demo import run

    raise typer.Exit(run(seconds, is_plain=is_plain))
