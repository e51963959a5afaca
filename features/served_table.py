"""Tables of rows that the service decided: their features over time are those that it served.

Such a file says so in its Parquet metadata. What is personal in it goes by pseudonyms and misses
most of its entities' past, so that features over time could not be computed from it again: they
are taken as they were served.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from features.contract import Contract
from features.contract_blocks import ColumnRule
from features.ingestion.data_error import DataError
from features.velocity import velocity_plan
from infra.storage import canonical_json

DESCRIPTION_KEY = "whitecrow.dataset"
"""Key of the description in a file's Parquet metadata."""

DECISION_COLUMNS = (
    "decision_id", "decision", "risk_score", "model_version", "policy_version", "explored",
)  # fmt: skip
"""What such a table says of each decision, beside the columns of its contract."""


class ServedTableMismatch(DataError):
    """Raised when a table of served rows was changed, or does not fit the contract."""


class ServedTable(BaseModel):
    """What such a file says of itself.

    Attributes:
        model: Name of the model that decided.
        contract: Name of its contract.
        contract_hash: Of that contract, without policy and reasons.
        feature_set_hash: Of the version that the columns were taken from.
        over_time: What the features over time mean: the key of their plan; None without any.
        served: Columns of features over time, as they were served.
        hidden: Columns that hold pseudonyms.
        label: Columns of the label: the contract's own, and of when it was reported.
        input_types: What a request must hold for each column.
        since: Rows from then on, by event time.
        until: Rows before.
        as_of: The moment whose knowledge of labels counts.
        coverage: Of which rows, and of how many declines, the labels are known.
        content: SHA-256 over the description and the served features; None for a part of the rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: str
    contract: str
    contract_hash: str
    feature_set_hash: str
    over_time: str | None
    served: tuple[str, ...]
    hidden: tuple[str, ...]
    label: tuple[str, ...]
    input_types: dict[str, str]
    since: datetime | None
    until: datetime | None
    as_of: datetime
    coverage: dict[str, float | int | None]
    content: str | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """The description as Parquet metadata."""
        return {DESCRIPTION_KEY: canonical_json(self.model_dump(mode="json"))}

    @property
    def of_a_part(self) -> Self:
        """The description of some of the rows."""
        return self.model_copy(update={"content": None})

    def resolve(self, contract: Contract, columns: Iterable[str]) -> Contract:
        """Return a contract resolved against the table.

        What no request carries, its groups and a label from another table, counts as there.

        Raises:
            ContractError: If the table lacks a column, or has one that is named nowhere.
        """
        further = {*DECISION_COLUMNS, *self.served}
        if contract.label.source is not None:
            further |= set(self.label)
        own = [name for name in columns if name not in further]
        return contract.resolve([*own, *(g for g in contract.columns.groups if g not in own)])

    def judged(self, contract: Contract) -> Contract:
        """Return a resolved contract that asks of pseudonyms only what they can tell."""
        rules = {
            name: ColumnRule(null=rule.null, unique=rule.unique) if name in self.hidden else rule
            for name, rule in contract.expectations.columns.items()
        }
        expectations = contract.expectations.model_copy(update={"columns": rules})
        return contract.model_copy(update={"expectations": expectations})

    def labels(self, rows: pl.LazyFrame, contract: Contract) -> pl.LazyFrame | None:
        """Return what stands for the contract's other table of labels; None where it has none."""
        if contract.label.source is None:
            return None
        return rows.select(list(dict.fromkeys((str(contract.label.key), *self.label))))

    def check(self, contract: Contract, columns: Sequence[str], source: str | Path) -> None:
        """Refuse a contract that means other features over time, or a table that lacks some.

        Raises:
            ServedTableMismatch: In one line.
        """
        plan = velocity_plan(contract)
        wanted = plan.state_key if plan else None
        if wanted != self.over_time or plan.names != self.served:
            raise ServedTableMismatch(
                f"{source} holds features over time of feature set {_short(self.over_time)}, as "
                f"model {self.model!r} served them; contract {contract.name!r} declares "
                f"{_short(wanted)}. Train under the contract that was served, or build another "
                "table: whitecrow dataset build."
            )
        missing = [name for name in self.served if name not in columns]
        if missing:
            raise ServedTableMismatch(
                f"{source} lacks {missing[0]!r}, a feature over time that was served, and "
                f"{len(missing) - 1} more. Build it again: whitecrow dataset build."
            )


def description_of(source: str | Path) -> ServedTable | None:
    """Return what a file says of itself; None for any other table.

    Raises:
        ServedTableMismatch: If its description cannot be read.
    """
    path = Path(source)
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return None
    try:
        text = pl.read_parquet_metadata(path).get(DESCRIPTION_KEY)
    except (pl.exceptions.PolarsError, OSError):
        return None  # whoever reads the table says what is wrong with it
    if text is None:
        return None
    try:
        return ServedTable.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "description"
        raise ServedTableMismatch(
            f"{source}: what it says of its rows cannot be read ({key}: {first['msg']}). Build it "
            "again: whitecrow dataset build."
        ) from None


def common_description(sources: Mapping[str, ServedTable | None]) -> ServedTable | None:
    """Return the description of rows that are taken from several tables; None for other tables.

    Raises:
        ServedTableMismatch: If some are served rows and others are not, or of other features.
    """
    found = [each for each in sources.values() if each is not None]
    if not found:
        return None
    first = found[0]
    for name, each in sources.items():
        if each is None or (each.over_time, each.hidden, each.label) != (
            first.over_time,
            first.hidden,
            first.label,
        ):
            raise ServedTableMismatch(
                f"{name} and the other tables cannot be used together: rows that were served bring "
                "their features over time and go by pseudonyms, and all must be of one kind. Use "
                "one, or build one from the whole time: whitecrow dataset build."
            )
    return first.of_a_part.model_copy(update={"as_of": max(each.as_of for each in found)})


def brings_served_features(rows: pl.DataFrame, contract: Contract) -> bool:
    """Return whether rows bring their features over time as they were served.

    That is what rows do that say of which decision each is, and have all of these features.

    Raises:
        ServedTableMismatch: If only some of the rows do.
    """
    names = velocity_plan(contract).names
    if not names or not {*DECISION_COLUMNS, *names} <= set(rows.columns):
        return False
    n_others = rows["decision_id"].null_count()
    if n_others:
        raise ServedTableMismatch(
            f"{n_others:,} of {rows.height:,} rows were not served, the others were: those bring "
            "their features over time and go by pseudonyms. Use tables of one kind."
        )
    return True


def _short(key: str | None) -> str:
    return "none" if key is None else key[:12]
