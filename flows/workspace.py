"""Where the pipeline keeps what it makes: one folder a run, one folder a feature table."""

import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.database import StateUnavailable
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Workspace:
    """The state folder, known to be writable. Open one with :meth:`open`."""

    settings: Settings

    @classmethod
    def open(cls, settings: Settings) -> "Workspace":
        """Create the state folder where it is missing and make sure that it takes writes.

        Raises:
            StateUnavailable: If it does not; nothing has been started by then.
        """
        root = settings.root
        try:
            root.mkdir(parents=True, exist_ok=True)
            # A file of each caller's own: threads ask at the same time, too.
            with tempfile.TemporaryFile(dir=root, buffering=0) as probe:
                probe.write(b"\0" * 4096)
        except OSError as error:
            raise StateUnavailable(
                f"Cannot write to the state folder {root}: {error.strerror}. "
                "Make it writable, free some space, or set WHITECROW_HOME."
            ) from None
        return cls(settings)

    @property
    def root(self) -> Path:
        """The state folder."""
        return self.settings.root

    @property
    def feature_tables(self) -> Path:
        """Feature tables, each in a folder named by its content address."""
        return self.root / "features"

    @property
    def runs(self) -> Path:
        """The folders of runs, each named by its time and its model."""
        return self.root / "runs"

    def corrections(self, contract_name: str) -> Path:
        """Corrected rows that were taken back from quarantine, by contract."""
        return self.root / "corrections" / f"{contract_name}.parquet"

    def new_run(self, name: str) -> Path:
        """Create and return a folder for one run; its name sorts by time."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        folder = self.runs / f"{stamp}-{name}-{secrets.token_hex(3)}"
        folder.mkdir(parents=True)
        return folder
