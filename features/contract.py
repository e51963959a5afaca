"""The contract: what a table's columns mean, and everything that follows from it.

One TOML file per data set. Unknown keys are refused by name, patterns are expanded against
the real table, and a column that the contract does not mention is an error, not a guess.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from features.aggregates import declared_features
from features.contract_blocks import (
    About,
    Block,
    ColumnRule,
    Columns,
    Expectations,
    Label,
    LabelRate,
    Names,
    PolicySettings,
    Reasons,
    Split,
    Velocity,
)
from features.exploration import check_exploration
from features.segments import check_segments
from features.window_checks import check_windows_fit
from infra.errors import InputError
from infra.exploration import Exploration
from infra.storage import sha256_json

RESERVED_NAMES = frozenset(
    {"row_id", "event_time", "amount_minor", "label", "label_reported_at", "part"}
)


class ContractError(InputError):
    """Raised when a contract is malformed or does not fit a table; names the offending key."""


class Contract(Block):
    """What a table means. Read one with :func:`read_contract`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    domain: Literal["transactions", "loans"] = "transactions"
    columns: Columns
    label: Label
    derived: dict[str, str] = Field(default_factory=dict)
    velocity: tuple[Velocity, ...] = ()
    label_rate: tuple[LabelRate, ...] = ()
    expectations: Expectations = Expectations()
    split: Split = Split()
    policy: PolicySettings = PolicySettings()
    reasons: Reasons = Reasons()
    about: About = About()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_roles(self)
        _check_time(self)
        _check_references(self)
        features = declared_features(self.velocity, self.label_rate, self.label.delay)
        check_windows_fit(features, self.columns, tuple(self.derived))
        return self

    @property
    def event_time_column(self) -> str | None:
        """The column that says when a row happened, if there is one."""
        return self.columns.event_time.column if self.columns.event_time else None

    @property
    def amount_column(self) -> str | None:
        """The money column, if there is one."""
        return self.columns.amount.column if self.columns.amount else None

    @property
    def numeric_columns(self) -> Names:
        """Source columns that are numbers: the amount first, then ``numeric``."""
        amount = (self.amount_column,) if self.amount_column else ()
        return amount + tuple(name for name in self.columns.numeric if name not in amount)

    @property
    def numeric_features(self) -> Names:
        """Numeric features in order: amount, numeric and derived columns, those over time."""
        return self.numeric_columns + tuple(self.derived) + self.velocity_features

    @property
    def velocity_features(self) -> Names:
        """Features over time in order: ``[[velocity]]``, then ``[[label_rate]]``."""
        declared = declared_features(self.velocity, self.label_rate, self.label.delay)
        return tuple(feature.name for feature in declared)

    @property
    def categorical_features(self) -> Names:
        """Categorical features in order."""
        return self.columns.categorical

    @property
    def request_columns(self) -> Names:
        """Columns that a scoring request may carry, in order."""
        head = (self.columns.id, self.event_time_column)
        names = (*head, *self.columns.entities, *self.numeric_columns, *self.columns.categorical)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def required_columns(self) -> Names:
        """Columns that a scoring request must carry, in order."""
        return tuple(name for name in self.request_columns if name not in self.columns.optional)

    @property
    def source_columns(self) -> Names:
        """Columns read from the table for training, in order."""
        label = (self.label.column, self.label.reported_at) if self.label.source is None else ()
        split = (self.split.column,)
        names = (*self.request_columns, *self.columns.groups, *label, *split)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def data_hash(self) -> str:
        """Return the hash of all that shapes the data: all but policy, reasons and about."""
        return sha256_json(self.model_dump(mode="json", exclude={"policy", "reasons", "about"}))

    def resolve(self, table_columns: Sequence[str]) -> "Contract":
        """Return this contract with patterns expanded against a table's columns.

        Raises:
            ContractError: If the table lacks a column, or has one that is named nowhere.
        """
        columns = self.columns
        taken = {name for name in _named_columns(self) if not _is_pattern(name)}
        numeric = _expand(columns.numeric, table_columns, taken, where="columns.numeric")
        categorical = _expand(
            columns.categorical, table_columns, taken | set(numeric), where="columns.categorical"
        )
        drop = tuple(name for name in table_columns if _matches_any(name, columns.drop))
        update = {"numeric": numeric, "categorical": categorical, "drop": drop}
        rules = _expand_rules(self.expectations.columns, (*table_columns, *self.derived))
        resolved = self.model_copy(
            update={
                "columns": columns.model_copy(update=update),
                "expectations": self.expectations.model_copy(update={"columns": rules}),
            }
        )
        _check_table(resolved, table_columns)
        return _validated(resolved.model_dump(), source=f"contract {self.name}")


