"""The mean of several versions."""

from __future__ import annotations

from driftline.networks import model_soup
from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.model_soup import Weights
from driftline.spec.parts.edits.weights import Average


class AverageEdit(EditBehaviour[Average]):
    """Gives network and output the mean weights of several versions."""

    def fill(self, session: EditSession) -> None:
        weights = [_weights_of(session, version) for version in self.parameters.versions]
        error_of = session.sources.error_of

        def error(mixed: Weights) -> float:
            _set(session, mixed)
            assert error_of is not None
            return error_of(session.after)

        is_judged = self.parameters.soup == "greedy" and error_of is not None
        _set(session, model_soup.greedy(weights, error).weights if is_judged else model_soup.mean(weights))
        for name in weights[0]:
            session.forget(name)


def _weights_of(session: EditSession, version: int) -> Weights:
    """The numbers of a version that take the place of the network's own."""
    if version not in session.sources.weights:
        raise ValueError(f"the weights of version {version} are not known here")
    weights, found = session.sources.weights[version], {}
    for name, own in session.old.items():
        if not (name.startswith(("network.", "output.")) and own.is_floating_point()):
            continue
        if name not in weights or weights[name].shape != own.shape:
            has = f"{list(weights[name].shape)}" if name in weights else "no such weight"
            here = f"{name} is {list(own.shape)} here, and {has} there"
            raise ValueError(f"version {version} is of another structure: {here}")
        found[name] = weights[name].to(own.dtype)
    return found


def _set(session: EditSession, weights: Weights) -> None:
    for name, value in weights.items():
        session.set(name, value)
