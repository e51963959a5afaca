"""Hard rules: what people decide before the model is asked, and what the model may not exceed.

```toml
[[deny]]                          # decline
name = "stolen-cards"             # in the answer's flags as hard_rule:stolen-cards
column = "CUSTOMER_ID"            # an entity of the contract
values = [5, "A17"]
reason = "Reported stolen"        # for people; never in an answer
expires = 2027-01-31              # the last day (UTC), or a moment with its offset

[[allow]]                         # approve what the model would review or decline
name = "own-tests"
column = "CUSTOMER_ID"
values = [900001]
reason = "Our own test customers"
expires = 2027-01-31
overrides_row_rules = false       # default: a row that breaks a row rule is still reviewed

[[cap]]                           # at least this decision above an amount
name = "new-terminals"
max_amount = 500.0                # in the unit of requests
decision = "review"               # or "decline"
column = "TERMINAL_ID"            # with values: for these only
values = [9]
reason = "Terminals of the pilot"
expires = 2027-01-31
```

A deny rule comes before a cap, a cap before an allow rule, and all before the model, whose score is
computed nevertheless.
"""

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from features.contract import Contract
from infra.errors import InputError
from serving.refusals import RequestRefused
from serving.row_rules import FLAG as BROKEN_ROW_RULE
from serving.scored import ScoredRow

FLAG = "hard_rule:"
_DECISIONS = ("approve", "review", "decline")


class RulesUnusable(InputError):
    """Raised when a file of hard rules cannot be read, or says what makes no sense."""


