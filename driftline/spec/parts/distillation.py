"""Learning from what a former version answers, as a recipe has it."""

from __future__ import annotations

from pydantic import Field

from driftline.spec.registry import Part


class Distillation(Part):
    """``weight`` times the distance to the teacher's answers, softened by ``temperature`` (Hinton et al. 2015).

    The teacher of a stream is its anchor, that of a retrain job the champion at its fork.
    """

    weight: float = Field(1.0, ge=0, le=1000, description="how much the distance to the teacher's answers counts")
    temperature: float = Field(2.0, gt=0, le=100, description="what softens both answers")
