"""What a person, or a schedule, asks for when decided rows are to become a table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.moments import RequestError, aware, parse_moment

_Moment = Annotated[datetime | None, AfterValidator(aware)]


class DatasetRequest(BaseModel):
    """One table of decided rows.

    Attributes:
        name: Whose decisions: ``NAME``, ``NAME@alias`` or ``NAME:3``. Columns and features over
            time are those of that version.
        out: Parquet file to write; what is there is replaced.
        since: Rows from then on, in event time; a naive moment is read as UTC.
        until: Rows before then.
        as_of: The moment whose knowledge of labels counts.
        actor: Who asks.
        reason: Why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    out: Path
    since: _Moment = None
    until: _Moment = None
    as_of: Annotated[datetime, AfterValidator(aware)] = Field(
        default_factory=lambda: datetime.now(UTC)
    )
    actor: str
    reason: str = "built on request"

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(
                f"--from, --to: the window must begin before it ends, not at {self.since} and end "
                f"at {self.until}"
            )
        if self.out.suffix.lower() not in (".parquet", ".pq"):
            raise ValueError(f"--out: the file must end in .parquet. Got {str(self.out)!r}")
        return self


def dataset_request(
    *,
    since: str | None = None,
    until: str | None = None,
    as_of: str | None = None,
    name: str,
    out: Path,
    actor: str,
    reason: str = "built on request",
) -> DatasetRequest:
    """Return the request that a command line means.

    Raises:
        RequestError: If a value cannot be used.
    """
    moments = {
        "since": parse_moment(since, "--from"),
        "until": parse_moment(until, "--to"),
        "as_of": parse_moment(as_of),
    }
    given = {key: moment for key, moment in moments.items() if moment is not None}
    try:
        return DatasetRequest.model_validate(
            {"name": name, "out": out, "actor": actor, "reason": reason} | given
        )
    except ValidationError as error:
        raise RequestError(f"{error.errors()[0]['ctx']['error']}.") from None