def read_contract(reference: str | Path) -> Contract:
    """Read a contract from a TOML file, or by the name of a shipped one.

    A file that ends in ``.json`` holds one as runs and bundles keep it.

    Raises:
        ContractError: If there is none of that name, or the file is not a valid contract.
    """
    path = Path(reference)
    if path.suffix == ".toml" or path.is_file():
        return parse_contract(_read_document(path), source=str(path))
    shipped = files("features") / "contracts" / f"{reference}.toml"
    if not shipped.is_file():
        raise ContractError(
            f"No contract {str(reference)!r}: neither a file nor a shipped contract "
            f"({', '.join(shipped_contracts())})."
        )
    return parse_contract(tomllib.loads(shipped.read_text("utf-8")), source=str(reference))


def shipped_contracts() -> list[str]:
    """Return the names of the contracts that come with whitecrow."""
    folder = files("features") / "contracts"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def parse_contract(mapping: Mapping[str, Any], *, source: str) -> Contract:
    """Return the contract in a parsed TOML document; ``source`` names it in messages."""
    return _validated(dict(mapping), source=source)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        return dict(json.loads(text)) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ContractError(
            f"No contract file {path}. Draft one: whitecrow contract draft."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"Cannot read contract {path}: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"Contract {path} is not valid TOML: {error}.") from None
    except (TypeError, ValueError) as error:
        raise ContractError(f"Contract {path} is no JSON object: {error}.") from None


def _validated(mapping: dict[str, Any], *, source: str) -> Contract:
    try:
        contract = Contract.model_validate(mapping)
    except ValidationError as error:
        raise ContractError(f"{source}: {_first_problem(error)}") from None
    if contract.derived:
        _check_derived(contract, source)
    return contract


def _check_derived(contract: Contract, source: str) -> None:
    # Imported here: it needs the class that this module defines.
    from features.derived import check_expressions

    try:
        check_expressions(contract)
    except ContractError as error:
        raise ContractError(f"{source}: {error}") from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    # Tags of unions and names of models stand in the location too; they are not keys of the file.
    location = [str(part) for part in first["loc"]]
    if location[:2] in (["policy", "review"], ["policy", "decline"]) and len(location) > 2:
        del location[2]
    key = ".".join(location) or "contract"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_did_you_mean(location)}"
    if first["type"] == "missing":
        return f"missing key {key!r}."
    message = first["msg"].removeprefix("Value error, ")
    stop = "" if message.endswith("?") else "."
    return f"{key}: {message}{stop}" if location else f"{message}{stop}"


def _did_you_mean(location: list[str]) -> str:
    models: Mapping[str, type[BaseModel]] = {
        "columns": Columns, "label": Label, "split": Split, "policy": PolicySettings,
        "reasons": Reasons, "velocity": Velocity, "label_rate": LabelRate,
        "exploration": Exploration, "about": About,
    }  # fmt: skip
    block = location[-2:-1] if location[0] == "policy" else location[:1]
    model = Contract if len(location) == 1 else models.get(block[0])
    if model is None:
        return "."
    close = difflib.get_close_matches(location[-1], model.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?")


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, p) if _is_pattern(p) else name == p for p in patterns)


def _expand(patterns: Names, table_columns: Sequence[str], taken: set[str], *, where: str) -> Names:
    """Expand patterns; a column that has a role by its own name is left to that role."""
    found: list[str] = []
    for pattern in patterns:
        if not _is_pattern(pattern):
            found.append(pattern)
            continue
        matches = [c for c in table_columns if fnmatchcase(c, pattern) and c not in taken]
        if not matches:
            raise ContractError(f"{where}: no column of the table matches {pattern!r}.")
        found += matches
    return tuple(dict.fromkeys(found))


