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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from features.contract import Contract
from serving.refusals import RequestRefused
from serving.row_rules import FLAG as BROKEN_ROW_RULE
from serving.rule_file import (
    AllowRule,
    CapRule,
    ListedRule,
    RuleFile,
    RulesUnusable,
    read_rules,
)
from serving.scored import ScoredRow

_DECISIONS = ("approve", "review", "decline")


@dataclass(frozen=True, slots=True)
class _Active:
    """A rule as rows meet it."""

    rule: ListedRule | AllowRule | CapRule
    ends: float


_ByValue = dict[str, tuple[_Active, ...]]


class HardRules:
    """The rules of one file for one contract; they never change.

    Args:
        content: TOML, or what was read of it.
        contract: Whose entities and amount they are about.
        source: Names the file in messages.
        digest: Under which they are kept (:mod:`serving.kept_rules`), for the rows they decide.

    Raises:
        RulesUnusable: If the content is not as the module says, or is about something else.
    """

    def __init__(
        self,
        content: str | RuleFile,
        contract: Contract,
        *,
        source: str,
        digest: bytes | None = None,
    ) -> None:
        rules = read_rules(content, source) if isinstance(content, str) else content
        self._digest = digest
        every: list[ListedRule | AllowRule | CapRule] = [*rules.deny, *rules.allow, *rules.cap]
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
        now: float | None = None,
    ) -> list[ScoredRow | RequestRefused]:
        """Return the rows as the rules decide them; scores stay as they are.

        Args:
            rows: Typed by the contract.
            scored: What the scorer says of each.
            at_least_review: Whether something else forbids to approve them.
            now: The moment by which rules end, in seconds since 1970; default: the clock's.
        """
        now = time.time() if now is None else now
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
            return self._decided(scored, "decline", denied)
        capped = self._capped(row, now)
        if capped:
            rank = max(_DECISIONS.index(scored.decision), *map(_rank, capped))
            deciding = [each for each in capped if _rank(each) == rank]
            return self._decided(scored, _DECISIONS[rank], deciding)
        allowed = _found(self._allow, row, now)
        if not allowed or scored.decision == "approve":
            return scored
        if at_least_review:
            return scored
        if any(flag.startswith(BROKEN_ROW_RULE) for flag in scored.flags):
            allowed = [each for each in allowed if _overrides(each)]
        return self._decided(scored, "approve", allowed) if allowed else scored

    def _decided(self, scored: ScoredRow, decision: str, rules: Sequence[_Active]) -> ScoredRow:
        flags = (*scored.flags, *dict.fromkeys(each.rule.flag for each in rules))
        # Reasons say why the model stopped a row; an approved one was not stopped.
        reasons = () if decision == "approve" else scored.reasons
        return replace(scored, decision=decision, flags=flags, reasons=reasons, rules=self._digest)

    def _capped(self, row: Mapping[str, Any], now: float) -> list[_Active]:
        if not (self._cap or self._cap_all) or self._amount is None:
            return []
        amount = row.get(self._amount)
        if amount is None:
            return []
        every = [each for each in self._cap_all if each.ends > now]
        found = [*every, *_found(self._cap, row, now)]
        return [each for each in found if amount > _most(each)]


def _check_names(names: Sequence[str], source: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise RulesUnusable(f"{source}: two rules are named {name!r}. Give each its own name.")


def _check_columns(
    rules: Sequence[ListedRule | AllowRule | CapRule], contract: Contract, source: str
) -> None:
    entities = contract.columns.entities
    for rule in rules:
        if rule.column is not None and rule.column not in entities:
            raise RulesUnusable(
                f"{source}: rule {rule.name!r} is about {rule.column!r}, which is no entity of "
                f"contract {contract.name} (there are: {', '.join(entities) or 'none'})."
            )


def _by_value(rules: Sequence[ListedRule | AllowRule | CapRule]) -> dict[str, _ByValue]:
    """Return, by column and value, the rules about it: a row costs a look-up a column."""
    found: dict[str, _ByValue] = {}
    for rule in rules:
        of_column = found.setdefault(str(rule.column), {})
        for value in rule.values or ():
            of_column[str(value)] = (*of_column.get(str(value), ()), _active(rule))
    return found


def _active(rule: ListedRule | AllowRule | CapRule) -> _Active:
    return _Active(rule, rule.expires.timestamp())


def _found(rules: dict[str, _ByValue], row: Mapping[str, Any], now: float) -> list[_Active]:
    return [
        each
        for column, by_value in rules.items()
        for each in by_value.get(row.get(column) or "", ())
        if each.ends > now
    ]


def _rank(active: _Active) -> int:
    assert isinstance(active.rule, CapRule)
    return _DECISIONS.index(active.rule.decision)


def _most(active: _Active) -> float:
    assert isinstance(active.rule, CapRule)
    return active.rule.max_amount


def _overrides(active: _Active) -> bool:
    return isinstance(active.rule, AllowRule) and active.rule.overrides_row_rules
