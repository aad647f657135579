"""Models on a base: what they begin with, and which models keep a base from being removed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from driftline.errors import Conflict, NotFound
from driftline.networks import bundle
from driftline.networks.bases import adapted
from driftline.spec import ModelSpec
from driftline.spec.based import BasedSpec
from driftline.store.catalog import CatalogEntry
from driftline.versions import VersionFiles

from .network_code import network_code
from .services import Services, Sight

CODE = "unknown_model"


@dataclass(frozen=True)
class Beginning:
    """What a new model begins with. ``tensors`` are those of its base, ``blobs`` the files of the base's that hold them, of the
    model ``uid``."""

    spec: ModelSpec
    tensors: Mapping[str, Tensor] | None = None
    uid: str = ""
    blobs: frozenset[str] = field(default_factory=frozenset)


async def beginning(
    services: Services, asked: ModelSpec | BasedSpec, sees: Sight, adapter: Path | None = None
) -> Beginning:
    """What a model of this spec begins with.

    Args:
        adapter: the file of an adapter of PEFT's.

    Raises:
        InvalidInput: it does not fit its base.
        NotFound: there is no such base, or no such version of it.
    """
    if isinstance(asked, ModelSpec):
        return Beginning(asked)
    name = asked.network.base
    names = await services.catalog.names()
    if name not in names or not sees.allows(name):
        raise NotFound(f"network.base: there is no model {name!r}", code=CODE, field="network.base", value=name)
    uid = names[name]
    number = asked.network.version or (await services.catalog.get(name)).head.version
    version = await services.commit_log(uid).version(number)
    return await asyncio.to_thread(_on_base, services, asked, uid, version.manifest, f"{name}@{number}", adapter)


def _on_base(services: Services, asked: BasedSpec, uid: str, digest: str, name: str, adapter: Path | None) -> Beginning:
    files = VersionFiles(services.artifacts, uid)
    with network_code(f"the network of {name}"):
        base = files.restored(digest, services.settings.factories)
        brought = bundle.weights_of_file(adapter) if adapter is not None else None
        spec, tensors = adapted(base, name, asked.over(base.spec), asked.network.adapter, services.budget, brought)
    return Beginning(spec, tensors, uid, frozenset(files.manifest(digest).tensors.values()))


def check_unused(base: str, models: Iterable[CatalogEntry], sees: Sight) -> None:
    """:class:`Conflict` ``base_in_use`` names the models that were made on one."""
    users = [model.name for model in models if _base_of(model) == base]
    shown = [user for user in users if sees.allows(user)]
    if users:
        others = f"{len(users) - len(shown)} others" if len(users) > len(shown) else ""
        told = ", ".join([*shown[:10], *([f"{len(shown) - 10} more"] if len(shown) > 10 else []), others]).rstrip(", ")
        message = f"{base!r} is the base of {told}: remove these first"
        raise Conflict(message, code="base_in_use", field="model", value=base, models=shown)


def _base_of(model: CatalogEntry) -> str | None:
    name, _, _ = (model.spec["network"].get("base") or "").rpartition("@")
    return name or None
