"""What a version was made from, as it is kept beside its bundle (``lineage.json``)."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from features.served_table import ServedTable


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Recorded):
    """Rows of one part.

    Attributes:
        part: Its name.
        rows: How many.
        positives: How many of them are positive.
        first: Their oldest event time; None where rows carry no time.
        last: The newest.
    """

    part: str
    rows: int
    positives: int
    first: AwareDatetime | None
    last: AwareDatetime | None


class LabelSnapshot(_Recorded):
    """The labels as they were known.

    Attributes:
        as_of: The moment whose knowledge counts; None where rows carry no time.
        column: Where they stand.
        source: The table that they came from, where it is another one.
        delay: How long after the event they are known, in the contract's words.
        known: Rows of a known label.
        positives: Positives among them.
        immature: Rows left out as too young.
        unlabelled: Rows left out for having none.
        sha256: Over id, event time and label of every labelled row, in the order of the table.
    """

    as_of: AwareDatetime | None
    column: str
    source: str | None
    delay: str
    known: int
    positives: int
    immature: int
    unlabelled: int
    sha256: str


class Checked(_Recorded):
    """What validation said of a source.

    Attributes:
        role: Which source.
        read: Rows read.
        passed: Rows that went on.
        corrected: Rows replaced by corrected ones.
        quarantined: Rows that broke a rule.
        rules: How many rows broke which rule.
        accepted: Table rules that were broken, and a person said to go on.
        quarantine_sha256: Of the file with the failing rows; None where there were none.
    """

    role: str
    read: int
    passed: int
    corrected: int
    quarantined: int
    rules: dict[str, int]
    accepted: tuple[str, ...]
    quarantine_sha256: str | None


class RunLineage(_Recorded):
    """What a version was made from, beside what its manifest says.

    Attributes:
        run: Name of the run's folder.
        actor: Who asked.
        reason: Why.
        contract_reference: The contract as the request named it.
        contract_sha256: Of the whole contract, resolved.
        contract_data_sha256: Of all in it that shapes the data.
        as_of: As the request had it.
        since: As the request had it.
        parts: Rows by part.
        gap_rows: Labelled rows that a gap left out.
        labels: The snapshot of labels.
        validation: By source.
        validation_sha256: Of the outcome of validation.
        served_from: What the table says of itself, where it was built from a decision log.
        device: Where it was trained, as asked for.
        hardware: What there was.
        lock_sha256: Of the lock of dependencies; None outside a checkout.
        environment: Interpreter, machine and every installed package.
        search: Every candidate of a search for a strategy; None without one.
        notes: What training had to say.
    """

    format: int = 1
    run: str
    actor: str
    reason: str
    contract_reference: str
    contract_sha256: str
    contract_data_sha256: str
    as_of: AwareDatetime | None
    since: AwareDatetime | None
    parts: tuple[Part, ...]
    gap_rows: int
    labels: LabelSnapshot
    validation: tuple[Checked, ...]
    validation_sha256: str
    served_from: ServedTable | None
    device: str
    hardware: tuple[str, ...]
    lock_sha256: str | None
    environment: dict[str, Any]
    search: dict[str, Any] | None
    notes: tuple[str, ...]
