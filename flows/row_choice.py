"""Which rows may calibrate a released model: those that its network was not fitted on.

The data that the version was trained from calibrate it with the held-out rows that were kept
with it. Other data count from after the newest row that the network has seen; where rows carry
no time, each row that it has seen is left out by its content. A row takes part once its label
is known; younger ones still say how many alerts there would be, and what the base rate is.
"""

from datetime import datetime

from features.ingestion.tables import fingerprint, read_table
from features.served_content import verified_description
from flows.calibration_rows import CalibrationRows, NoCalibrationRows, kept_calibration_rows
from flows.kept_rows import FITTED_ROWS_FILE
from flows.newer_rows import Seen, newer_rows
from serving.bundle import BundleManifest, ModelBundle
from serving.model_store import ModelStore


def calibration_rows(
    store: ModelStore,
    bundle: ModelBundle,
    version: str,
    source: str,
    *,
    columns: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    history: str | None = None,
    as_of: datetime | None = None,
) -> CalibrationRows:
    """Return the rows of a table that may calibrate a model.

    Args:
        store: Where the version and what it kept are.
        bundle: The verified bundle of the version.
        version: The version's number.
        source: Path or URI of the table.
        columns: Columns that thresholds are wanted by.
        also: Further columns to segment the preview by, as far as they are there.
        history: A table of earlier rows, for features over time.
        as_of: The moment whose knowledge of labels counts; default: the newest event time.

    Raises:
        DataError: If the table cannot be read, or does not fit the contract.
        NoCalibrationRows: If none of its rows may calibrate the model.
        BundleMismatch: If the kept rows are not those that the version came with.
    """
    found = fingerprint(source)
    contract, name = bundle.contract, bundle.manifest.name
    if found.sha256 in _trained_from(bundle.manifest):
        return kept_calibration_rows(store, name, version, columns)
    if history is not None and not contract.velocity_features:
        raise NoCalibrationRows(
            "--history is for contracts with features over time; "
            f"{contract.name!r} declares none. Leave it out."
        )
    seen = Seen(
        f"{name}:{version}",
        bundle.manifest.fitted_until,
        store.kept(name, version, FITTED_ROWS_FILE),
    )
    if seen.until is None and seen.digests is None:
        raise NoCalibrationRows(
            f"Nobody can tell which rows of {found.name} the network of {seen.version} was fitted "
            "on: it was released before that was recorded. Train again; rows that a network has "
            "seen must not calibrate it."
        )
    served = verified_description(source, contract)
    if served is not None and history is not None:
        raise NoCalibrationRows(
            f"The rows of {found.name} bring their features over time as they were served; "
            "--history is for others. Leave it out."
        )
    return newer_rows(
        read_table(source),
        bundle,
        seen,
        tuple(dict.fromkeys((*columns, *also))),
        found,
        history=None if history is None else read_table(history),
        as_of=as_of,
        served=served,
    )


def _trained_from(manifest: BundleManifest) -> set[str]:
    return {data["sha256"] for data in manifest.data if data.get("role", "data") == "data"}
