"""The calls that append a command to a model's log; the worker carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN

if TYPE_CHECKING:
    from driftline.api import control
else:
    control = LazyModule("driftline.api.control")

CONTROL = "control"

_REASON = MediaType(control.Reason, {"reason": "the sensor is being changed"})


def _command(
    path: str, summary: str, description: str, client: str, body: MediaType, query: Any = None
) -> Endpoint[control.CommandQueued]:
    """A call that appends a command to the model's log."""
    method = "PATCH" if path == "recipe" else "POST"
    return Endpoint(
        method,
        f"/v1/models/{{model}}/{path}",
        control.CommandQueued,
        summary,
        CONTROL,
        ADMIN,
        description,
        {"command": 481},
        202,
        bodies=(body,),
        declared_query=query,
        has_key=True,
        is_body_needed=query is not None or path == "rollback",
        client=client,
    )


FORGET: Final = Endpoint(
    "POST",
    "/v1/models/{model}/forget",
    control.JobBegun,
    "Forget labels",
    CONTROL,
    ADMIN,
    "Erases labels and predictions, and learns again without them what came since, from a state before the first of them; the "
    "gate decides on the weights.\n\nThe facts of `keys` and `ids`, and those labelled by a `source` or in a time. With "
    "`dry_run` it answers 200 with what would be forgotten, and begins nothing.",
    {"job_id": "4be0c1-1f"},
    202,
    bodies=(MediaType(control.Forget, {"keys": ["order-17"], "reason": "a request of the customer"}),),
    also={
        200: MediaType(
            control.ForgetPreview,
            {
                **{"labels": 1, "learned": 1, "predictions": 1, "relearned": 940, "unlearned": True},
                **{"versions": [12, 13], "unknown": []},
            },
        )
    },
    has_key=True,
    client="forget",
)
ROLL_BACK: Final = _command(
    "rollback",
    "Roll back",
    "Publishes a new version with the weights of an old one; learning goes on from them.",
    "rollback",
    MediaType(control.Rollback, {"version": 3, "reason": "worse since the import"}),
)
PROMOTE: Final = _command(
    "promote",
    "Promote",
    "Makes what has been learned the live version, whatever the gate says: how a model with a manual gate moves on.",
    "promote",
    _REASON,
)
PAUSE: Final = _command(
    "pause",
    "Pause learning",
    "Stops learning; labels are still taken, and wait. Predictions go on.",
    "pause",
    _REASON,
)
RESUME: Final = _command("resume", "Resume learning", "Learns on, from where it stopped.", "resume", _REASON)
CHANGE_RECIPE: Final = _command(
    "recipe",
    "Change the recipe",
    "Merges changes over the recipe; the next step learns by it.",
    "change_recipe",
    MediaType(control.RecipeChange, {"optimizer": {"learning_rate": 0.0003}}),
    control.ReasonQuery,
)
