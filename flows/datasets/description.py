"""What a table of decided rows says of itself, and which contracts it can be made for."""

from features.contract import Contract
from features.served_table import DECISION_COLUMNS, ServedTable
from features.velocity import velocity_plan
from flows.datasets.coverage import Coverage
from flows.datasets.request import DatasetRequest
from infra.errors import InputError
from serving.bundle import ModelBundle


class UndescribableContract(InputError):
    """Raised when a contract's rows cannot be taken from the log."""


def check_columns(contract: Contract) -> None:
    """Refuse a contract whose rows cannot be written beside what is said of decisions.

    Raises:
        UndescribableContract: If a name is taken, or the labels are joined by no column of a
            request.
    """
    label = contract.label
    names = [*contract.request_columns, label.column, label.reported_at, *DECISION_COLUMNS]
    twice = [name for name in dict.fromkeys(names) if name is not None and names.count(name) > 1]
    if twice:
        raise UndescribableContract(
            f"Contract {contract.name!r} calls a column {twice[0]!r}, as decisions do. Rename it "
            "in the contract and in requests."
        )
    if label.source is not None and label.key not in contract.request_columns:
        raise UndescribableContract(
            f"Contract {contract.name!r} joins its labels by {label.key!r}, which no request "
            "carries. Join them by a column of the request, such as its id."
        )


def described_dataset(
    bundle: ModelBundle, asked: DatasetRequest, hidden: tuple[str, ...], coverage: Coverage
) -> ServedTable:
    """Return the description of a table, its rows not yet sealed."""
    contract, plan = bundle.contract, velocity_plan(bundle.contract)
    label = (contract.label.column, contract.label.reported_at)
    return ServedTable(
        model=bundle.manifest.name,
        contract=contract.name,
        contract_hash=contract.data_hash(),
        feature_set_hash=bundle.manifest.feature_set_hash,
        over_time=plan.state_key if plan else None,
        served=plan.names,
        hidden=hidden,
        label=tuple(name for name in label if name is not None),
        input_types=dict(bundle.feature_set.input_types),
        since=asked.since,
        until=asked.until,
        as_of=asked.as_of,
        coverage=coverage.to_json(),
    )
