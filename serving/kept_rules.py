"""What hard rules said, kept for whoever replays what they decided; entities go by pseudonyms.

``HOME/kept-rules/SHA256.json``, one file for each content, written once. The decision log names the
digest beside every row that a rule decided. A value stands there as the pseudonym that the log
knows its entity by: nobody is named, and rules can be applied to rows whose key was destroyed.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from features.contract import Contract
from infra.errors import InputError
from infra.storage import canonical_json, write_once
from serving.decisions.sealing import LogSecret
from serving.hard_rules import HardRules
from serving.rule_file import RuleFile

logger = logging.getLogger(__name__)

FOLDER = "kept-rules"


class RulesLost(InputError):
    """Raised when what hard rules said is not there any more, or is not what was kept."""


class KeptRules:
    """The kept rules of one state folder; safe for several processes.

    Args:
        home: The state folder.
        secret: Of the decision log: makes the pseudonyms.
    """

    def __init__(self, home: Path, secret: LogSecret) -> None:
        self._folder = home / FOLDER
        self._secret = secret

    def keep(self, rules: RuleFile) -> bytes | None:
        """Keep rules and return their SHA-256; None, with a word in the log, if that fails.

        Rules come into force all the same: a full disk must not hold up a list of stolen cards.
        """
        content = canonical_json(self._pseudonymised(rules)).encode()
        digest = hashlib.sha256(content)
        try:
            write_once(self._folder / f"{digest.hexdigest()}.json", content)
        except OSError as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "hard rules not kept: what they decide cannot be replayed",
                extra={"why": str(error)},
            )
            return None
        return digest.digest()

    def read(self, digest: bytes, contract: Contract) -> HardRules:
        """Return kept rules; they are about pseudonyms (:meth:`row`), not about values.

        Raises:
            RulesLost: If they are not there, or were changed.
        """
        path = self._folder / f"{digest.hex()}.json"
        try:
            content = path.read_bytes()
        except OSError:
            raise RulesLost(f"{path} is missing: restore it from a backup.") from None
        if hashlib.sha256(content).digest() != digest:
            raise RulesLost(f"{path} was changed since it was kept: restore it from a backup.")
        rules = json.loads(content)
        for rule in (rule for kind in rules.values() for rule in kind):
            rule["expires"] = datetime.fromisoformat(rule["expires"])
        return HardRules(RuleFile.model_validate(rules), contract, source=str(path), digest=digest)

    @staticmethod
    def row(
        entities: Mapping[str, bytes], contract: Contract, amount: float | None
    ) -> dict[str, Any]:
        """Return a logged row as kept rules meet it.

        Args:
            entities: Pseudonyms by column.
            contract: Of the row.
            amount: In the unit of requests; None where it is missing.
        """
        row: dict[str, Any] = {name: value.hex() for name, value in entities.items()}
        return row if contract.amount_column is None else row | {contract.amount_column: amount}

    def _pseudonymised(self, rules: RuleFile) -> dict[str, Any]:
        content = rules.model_dump(mode="json")
        for rule in (rule for kind in content.values() for rule in kind):
            if rule.get("column") is not None:
                column, values = rule["column"], rule["values"]
                named = {self._secret.pseudonym(column, str(value)).hex() for value in values}
                rule["values"] = sorted(named)
        return content
