"""Days that left the decision log, read from the files that hold them now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from infra.errors import InputError
from infra.ledger import LedgerEntry
from infra.storage import sha256_file
from serving.decisions.chain import Group
from serving.decisions.export import read_groups
from serving.decisions.record import StoredRecord


class ArchiveRefused(InputError):
    """Raised when a folder holds no retired days, or one that is not as the ledger has it."""


class RetiredSegments:
    """The days in one folder of ``whitecrow decisions retire``.

    Args:
        folder: Of the files.
        entries: Of the ledger, of days that were retired, in order.

    Raises:
        ArchiveRefused: If the folder holds none of the days that the ledger knows to be retired.
    """

    def __init__(self, folder: Path, entries: list[LedgerEntry]) -> None:
        self._folder = folder
        retired = {entry.subject: entry.details for entry in entries}
        self._days = {
            day: details
            for day, details in sorted(retired.items())
            if (folder / details["groups_file"]).is_file()
        }
        if not self._days:
            known = ", ".join(sorted(retired)) or "none"
            raise ArchiveRefused(
                f"{folder} holds no day that was retired (the ledger knows of: {known}). Name the "
                "folder that whitecrow decisions retire wrote to."
            )

    def groups(self, *, first: str | None = None, last: str | None = None) -> Iterator[Group]:
        """Yield the groups of days.

        Args:
            first: From this day on, ``YYYY-MM-DD``.
            last: Up to this day.

        Raises:
            ArchiveRefused: If a file is not the one that the ledger names.
        """
        for day, details in self._days.items():
            if (first or "") <= day <= (last or "~"):
                yield from read_groups(self._checked(details, "groups_file", "groups_sha256"))

    def find(self, decision_id: str) -> tuple[str, StoredRecord] | None:
        """Return a decision and its writer; None where no day holds it.

        Raises:
            ArchiveRefused: If a file is not the one that the ledger names.
        """
        for day, details in self._days.items():
            table = pl.scan_parquet(self._checked(details, "file", "sha256"))
            wanted = table.filter(pl.col("decision_id") == decision_id).select("writer_id")
            if wanted.collect().height:
                for group in self.groups(first=day, last=day):
                    for stored in group.decoded():
                        if stored.decision_id == decision_id:
                            return group.writer_id, stored
        return None

    def _checked(self, details: dict[str, Any], name: str, sha256: str) -> Path:
        path = self._folder / str(details[name])
        if not path.is_file() or sha256_file(path) != details[sha256]:
            raise ArchiveRefused(
                f"{path} is missing, or not as the ledger has it (SHA-256 differs). Restore it "
                "from a backup."
            )
        return path
