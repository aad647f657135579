"""The HTTP client, with and without ``await``."""

from driftline.client.clients import AsyncClient, Client
from driftline.client.feedback import FeedbackRefused, RefusedItem

__all__ = ["AsyncClient", "Client", "FeedbackRefused", "RefusedItem"]
