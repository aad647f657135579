"""Starts the serving process: ``python -P app/__main__.py --host H --port P``, or ``--fd N`` for a bound socket."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

# Started by its path it has no package yet: `driftline.app` where Driftline is installed, `app` in a checkout. Our own
# packages come first, and the user's folder, with its factories, last.
if not __package__:
    folder = Path(__file__).resolve().parent
    is_installed = (folder.parent / "__init__.py").is_file()
    __package__ = "driftline.app" if is_installed else "app"
    sys.path.insert(0, str(folder.parents[is_installed]))
    gc.disable()  # Of what a start makes hardly anything is garbage, and looking for it takes a sixth of the start.
sys.path.append(str(Path.cwd()))

import argparse
import socket

import torch
import uvicorn

from driftline.errors import DriftlineError
from driftline.processes.plan import is_loopback, refuse_exposure
from driftline.processes.supervisor import bind
from driftline.processes.tls import server_context
from driftline.settings import Settings
from driftline.store.format import check_at_start
from driftline.support.logs import set_up_logging

from .http_server import HttpConnection, HttpServer
from .main import create_app
from .responses import security_headers


def main() -> None:
    settings = Settings()
    arguments = _parse(settings)
    set_up_logging(settings.log_level, settings.log_format)
    torch.set_num_threads(settings.threads)
    try:
        check_at_start(settings)
        listener = _listener(arguments)
        is_public = not is_loopback(listener.getsockname()[0])
        refuse_exposure(settings, listener.getsockname()[0])
        context = server_context(settings)
        app = create_app(settings, is_public=is_public)
    except DriftlineError as error:
        sys.exit(f"driftline: {error}")
    config = uvicorn.Config(
        app,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=15,
        server_header=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        http=HttpConnection,
        # Longer than load balancers keep a connection that they may use again: they should be the ones to close it.
        timeout_keep_alive=75,
        headers=security_headers(is_tls=context is not None),
        ssl_context_factory=(lambda *_: context) if context is not None else None,
    )
    # Preparing a version is work in another thread; a request should not wait long for its turn.
    sys.setswitchinterval(0.001)
    gc.freeze()  # What the start has made stays: no collection should look at all of torch again while requests wait.
    gc.enable()
    HttpServer(config, settings.read_timeout).run(sockets=[listener])


def _parse(settings: Settings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="driftline serve")
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    parser.add_argument("--fd", type=int, help="a listening socket that the parent has bound")
    return parser.parse_args()


def _listener(arguments: argparse.Namespace) -> socket.socket:
    if arguments.fd is not None:
        return socket.socket(fileno=arguments.fd)
    return bind(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
