"""Erasing one entity: its key in the decision log, its past in the online state, an entry for it.

The value itself is written nowhere. What is left names nobody: a pseudonym under the log's secret,
features that tell nothing personal, and the answer.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from features.contract import Contract
from features.online.opening import is_server, open_state, state_file
from features.velocity import velocity_plan
from infra.errors import InputError
from infra.ledger import Ledger, LedgerEntry
from infra.settings import Settings
from serving.decisions.opened import personal_of
from serving.decisions.opening import open_store
from serving.decisions.record import StoredRecord
from serving.decisions.sealing import LogSecret, Unreadable, read_log_secret
from serving.decisions.store import DecisionStore
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.rule_file import RulesUnusable, read_rules

BEGUN, ERASED = "entity_erasure_begun", "entity_erased"


class CannotErase(InputError):
    """Raised when there is nobody to erase, or the column is no data subject's."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did.

    Attributes:
        model: Whose contract names the column.
        column: The entity's column.
        pseudonym: What stands for the entity in the log.
        n_decisions: Decisions, of all models, of which nobody can read any more what was personal.
        n_state_keys: What went from the online states: the entity alone, and its pairs.
        rules: Files of hard rules that still name it; they are people's to change.
        ledger_sequence: Of the entry.
    """

    model: str
    column: str
    pseudonym: str
    n_decisions: int
    n_state_keys: int
    rules: tuple[str, ...]
    ledger_sequence: int

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return asdict(self)


def erase_entity(
    settings: Settings, reference: str, entity: str, *, actor: str, reason: str
) -> Erased:
    """Make everything personal of one entity unreadable, for good, and return what that was.

    What was interrupted is finished by the same call.

    Args:
        settings: Name the log, the online state and the ledger.
        reference: A model whose contract names the column.
        entity: ``COLUMN=VALUE``, the value as requests give it.
        actor: Who erases.
        reason: Why.

    Raises:
        CannotErase: If the log and the state hold nothing of it, or the column is not the first
            entity of the contract, whose keys seal.
        UnknownModel: If there is no such model.
        LogUnreachable: If the log does not answer.
        StateUnreachable: If the online state does not; call again.
    """
    models = ModelStore.open(settings)
    resolved = models.resolve(reference)
    contract = models.bundle(resolved.name, resolved.model_version).contract
    column, value = _subject(entity, contract)
    secret = read_log_secret(settings.keys, settings.log_secret)
    subject, ledger = secret.pseudonym(column, value), Ledger(settings.database)
    details = {"column": column, "pseudonym": subject.hex()}
    store = open_store(settings, secret)
    try:
        wrapped = store.subject_keys([subject]).get(subject)
        is_pending = _is_pending(ledger.entries(resolved.name), subject)
        if wrapped is not None and not is_pending:
            ledger.append(BEGUN, resolved.name, actor=actor, reason=reason, details=details)
        store.destroy_key(subject)
        n_state_keys = _forget(settings, models, resolved, column, value)
        if wrapped is None and not is_pending and not n_state_keys:
            raise CannotErase(
                f"Neither the decision log nor the online state holds anything of that {column} "
                "that could be erased. Nothing was done. Give the value as requests give it."
            )
        n_decisions = _n_sealed(store, subject, wrapped, secret)
    finally:
        store.close()
    rules = tuple(_naming_rules(settings, resolved.name, column, value))
    counts = {"n_decisions": n_decisions, "n_state_keys": n_state_keys}
    entry = ledger.append(
        ERASED, resolved.name, actor=actor, reason=reason, details=details | counts
    )
    return Erased(
        resolved.name, column, subject.hex(), n_decisions, n_state_keys, rules, entry.sequence
    )


def _subject(entity: str, contract: Contract) -> tuple[str, str]:
    """Return column and value, of whom a key seals what is personal."""
    column, is_given, value = entity.partition("=")
    entities = contract.columns.entities
    if not is_given or not value:
        raise CannotErase("--entity is written COLUMN=VALUE, like CUSTOMER_ID=4711.")
    if not entities:
        raise CannotErase(f"Contract {contract.name} has no entities: nobody can be erased.")
    if column != entities[0]:
        raise CannotErase(
            f"Keys are those of {entities[0]}, the first entity of contract {contract.name}: "
            f"only its values can be erased. Got {column!r}."
        )
    return column, value


def _is_pending(entries: list[LedgerEntry], subject: bytes) -> bool:
    """Return whether an erasure was begun, and never ended."""
    told = [each.event for each in entries if each.details.get("pseudonym") == subject.hex()]
    return told[-1:] == [BEGUN]


def _forget(
    settings: Settings, models: ModelStore, resolved: ResolvedModel, column: str, value: str
) -> int:
    """Drop the entity's past from the online state of every live model that looks back at it."""
    n_gone = 0
    for contract in _contracts(models, resolved):
        if column not in contract.columns.entities or not velocity_plan(contract).features:
            continue
        uri = settings.state_uri
        path = state_file(settings.state_folder, contract) if uri is None else Path(uri)
        if (uri is None or not is_server(uri)) and not path.is_file():
            continue
        state = open_state(contract, uri, folder=settings.state_folder)
        try:
            n_gone += state.forget_entity(column, value)
        finally:
            state.close()
    return n_gone


def _contracts(models: ModelStore, resolved: ResolvedModel) -> Iterator[Contract]:
    """Yield the contracts of the model and of all that is live, one for each state."""
    records = models.live.by_alias().values()
    live = {(name, record.model_version) for of in records for name, record in of.items()}
    seen = set()
    for name, version in sorted({*live, (resolved.name, resolved.model_version)}):
        contract = models.bundle(name, version).contract
        key = (contract.name, velocity_plan(contract).state_key)
        if key not in seen:
            seen.add(key)
            yield contract


def _n_sealed(
    store: DecisionStore, subject: bytes, wrapped: bytes | None, secret: LogSecret
) -> int:
    """Return how many decisions the key opened; where it is unknown, how many are the subject's."""
    records = (record for group in store.groups() for record in group.decoded())
    return sum(
        record.subject == subject and (wrapped is None or _opens(record, wrapped, secret))
        for record in records
    )


def _opens(record: StoredRecord, wrapped: bytes, secret: LogSecret) -> bool:
    try:
        return personal_of(record, wrapped, secret) is not None
    except Unreadable:
        # Erased before: who comes back gets a new key.
        return False


def _naming_rules(settings: Settings, name: str, column: str, value: str) -> Iterator[str]:
    """Yield the file of hard rules in force, if it names the entity."""
    location = Path(settings.rules) if settings.rules else settings.root / "rules"
    path = location if location.suffix == ".toml" else location / f"{name}.toml"
    try:
        rules = read_rules(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError, RulesUnusable):
        return
    # A cap for every row names nobody.
    listed = [(rule.column, rule.values) for rule in (*rules.deny, *rules.allow)]
    listed += [(cap.column, cap.values) for cap in rules.cap if cap.column and cap.values]
    if any(name == column and value in map(str, values) for name, values in listed):
        yield str(path)
