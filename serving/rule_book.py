"""The files of hard rules that a service goes by, read again when they change."""

import hashlib
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.contract import Contract
from serving.hard_rules import HardRules
from serving.kept_rules import KeptRules
from serving.refusals import RequestRefused
from serving.requests import TypedRow
from serving.rule_file import RulesUnusable, read_rules
from serving.scored import ScoredRow

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


class LiveRules:
    """The hard rules of one model as they are now; safe to use from several threads.

    Args:
        path: The file; none there means no rules.
        contract: Of the model.
        kept: Where they are kept, for whoever asks later what they said; None for nowhere.

    Raises:
        RulesUnusable: If there is a file, and it is no good.
    """

    def __init__(self, path: Path, contract: Contract, kept: KeptRules | None = None) -> None:
        self._path = path
        self._kept = kept
        self._contract = contract
        self._rules: HardRules | None = None
        self._sha256: str | None = None
        self._read_at: datetime | None = None
        self._problem: str | None = None
        self._read_stamp = self._last_stamp = self._stamp()
        if self._read_stamp is not None:
            self._read()

    def apply(
        self,
        rows: Sequence[TypedRow],
        scored: Sequence[ScoredRow],
        *,
        at_least_review: bool = False,
    ) -> list[ScoredRow | RequestRefused]:
        """Return rows as the rules decide them (:meth:`serving.hard_rules.HardRules.apply`)."""
        rules = self._rules
        if rules is None:
            return list(scored)
        return rules.apply(rows, scored, at_least_review=at_least_review)

    def binds(self, row: TypedRow) -> bool:
        """Return whether a rule is about a row (:meth:`serving.hard_rules.HardRules.binds`)."""
        return self._rules is not None and self._rules.binds(row)

    def suits(self, contract: Contract) -> bool:
        """Return whether the rules are about the same columns as another contract's would be."""
        own = self._contract
        same_entities = contract.columns.entities == own.columns.entities
        return same_entities and contract.amount_column == own.amount_column

    def look(self) -> None:
        """Read the file again if it has changed and then stood still from one look to the next.

        A file that is no good, or is gone, leaves the old rules in force: a list of stolen cards
        shall not end by a slip of the pen. Who wants no rules leaves the file empty.
        """
        stamp, before = self._stamp(), self._last_stamp
        self._last_stamp = stamp
        if stamp == self._read_stamp or stamp != before:
            return
        self._read_stamp = stamp
        try:
            self._read()
        except RulesUnusable as error:
            self._problem = str(error)
            logger.error(  # noqa: TRY400 - the message says it all
                "hard rules not taken over: the old ones stay in force",
                extra={"model": self._contract.name, "why": str(error)},
            )
        else:
            facts = {"model": self._contract.name, "n_rules": self._rules and self._rules.n_rules}
            logger.info("hard rules read", extra=facts)

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file of the rules in force; None where there are none."""
        return self._sha256

    def describe(self) -> dict[str, Any] | None:
        """Return what ``/v1/model`` says of the rules; None where there never were any."""
        rules = self._rules
        if rules is None and self._problem is None:
            return None
        return {
            "n_rules": rules.n_rules if rules else 0,
            "n_in_force": rules.n_in_force() if rules else 0,
            "sha256": self._sha256,
            "read_at": self._read_at and self._read_at.isoformat(timespec="seconds"),
            "problem": self._problem,
        }

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
            text = content.decode()
        except FileNotFoundError:
            raise RulesUnusable(
                f"{self._path} is gone. Put it back; leave it empty for no rules."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RulesUnusable(f"{self._path} cannot be read: {error}.") from None
        source = str(self._path)
        digest = None if self._kept is None else self._kept.keep(read_rules(text, source))
        self._rules = HardRules(text, self._contract, source=source, digest=digest)
        self._sha256 = hashlib.sha256(content).hexdigest()
        self._read_at, self._problem = datetime.now(UTC), None

    def _stamp(self) -> _Stamp:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once a second: as cheap as can be
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RulesUnusable(f"{self._path} cannot be read: {error}.") from None
        return found.st_ino, found.st_mtime_ns, found.st_size


class RuleBook:
    """The hard rules of all models of a service.

    Args:
        location: A TOML file for every model, or a folder with ``NAME.toml`` for each.
        kept: Where what they say is kept; None where no decision is written down either.
    """

    def __init__(self, location: Path, kept: KeptRules | None = None) -> None:
        self._location = location
        self._kept = kept
        self._of: dict[str, LiveRules] = {}

    def rules_of(self, contract: Contract) -> LiveRules:
        """Return the rules for a contract's model.

        Raises:
            RulesUnusable: If there is a file, and it is no good for this contract.
        """
        is_file = self._location.suffix == ".toml"
        path = self._location if is_file else self._location / f"{contract.name}.toml"
        if is_file and not path.is_file():
            raise RulesUnusable(f"WHITECROW_RULES names {path}, and there is no such file.")
        before = self._of.get(contract.name)
        if before is not None and before.suits(contract):
            # A model is swapped, or its policy: rules that could not be read stay in force.
            return before
        rules = LiveRules(path, contract, self._kept)
        self._of[contract.name] = rules
        return rules

    def digests(self) -> dict[str, str | None]:
        """Return the SHA-256 of the rules in force, by model; None where there are none."""
        return {name: rules.sha256 for name, rules in self._of.items()}

    def look(self) -> None:
        """Read again what has changed."""
        for rules in list(self._of.values()):
            rules.look()
