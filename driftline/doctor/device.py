"""Whether this machine has the devices that networks are to compute on."""

from __future__ import annotations

from driftline.doctor.finding import Finding, error, ok
from driftline.doctor.snapshot import StoreSnapshot
from driftline.settings import Settings


def check(settings: Settings) -> list[Finding]:
    """The device that the settings name."""
    reason = _missing(settings.device)
    if reason is None:
        return [ok("device", f"networks compute on {settings.device}")]
    return [error("device", f"DRIFTLINE_DEVICE: {reason}", _ADVICE)]


def check_model(model: StoreSnapshot) -> list[Finding]:
    """The device that a model's spec names, if it names one."""
    reason = _missing(model.device) if model.device is not None else None
    return [] if reason is None else [error("device", f"{model.name}: {reason}", _ADVICE)]


def _missing(device: str) -> str | None:
    if device == "cpu":
        return None
    # Only what is not there needs torch, which takes a second to load.
    from driftline.support.devices import missing_device

    return missing_device(device)


_ADVICE = "run Driftline where the device is, with a torch that is built for it; or name another one, such as cpu"
