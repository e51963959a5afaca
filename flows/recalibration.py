"""Recalibration: from calibration logits to a policy, without touching the network."""

from typing import Any

import polars as pl
from numpy.typing import NDArray

from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from features.contract import Contract
from features.money import minor_units_per_major
from features.segments import segment_keys
from flows.run_folder import RunFolder, read_json
from infra.storage import sha256_file, write_atomically


def recalibrate(
    run: RunFolder, contract: Contract, *, actor: str, reason: str, seed: int = 0
) -> Policy:
    """Fit a policy on the run's calibration logits and write it to the run's folder."""
    rows = pl.read_parquet(run.calibration)
    training: dict[str, Any] = read_json(run.training)
    policy = fit_policy(
        rows.select("logit_negative", "logit_positive").to_numpy(),
        rows["label"].to_numpy(),
        amount_minor=values_or_none(rows, "amount_minor"),
        event_time=values_or_none(rows, "event_time"),
        segment=segment_keys(rows, contract.policy.segments),
        settings=contract.policy.model_dump(mode="json"),
        model_sha256=training["model_sha256"],
        post_processing=ClassDependentTemperatures(
            class_counts=training["class_counts"], mean_logits=training["mean_logits"]
        ),
        exploration=contract.policy.exploration,
        calibration_fingerprint=sha256_file(run.calibration),
        actor=actor,
        reason=reason,
        seed=seed,
        minor_units_per_major=minor_units_of(contract),
    )
    with write_atomically(run.policy) as staging:
        staging.write_text(policy.to_json(), "utf-8")
    return policy


def read_policy(run: RunFolder) -> Policy:
    """Return the policy in a run's folder."""
    return Policy.from_json(run.policy.read_bytes(), source=str(run.policy))


def minor_units_of(contract: Contract) -> int:
    """Return how many minor units make one unit of the contract's currency; 100 without one."""
    amount = contract.columns.amount
    return 100 if amount is None else minor_units_per_major(amount.currency)


def values_or_none(rows: pl.DataFrame, name: str) -> NDArray[Any] | None:
    """Return a column as an array, or nothing where no row has a value."""
    return None if rows[name].null_count() == rows.height else rows[name].to_numpy()
