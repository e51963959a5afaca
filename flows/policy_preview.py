"""Writes what a new policy would change, before it changes anything."""

from flows.impact_page import render_impact
from flows.policy_outcome import NewPolicy, strength_of
from flows.run_folder import write_json
from infra.storage import write_atomically


def write_preview(new: NewPolicy) -> None:
    """Write the preview to the run's folder: page, table, rows, and the policy itself."""
    made, run = new.made, new.run
    write_json(
        run.impact,
        {
            "name": new.name,
            "model_version": new.model_version,
            "policy_version": new.policy_version,
            "compared_with": new.earlier.version if new.earlier else None,
            "currency": new.currency,
            **new.impact.to_json(),
        },
    )
    with write_atomically(run.impact_rows) as staging:
        new.impact.rows.write_parquet(staging)
    page = render_impact(
        new.impact,
        currency=new.currency,
        name=new.name,
        model_version=new.model_version,
        policy_version=new.policy_version,
        earlier=new.earlier,
        policy=made.policy,
        prior=made.prior,
        strength=strength_of(made.policy),
        origin=made.calibration.origin,
        left_out=made.calibration.left_out,
        segment_columns=made.shown_columns,
        cautions=_cautions(new),
        key_id=new.key_id,
    )
    with write_atomically(run.impact_page) as staging:
        staging.write_text(page, "utf-8")
    with write_atomically(run.policy) as staging:
        staging.write_text(made.policy.to_json(), "utf-8")


def _cautions(new: NewPolicy) -> list[str]:
    """Return what a reader must know before believing the figures."""
    found = []
    if new.made.is_shown_on_own_rows:
        found.append(
            "The labelled rows shown are among those that chose the new policy's thresholds: on "
            "rows to come expect a little less."
        )
    if new.impact.unlabelled:
        found.append(
            f"{new.impact.unlabelled:,} of the rows have no known label yet: they count in alerts "
            "a day, and in nothing that needs a label."
        )
    if new.made.preview.are_kept:
        found.append(
            "The rows are those held out when the model was trained. For the period that has "
            "passed since, recalibrate on newer rows."
        )
    if new.earlier is None:
        found.append("No earlier policy of this model can decide these rows: nothing to compare.")
    return found
