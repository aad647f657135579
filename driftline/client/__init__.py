"""The HTTP client, with and without ``await``."""

from driftline.client.clients import AsyncClient, Client
from driftline.client.feedback import FeedbackRefused, RefusedItem
from driftline.client.handle import ModelHandle

__all__ = ["AsyncClient", "Client", "FeedbackRefused", "ModelHandle", "RefusedItem"]
