"""Where the artifacts are, as ``DRIFTLINE_ARTIFACTS`` says: a folder, or an object store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from driftline.errors import ConfigurationError
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.encryption import Encryption
from driftline.store.encryption_keys import encryption_of

OBJECT_STORES = ("s3", "gs", "az")


def open_artifacts(settings: Settings) -> Artifacts:
    """The artifacts of these settings; :class:`ConfigurationError` where they name none, or keys, that there can be."""
    url, encryption = settings.artifacts, encryption_of(settings)
    if url is None:
        return Artifacts(settings.data_dir / "artifacts", encryption)
    parts = urlsplit(url)
    if parts.scheme in OBJECT_STORES and parts.netloc:
        return _objects(url, settings, encryption)
    if parts.scheme == "file" and not parts.netloc and parts.path:
        return Artifacts(Path(unquote(parts.path)), encryption)
    raise ConfigurationError(
        f"DRIFTLINE_ARTIFACTS={url!r} names no place: give file:/FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
        "az://ACCOUNT/CONTAINER/PREFIX",
        field="artifacts",
        value=url,
    )


def _objects(url: str, settings: Settings, encryption: Encryption) -> Artifacts:
    try:
        from driftline.store.object_artifacts import ObjectArtifacts, open_store
    except ImportError:
        message = f"DRIFTLINE_ARTIFACTS={url} needs the package obstore: pip install 'driftline[object-store]'"
        raise ConfigurationError(message, code="missing_extra") from None
    cache = settings.data_dir / "artifact-cache"
    return ObjectArtifacts(url, open_store(url), cache, settings.artifact_cache_bytes, encryption)
