"""What a person or a schedule asks of a monitoring run."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from flows.moments import aware

Moment = Annotated[datetime, AfterValidator(aware)]


class MonitorRequest(BaseModel):
    """One look at one model.

    Attributes:
        name: The model: ``NAME``, ``NAME@alias`` or ``NAME:version``.
        since: Rows that happened from then on; default: the configuration's window before
            ``until``, of a table its first row.
        until: Rows that happened before; default: ``as_of``, of a table after its last row.
        as_of: The moment whose knowledge of labels counts; default: now, of a table its newest
            event time.
        data: Path or URI of a table to score and look at; default: the decision log.
        config: TOML file with limits and targets; default: none.
        out: Folder of what is written; default: a run's folder.
        prometheus: Text file for node_exporter's textfile collector; default: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    since: Moment | None = None
    until: Moment | None = None
    as_of: Moment | None = None
    data: str | None = None
    config: Path | None = None
    out: Path | None = None
    prometheus: Path | None = None