def _moment(value: object) -> object:
    """Return when a rule ends: a date is its last day, and a moment needs its offset."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("give the moment with its offset, such as 2027-01-31T12:00:00Z")
        return value
    if type(value) is date:
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + timedelta(days=1)
    raise ValueError("give a date such as 2027-01-31, without quotes")


_Values = Annotated[tuple[StrictInt | StrictStr, ...], Field(min_length=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    reason: str = Field(min_length=1)
    expires: Annotated[datetime, BeforeValidator(_moment)]

    @property
    def flag(self) -> str:
        return FLAG + self.name


class _Listed(_Rule):
    column: str
    values: _Values


class _Allow(_Listed):
    overrides_row_rules: bool = False


class _Cap(_Rule):
    max_amount: float = Field(ge=0, allow_inf_nan=False)
    decision: Literal["review", "decline"] = "review"
    column: str | None = None
    values: _Values | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "_Cap":
        if (self.column is None) != (self.values is None):
            raise ValueError("give column and values together, or neither for every row")
        return self


class _RuleFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    deny: tuple[_Listed, ...] = ()
    allow: tuple[_Allow, ...] = ()
    cap: tuple[_Cap, ...] = ()


@dataclass(frozen=True, slots=True)
class _Active:
    """A rule as rows meet it."""

    rule: _Listed | _Allow | _Cap
    ends: float


_ByValue = dict[str, tuple[_Active, ...]]


class HardRules:
    """The rules of one file for one contract; they never change.

    Args:
        content: TOML.
        contract: Whose entities and amount they are about.
        source: Names the file in messages.

    Raises:
        RulesUnusable: If the content is not as the module says, or is about something else.
    """

    def __init__(self, content: str, contract: Contract, *, source: str) -> None:
        rules = _read(content, source)
        every: list[_Listed | _Allow | _Cap] = [*rules.deny, *rules.allow, *rules.cap]
        _check_names([rule.name for rule in every], source)
        _check_columns(every, contract, source)
        if rules.cap and contract.amount_column is None:
            raise RulesUnusable(f"{source}: contract {contract.name} has no amount to cap.")
        self.n_rules = len(every)
        self._amount = contract.amount_column
        self._deny = _by_value(rules.deny)
        self._allow = _by_value(rules.allow)
        self._cap = _by_value([cap for cap in rules.cap if cap.values is not None])
        self._cap_all = tuple(_active(cap) for cap in rules.cap if cap.values is None)

    def n_in_force(self) -> int:
        """Return how many rules have not expired."""
        columns = (*self._deny.values(), *self._allow.values(), *self._cap.values())
        listed = (each for by_value in columns for found in by_value.values() for each in found)
        names = {each.rule.name for each in (*listed, *self._cap_all) if each.ends > time.time()}
        return len(names)

    def apply(
        self,
        rows: Sequence[Mapping[str, Any]],
        scored: Sequence[ScoredRow],
        *,
        at_least_review: bool = False,
    ) -> list[ScoredRow | RequestRefused]:
        """Return the rows as the rules decide them; scores stay as they are.

        Args:
            rows: Typed by the contract.
            scored: What the scorer says of each.
            at_least_review: Whether something else forbids to approve them.
        """
        now = time.time()
        return [
            self._applied(row, said, now, at_least_review=at_least_review)
            for row, said in zip(rows, scored, strict=True)
        ]

    def binds(self, row: Mapping[str, Any]) -> bool:
        """Return whether a rule in force is about a row, be it that it changes nothing."""
        now = time.time()
        named = _found(self._deny, row, now) or _found(self._allow, row, now)
        return bool(named or self._capped(row, now))

    def _applied(
        self, row: Mapping[str, Any], scored: ScoredRow, now: float, *, at_least_review: bool
    ) -> ScoredRow:
        denied = _found(self._deny, row, now)
        if denied:
            return _decided(scored, "decline", denied)
        capped = self._capped(row, now)
        if capped:
            rank = max(_DECISIONS.index(scored.decision), *map(_rank, capped))
            deciding = [each for each in capped if _rank(each) == rank]
            return _decided(scored, _DECISIONS[rank], deciding)
        allowed = _found(self._allow, row, now)
        if not allowed or scored.decision == "approve":
            return scored
        if at_least_review:
            return scored
        if any(flag.startswith(BROKEN_ROW_RULE) for flag in scored.flags):
            allowed = [each for each in allowed if _overrides(each)]
        return _decided(scored, "approve", allowed) if allowed else scored

    def _capped(self, row: Mapping[str, Any], now: float) -> list[_Active]:
        if not (self._cap or self._cap_all) or self._amount is None:
            return []
        amount = row.get(self._amount)
        if amount is None:
            return []
        every = [each for each in self._cap_all if each.ends > now]
        found = [*every, *_found(self._cap, row, now)]
        return [each for each in found if amount > _most(each)]


def _read(content: str, source: str) -> _RuleFile:
    try:
        return _RuleFile.model_validate(tomllib.loads(content))
    except tomllib.TOMLDecodeError as error:
        raise RulesUnusable(f"{source} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise RulesUnusable(f"{source}: {where}: {said}.") from None


def _check_names(names: Sequence[str], source: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise RulesUnusable(f"{source}: two rules are named {name!r}. Give each its own name.")


def _check_columns(
    rules: Sequence[_Listed | _Allow | _Cap], contract: Contract, source: str
) -> None:
    entities = contract.columns.entities
    for rule in rules:
        if rule.column is not None and rule.column not in entities:
            raise RulesUnusable(
                f"{source}: rule {rule.name!r} is about {rule.column!r}, which is no entity of "
                f"contract {contract.name} (there are: {', '.join(entities) or 'none'})."
            )


def _by_value(rules: Sequence[_Listed | _Allow | _Cap]) -> dict[str, _ByValue]:
    """Return, by column and value, the rules about it: a row costs a look-up a column."""
    found: dict[str, _ByValue] = {}
    for rule in rules:
        of_column = found.setdefault(str(rule.column), {})
        for value in rule.values or ():
            of_column[str(value)] = (*of_column.get(str(value), ()), _active(rule))
    return found


def _active(rule: _Listed | _Allow | _Cap) -> _Active:
    return _Active(rule, rule.expires.timestamp())


def _found(rules: dict[str, _ByValue], row: Mapping[str, Any], now: float) -> list[_Active]:
    return [
        each
        for column, by_value in rules.items()
        for each in by_value.get(row.get(column) or "", ())
        if each.ends > now
    ]


def _rank(active: _Active) -> int:
    assert isinstance(active.rule, _Cap)
    return _DECISIONS.index(active.rule.decision)


def _most(active: _Active) -> float:
    assert isinstance(active.rule, _Cap)
    return active.rule.max_amount


def _overrides(active: _Active) -> bool:
    return isinstance(active.rule, _Allow) and active.rule.overrides_row_rules


def _decided(scored: ScoredRow, decision: str, rules: Sequence[_Active]) -> ScoredRow:
    flags = (*scored.flags, *dict.fromkeys(each.rule.flag for each in rules))
    # Reasons say why the model stopped a row; an approved one was not stopped.
    reasons = () if decision == "approve" else scored.reasons
    return replace(scored, decision=decision, flags=flags, reasons=reasons)
