"""How the decisions of one model are written down: what of them is whose, and what is sealed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from features.contract import Contract
from features.feature_set import FeatureSet
from features.online.events import microseconds_of
from features.velocity import velocity_plan
from serving.answers import Answer, encode
from serving.decisions.record import (
    Draft,
    FeatureNames,
    Identity,
    Personal,
    StoredRecord,
    whole_row,
)
from serving.decisions.sealing import LogSecret, Unreadable, decrypt, encrypt
from serving.request_context import RequestContext
from serving.requests import TypedRow
from serving.velocity_words import velocity_columns

_SEALED_CODE = -1


class RecordLayout:
    """Writes the decisions of one version of a model.

    Args:
        contract: Resolved; says which columns are entities, and which are personal.
        feature_set: Names of the features, in the network's order.
        model_version: As the answers name it.
        policy_version: As the answers name it.
        secret: Of the log.

    Attributes:
        state: Name of the online state that they go into; None where there is none.
    """

    def __init__(
        self,
        contract: Contract,
        feature_set: FeatureSet,
        *,
        model_version: str,
        policy_version: str,
        secret: LogSecret,
    ) -> None:
        columns = contract.columns
        self.model = contract.name
        self.names = FeatureNames(tuple(feature_set.numeric), tuple(feature_set.categorical))
        self.feature_set_hash = feature_set.hash
        self.id_column = columns.id
        self._secret = secret
        self._versions = (model_version, policy_version)
        self._time = contract.event_time_column
        self._entities = tuple(columns.entities)
        self._subject = columns.entities[0] if columns.entities else None
        self._is_id_personal = columns.id in {*columns.pii, *columns.entities}
        self._personal = frozenset({*columns.pii, *columns.entities})
        told = personal_features(contract)
        self._numeric = [at for at, name in enumerate(self.names.numeric) if name in told]
        self._categorical = [at for at, name in enumerate(self.names.categorical) if name in told]
        self.state = state_name(contract)
        self._in_order: tuple[str, ...] = ()

    def identity(self, row: TypedRow, context: RequestContext, place: int | None) -> Identity:
        """Return what makes a row the same row again.

        Args:
            row: As the contract types it.
            context: Of its request; the contract's id comes before its ``Idempotency-Key``.
            place: Of the row in a batch; None where it came alone.
        """
        if len(self._in_order) != len(row):
            self._in_order = tuple(sorted(row))
        # What is not given is the same as what an older contract did not know.
        given = [(name, row[name]) for name in self._in_order if row[name] is not None]
        content = self._secret.content_digest(msgspec.msgpack.encode(given))
        own_id = None if self.id_column is None else row.get(self.id_column)
        if own_id is not None:
            return Identity(self._secret.pseudonym(f"id of {self.model}", own_id), content)
        if context.idempotency_key is None:
            return Identity(None, content)
        named = f"{context.key_id or ''}\0{'' if place is None else place}"
        column = f"key of {self.model} {named}"
        key = self._secret.pseudonym(column, context.idempotency_key)
        return Identity(key, content, is_header=True)

    def subject_of(self, row: TypedRow) -> bytes | None:
        """Return whose key seals what is personal of a row; None where nothing is."""
        if not self._personal:
            return None
        value = None if self._subject is None else row.get(self._subject)
        if self._subject is None or value is None:
            # Nobody in particular: personal columns of a contract without entities.
            return self._secret.pseudonym("nobody", self.model)
        return self._secret.pseudonym(self._subject, value)

    def stored(
        self, draft: Draft, sequence: int, subject: bytes | None, key: AESGCM | None
    ) -> StoredRecord:
        """Return a decision as the log holds it.

        Args:
            draft: Of this layout's model.
            sequence: Its number among its writer's decisions.
            subject: Of :meth:`subject_of`.
            key: The subject's.
        """
        row, answer, secret = draft.row, draft.answer, self._secret
        numeric, categorical = draft.scored.numeric, draft.scored.categorical
        sealed = None
        if key is not None:
            personal = Personal(
                {name: row.get(name) for name in self._personal},
                numeric if self._numeric else b"",
                categorical if self._categorical else b"",
            )
            about = answer.decision_id.encode()
            sealed = encrypt(key, msgspec.msgpack.encode(personal), about)
        # A personal event time is sealed with the row.
        moment = row.get(self._time) if self._time and self._time not in self._personal else None
        return StoredRecord(
            sequence=sequence,
            decision_id=answer.decision_id,
            received_at=draft.received_at,
            event_time=None if moment is None else microseconds_of(moment),
            key_id=draft.key_id,
            model=self.model,
            model_version=self._versions[0],
            policy_version=self._versions[1],
            feature_set_hash=self.feature_set_hash,
            transaction_id=self._transaction_id(answer.id),
            row={name: value for name, value in row.items() if name not in self._personal},
            entities={
                name: secret.pseudonym(name, row[name])
                for name in self._entities
                if row.get(name) is not None
            },
            numeric=_without(numeric, "<f4", self._numeric, np.nan),
            categorical=_without(categorical, "<i8", self._categorical, _SEALED_CODE),
            logits=draft.scored.logits,
            stages=draft.stages,
            is_degraded=answer.degraded,
            counts=draft.counts,
            subject=subject,
            sealed=sealed,
            key=draft.identity.key,
            content=draft.identity.content,
            answer=encode(
                msgspec.structs.replace(answer, id=None) if self._is_id_personal else answer
            ),
        )

    def repeated(self, stored: StoredRecord, row_id: str | None) -> bytes:
        """Return the JSON of a stored answer, as it was sent first.

        Args:
            stored: Of a row with this id.
            row_id: The row's own id, which the log may not hold.
        """
        if not self._is_id_personal or row_id is None:
            return stored.answer
        answer = msgspec.json.decode(stored.answer, type=Answer)
        return encode(msgspec.structs.replace(answer, id=row_id))

    def _transaction_id(self, row_id: str | None) -> str | None:
        if row_id is None or not self._is_id_personal:
            return row_id
        return self._secret.pseudonym(self.id_column or "id", row_id).hex()


def logged_id(contract: Contract, secret: LogSecret, row_id: str) -> str:
    """Return how the log names a row: by its id, or by a pseudonym where ids are personal."""
    columns = contract.columns
    if columns.id is None or columns.id not in {*columns.pii, *columns.entities}:
        return row_id
    return secret.pseudonym(columns.id, row_id).hex()


def state_name(contract: Contract) -> str | None:
    """Return the name of a contract's online state; None where nothing looks back in time."""
    plan = velocity_plan(contract)
    return f"{contract.name} {plan.state_key}" if plan.features else None


