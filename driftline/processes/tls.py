"""TLS of the server, by the settings."""

from __future__ import annotations

import ssl

from driftline.errors import ConfigurationError
from driftline.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What the server speaks TLS with; None where it does not.

    TLS 1.2 and 1.3, with the ciphers that Python takes for safe. :class:`ConfigurationError` where a file is missing or does
    not fit; it tells nothing of what is in it.
    """
    if settings.tls_cert is None:
        if settings.tls_key is not None or settings.tls_client_ca is not None:
            raise ConfigurationError(
                "DRIFTLINE_TLS_KEY and DRIFTLINE_TLS_CLIENT_CA need DRIFTLINE_TLS_CERT", code="tls"
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
        names = ", ".join(str(each) for each in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if each)
        raise ConfigurationError(f"TLS: {names}: {reason}", code="tls") from None
    return context


def _no_password() -> str:
    """A key with a password would ask for it at the terminal, where a service has none."""
    raise ValueError("the key needs a password")
