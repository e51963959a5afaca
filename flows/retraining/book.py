"""Which retrainings there were: one small file each, named by what makes it that retraining."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.retraining.outcome import RetrainOutcome
from flows.run_folder import RunFolder, write_json
from flows.workspace import Workspace
from infra.settings import Settings


class RetrainEntry(BaseModel):
    """One retraining.

    Attributes:
        key: What tells it from others.
        run: Name of its run's folder.
        begun_at: When, in UTC.
        outcome: What it gave; None while it has not ended well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    run: str
    begun_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    outcome: RetrainOutcome | None = None


class RetrainBook:
    """The retrainings of one model.

    Args:
        settings: Where the state is.
        name: Of the model.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._folder = settings.root / "retrainings" / name
        self._runs = Workspace(settings).runs

    def find(self, key: str) -> RetrainEntry | None:
        """Return the retraining of a key, if its outcome or its run is still there."""
        path = self._file(key)
        if not path.is_file():
            return None
        entry = RetrainEntry.model_validate_json(path.read_bytes())
        is_there = entry.outcome is not None or self.run_of(entry).record.is_file()
        return entry if is_there else None

    def newest(self) -> RetrainEntry | None:
        """Return the retraining that was begun last."""
        entries = (self.find(path.stem) for path in self._folder.glob("*.json"))
        known = [entry for entry in entries if entry is not None]
        return max(known, key=lambda entry: entry.begun_at, default=None)

    def keep(self, entry: RetrainEntry) -> None:
        """Write an entry, in place of an earlier one of its key."""
        write_json(self._file(entry.key), entry.model_dump(mode="json"))

    def run_of(self, entry: RetrainEntry) -> RunFolder:
        """Return the folder of an entry's run."""
        return RunFolder(self._runs / entry.run)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"