def personal_features(contract: Contract) -> frozenset[str]:
    """Return the features that tell a personal column's value, or are computed from it.

    How often an entity was seen tells nothing of who it is.
    """
    personal = set(contract.columns.pii)
    told = set(personal)
    for name, expression in contract.derived.items():
        words = set(re.findall(r"\w+", expression))
        if any(column in words or f'"{column}"' in expression for column in personal):
            told.add(name)
    of_columns = velocity_columns(contract)
    for feature in velocity_plan(contract).features:
        if (of_columns[feature.name] - set(feature.entity)) & personal:
            told.add(feature.name)
    return frozenset(told)


def opened(stored: StoredRecord, wrapped: bytes | None, secret: LogSecret) -> Mapping[str, Any]:
    """Return the typed row of a stored decision, with what is personal of it.

    Args:
        stored: A record.
        wrapped: Its subject's key, from the store.
        secret: Of the log.

    Raises:
        Unreadable: If the subject's key was destroyed, or is another log's.
    """
    if stored.sealed is None or stored.subject is None:
        return whole_row(stored, None)
    if wrapped is None:
        raise Unreadable("The key of this decision's subject was destroyed.")
    key = secret.unwrapped(stored.subject, wrapped)
    content = decrypt(key, stored.sealed, stored.decision_id.encode())
    return whole_row(stored, msgspec.msgpack.decode(content, type=Personal))


def _without(content: bytes, dtype: str, places: Sequence[int], value: float) -> bytes:
    """Return an array's bytes with some of its values replaced."""
    if not places:
        return content
    values = np.frombuffer(content, dtype=dtype).copy()
    values[list(places)] = value
    return values.tobytes()
