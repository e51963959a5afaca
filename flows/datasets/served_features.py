"""The features over time of stored decisions, to the last bit as they were served."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.velocity import velocity_plan
from serving.bundle import BundleMismatch, ModelBundle
from serving.decisions.record import Personal, StoredRecord
from serving.model_references import UnknownModel
from serving.model_store import ModelStore

Positions = NDArray[np.int64]


class ServedFeatures:
    """Takes the features of one contract out of what its versions have served.

    Args:
        store: Knows every version.
        name: Of the model.
        contract: Whose features over time are wanted.
    """

    def __init__(self, store: ModelStore, name: str, contract: Contract) -> None:
        self._store = store
        self._name = name
        self._plan = velocity_plan(contract)
        self.names = self._plan.names
        self._positions: dict[str, Positions | None] = {}

    def are_in(self, stored: StoredRecord) -> bool:
        """Return whether a decision was made with features over time that mean the same."""
        return not self.names or self._of_version(stored.model_version) is not None

    def columns(
        self, records: Sequence[StoredRecord], personal: Sequence[Personal | None]
    ) -> list[pl.Series]:
        """Return the features over time of decisions, Float64, null where there was none.

        Args:
            records: With these features.
            personal: What was opened of each of them.
        """
        if not self.names:
            return []
        values = np.empty((len(records), len(self.names)), dtype=np.float64)
        for at, (stored, opened) in enumerate(zip(records, personal, strict=True)):
            content = (opened.numeric if opened is not None else b"") or stored.numeric
            positions = self._of_version(stored.model_version)
            values[at] = np.frombuffer(content, dtype="<f4")[positions]
        return [pl.Series(name, values[:, at]).fill_nan(None) for at, name in enumerate(self.names)]

    def _of_version(self, version: str) -> Positions | None:
        if version not in self._positions:
            self._positions[version] = self._found(version)
        return self._positions[version]

    def _found(self, version: str) -> Positions | None:
        try:
            bundle: ModelBundle = self._store.bundle(self._name, version)
        except (UnknownModel, BundleMismatch):
            return None  # nobody can say any more what its features meant
        if velocity_plan(bundle.contract).state_key != self._plan.state_key:
            return None
        place = {name: at for at, name in enumerate(bundle.feature_set.numeric)}
        return np.array([place[name] for name in self.names], dtype=np.int64)
