"""The calls about whose labels a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN, READER

if TYPE_CHECKING:
    from driftline.api import control, labellers
else:
    control, labellers = LazyModule("driftline.api.control"), LazyModule("driftline.api.labellers")

_LABELLER: dict[str, Any] = {
    **{"name": "4be0c1a2f3d4/ward-7", "key": "4be0c1a2f3d4", "source": "ward-7", "state": "quarantined", "since": 905},
    "reason": "contradict others' labels of like rows, and what was served: 26 of its newest 28 labels that can be compared",
    **{"labels": 72, "held": 9, "rejected": 0, "error": 0.86, "error_of_others": 0.14, "compared": 28},
    **{"agreement": 0.07, "repeated": 0, "changed": 0, "share": 0.18},
}

LIST_LABELLERS: Final = Endpoint(
    "GET",
    "/v1/models/{model}/labellers",
    labellers.LabellerList,
    "Whose labels are learned",
    "feedback",
    READER,
    "Whom labels came from, how far these agree with those of others, and whether they are learned.",
    {"labellers": [_LABELLER]},
    client="labellers",
)


def _decision(path: str, summary: str, description: str, client: str) -> Endpoint[control.CommandQueued]:
    return Endpoint(
        "POST",
        f"/v1/models/{{model}}/labellers/{path}",
        control.CommandQueued,
        summary,
        "feedback",
        ADMIN,
        description,
        {"command": 481},
        202,
        bodies=(
            MediaType(labellers.LabellerName, {"labeller": _LABELLER["name"], "reason": "a new sensor, and right"}),
        ),
        has_key=True,
        client=client,
    )


RELEASE_LABELLER: Final = _decision(
    "release",
    "Release a labeller",
    "Its labels are trusted from now on; those that are kept are learned with the next step.",
    "release_labeller",
)
DROP_LABELLER: Final = _decision(
    "drop",
    "Drop what is kept of a labeller",
    "Its labels that are kept are dropped, and those that come are not learned.",
    "drop_labeller",
)
