"""What a run is: who asked for what, so that it can go on after its process has died."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.request import TrainRequest
from flows.run_folder import RunFolder, write_json
from infra.errors import InputError
from infra.revision import code_revision


class NothingToResume(InputError):
    """Raised when there is no run that could go on."""


class RunRecord(BaseModel):
    """What a run's folder says of it.

    Attributes:
        request: What is trained, from what and how.
        mlflow_run_id: MLflow's name for the run.
        retraining: Of a retraining, what was asked for; None of any other run.
        code_revision: Of the code that began it.
        begun_at: When, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: TrainRequest
    mlflow_run_id: str
    retraining: dict[str, Any] | None = None
    code_revision: str = Field(default_factory=code_revision)
    begun_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def write(self, run: RunFolder) -> None:
        """Keep this in a run's folder."""
        write_json(run.record, self.model_dump(mode="json"))


def read_record(run: RunFolder) -> RunRecord:
    """Return what a run's folder says of it.

    Raises:
        NothingToResume: If there is no such run, or it was begun by other code than this.
    """
    try:
        record = RunRecord.model_validate_json(run.record.read_bytes())
    except FileNotFoundError:
        raise NothingToResume(
            f"{run.root} is no run that can go on. Name a folder of {run.root.parent} that a "
            "training or a retraining made."
        ) from None
    except ValidationError as error:
        raise NothingToResume(
            f"{run.record} cannot be read by this build ({error.errors()[0]['msg']}). Begin anew."
        ) from None
    return record


def find_run(runs: Path, name: str) -> RunFolder:
    """Return the folder of a run by its name, or by its path.

    Raises:
        NothingToResume: If there is none.
    """
    folder = Path(name) if Path(name).is_dir() else runs / name
    if not folder.is_dir():
        raise NothingToResume(f"There is no run {name!r} in {runs}.")
    return RunFolder(folder.resolve())
