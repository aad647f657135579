"""``up``, ``serve``, ``worker`` and ``demo``: start processes."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Annotated

import typer

from driftline.cli.common import DataDir, load_settings

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option("--port", help="The port; 0: a free one.", show_default="8000")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, serve, worker, demo):
        app.command()(command)


def up(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Start everything on this machine: the server, a worker, and a Valkey unless DRIFTLINE_REDIS_URL names one."""
    from driftline import local
    from driftline.processes import Supervisor, bind

    settings = load_settings(host=host, port=port, data_dir=data_dir)
    local.refuse_exposure(settings)
    with bind(settings.host, settings.port) as listener:
        url = local.address(listener)
        supervisor = Supervisor(local.plan(settings, listener), report)
        threading.Thread(target=announce, args=(url,), daemon=True).start()
        with supervisor.handling_signals():
            supervisor.run()


def announce(url: str) -> None:
    """Print the address once the server is ready."""
    from driftline import local

    while not local.is_ready(url):
        time.sleep(0.1)
    print(f"Driftline answers at {url}", flush=True)


def report(line: str) -> None:
    """Say what the supervisor does."""
    print(f"driftline: {line}", file=sys.stderr, flush=True)


def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run one serving process; it needs DRIFTLINE_REDIS_URL."""
    from driftline import local

    settings = load_settings(host=host, port=port, data_dir=data_dir)
    command = local.program("app", "--host", settings.host, "--port", str(settings.port))
    os.execve(sys.executable, command, local.environment(settings, settings.redis_url))


def worker(data_dir: DataDir = None) -> None:
    """Run one learning process; it needs DRIFTLINE_REDIS_URL."""
    from driftline import local

    settings = load_settings(data_dir=data_dir)
    os.execve(sys.executable, local.program("worker"), local.environment(settings, settings.redis_url))


def demo(
    seconds: Annotated[float, typer.Option(min=6.0, help="How long the stream runs.")] = 100.0,
    is_plain: Annotated[bool, typer.Option("--plain", help="Plain lines even in a terminal.")] = False,
) -> None:
    """Watch a model meet drift and recover: handwritten digits as a live stream, with labels that come late."""
    from driftline.demo import run

    raise typer.Exit(run(seconds, is_plain=is_plain))
