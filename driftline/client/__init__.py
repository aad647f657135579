"""The HTTP client, with and without ``await``."""

from driftline.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
