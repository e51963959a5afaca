"""What was ever reported of one row, by whom and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from features.online.events import moment_of
from infra.errors import Refusal
from infra.settings import Settings
from serving.decisions.layout import logged_id
from serving.decisions.sealing import read_log_secret
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook
from serving.reported_labels import KeptReport


class NothingReported(Refusal):
    """Raised when nobody ever reported a label of a row."""


@dataclass(frozen=True, slots=True)
class LabelHistory:
    """The reports on one row.

    Attributes:
        name: The model.
        row_id: As it was asked for.
        reports: In the order in which they count: the last one is the label.
    """

    name: str
    row_id: str
    reports: Sequence[KeptReport]

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object; moments are ISO 8601, in UTC."""
        return {
            "name": self.name,
            "id": self.row_id,
            "label": self.reports[-1].label,
            "reports": [
                {
                    "label": report.label,
                    "reported_at": moment_of(report.reported_at).isoformat(),
                    "source": report.source,
                    "received_at": None
                    if report.received_at is None
                    else moment_of(report.received_at).isoformat(),
                }
                for report in self.reports
            ],
        }


def label_history(settings: Settings, row_id: str, reference: str) -> LabelHistory:
    """Return what was reported of a row.

    Args:
        settings: Where the outcomes are.
        row_id: The row's id, or the id of its decision; what stands for it where ids are
            personal will do, too.
        reference: The model.

    Raises:
        UnknownModel: If there is no such model.
        NothingReported: If there is no report on that row.
        LogSecretUnusable: If the secret that hides personal ids cannot be read.
    """
    store = ModelStore.open(settings)
    resolved = store.resolve(reference)
    contract = store.bundle(resolved.name, resolved.model_version).contract
    secret, book = read_log_secret(settings.keys, settings.log_secret), OutcomeBook(settings.root)
    for name in dict.fromkeys((logged_id(contract, secret, row_id), row_id)):
        if reports := book.history(contract.name, name):
            return LabelHistory(resolved.name, row_id, reports)
    raise NothingReported(
        f"No label of row {row_id!r} of {resolved.name} was ever reported. Check the id: it is "
        "the contract's, or else that of the decision."
    )
