"""What to run as a job, and the limits of it: the same for a workflow of one's own and for the one that ships."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: Whose word counts: the signed callback, the run's end as the Jobs API shows it, or whichever comes first.
type Answer = Literal["callback", "run", "either"]

#: The job parameter that carries the callback's link.
CALLBACK_PARAMETER: Final = "callback_url"

_LONGEST: Final = 365 * 86400


class JobOrder(BaseModel):
    """What to run and how long to wait for it; times in seconds, `deadline` for each attempt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job_id: Annotated[int, Field(gt=0, lt=2**63)]
    parameters: dict[str, str] = Field(default_factory=dict)
    deadline: Annotated[float, Field(ge=1, le=_LONGEST)] = 86400
    watch_interval: Annotated[float, Field(ge=1, le=86400)] = 60
    attempts: Annotated[int, Field(ge=1, le=20)] = 1
    answer: Answer = "callback"

    @field_validator("parameters")
    @classmethod
    def _without_callback_parameter(cls, parameters: dict[str, str]) -> dict[str, str]:
        if CALLBACK_PARAMETER in parameters:
            raise ValueError(f"{CALLBACK_PARAMETER} is set by Countersign itself")

        return parameters