def _expand_rules(rules: Mapping[str, ColumnRule], columns: Sequence[str]) -> dict[str, ColumnRule]:
    """Give each column its rule: its own, or that of the first pattern that it matches."""
    plain = {name: rule for name, rule in rules.items() if not _is_pattern(name)}
    for pattern in rules:
        if _is_pattern(pattern):
            matches = (name for name in columns if fnmatchcase(name, pattern))
            plain.update({name: rules[pattern] for name in matches if name not in plain})
    return plain


def _named_columns(contract: Contract) -> Iterator[str]:
    columns, label = contract.columns, contract.label
    single = (columns.id, contract.event_time_column, contract.amount_column, contract.split.column)
    yield from (name for name in single if name is not None)
    if label.source is None:
        yield from (name for name in (label.column, label.reported_at) if name is not None)
    for names in (columns.entities, columns.numeric, columns.categorical, columns.drop):
        yield from names
    yield from columns.groups
    yield from columns.pii


def _check_table(contract: Contract, table_columns: Sequence[str]) -> None:
    present = set(table_columns)
    optional = set(contract.columns.optional)
    for name in _named_columns(contract):
        if name not in present and name not in optional:
            close = difflib.get_close_matches(name, table_columns, n=2)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ContractError(
                f"The table has no column {name!r}, which the contract names.{hint}"
            )
    named = set(_named_columns(contract))
    unnamed = [name for name in table_columns if name not in named]
    if unnamed:
        shown = ", ".join(map(repr, unnamed[:5])) + (" …" if len(unnamed) > 5 else "")
        raise ContractError(
            f"The contract does not say what {len(unnamed)} column(s) are: {shown}. "
            "Name each under [columns], for example in drop."
        )


def _check_roles(contract: Contract) -> None:
    columns = contract.columns
    roles: dict[str, str] = {}
    single = {
        "columns.id": columns.id,
        "columns.event_time": contract.event_time_column,
        "columns.amount": contract.amount_column,
        "label.column": contract.label.column if contract.label.source is None else None,
    }
    listed = {
        "columns.entities": columns.entities,
        "columns.numeric": columns.numeric,
        "columns.categorical": columns.categorical,
        "columns.drop": columns.drop,
        "columns.groups": columns.groups,
    }
    pairs = [(role, name) for role, name in single.items() if name is not None]
    pairs += [(role, name) for role, names in listed.items() for name in names]
    for role, name in pairs:
        other = roles.setdefault(name, role)
        if other != role and {other, role} != {"columns.entities", "columns.categorical"}:
            raise ValueError(f"column {name!r} has two roles, {other} and {role}: keep one")
    for name in (*contract.numeric_features, *contract.categorical_features):
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is a reserved name: rename this feature's column")
    for name in contract.derived:
        if name in roles:
            raise ValueError(f"derived.{name} has the name of a column ({roles[name]})")
    if not (contract.numeric_features or contract.categorical_features):
        raise ValueError("no features: name columns under columns.numeric or columns.categorical")


def _check_time(contract: Contract) -> None:
    if contract.columns.event_time is not None:
        return
    if contract.velocity or contract.label_rate:
        block = "velocity" if contract.velocity else "label_rate"
        raise ValueError(f"[[{block}]] has windows over time: name columns.event_time")
    if contract.split.by in ("time", "cuts"):
        raise ValueError(
            f'split.by = "{contract.split.by}" needs columns.event_time; or write by = "random"'
        )
    if contract.label.delay:
        raise ValueError("label.delay counts from the event: name columns.event_time")
    if contract.expectations.table.freshness is not None:
        raise ValueError("expectations.table.freshness needs columns.event_time")


def _check_references(contract: Contract) -> None:
    columns = contract.columns
    known = {*contract.request_columns, *columns.drop, *columns.groups}
    known |= {contract.label.column, *contract.derived}
    mentions = {
        "columns.optional": columns.optional,
        "columns.pii": columns.pii,
        "expectations": tuple(contract.expectations.columns),
    }
    for where, names in mentions.items():
        for name in names:
            _check_known(where, name, known)
    check_segments(contract.policy.segments, contract, where="policy.segments")
    check_exploration(contract.policy.exploration, contract, where="policy.exploration")


def _check_known(where: str, name: str, known: set[str]) -> None:
    if name not in known and not _matches_any(name, sorted(known)):
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{where} names {name!r}, which is no column of [columns]{hint}")
