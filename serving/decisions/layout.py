"""How the decisions of one model are written down: what of them is whose, and what is sealed."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from balancing.inference_platform import inference_platform
from features.contract import Contract
from features.feature_set import FeatureSet
from features.velocity import velocity_plan
from serving.answers import Answer, encode
from serving.decisions import group_bytes
from serving.decisions.group_bytes import Body
from serving.decisions.opened import personal_of
from serving.decisions.personal_features import personal_features
from serving.decisions.record import (
    Draft,
    FeatureNames,
    Identity,
    RecordHead,
    StoredRecord,
    whole_row,
)
from serving.decisions.sealing import LogSecret, encrypt, new_nonces
from serving.request_context import RequestContext
from serving.requests import TypedRow, values_of

# float32, little-endian: what stands for a number that is sealed.
_SEALED_NUMBER = bytes.fromhex("0000c07f")
# int64, little-endian: -1, which is no category's code.
_SEALED_CODE = b"\xff" * 8

Pseudonyms = tuple[bytes | None, ...]
"""Of a row's entities, in the contract's order."""


class RecordLayout:
    """Writes the decisions of one version of a model.

    Args:
        contract: Resolved; says which columns are entities, and which are personal.
        feature_set: Names of the features, in the network's order.
        model_version: As the answers name it.
        policy_version: As the answers name it.
        secret: Of the log.

    Attributes:
        head: What its decisions have in common, as it goes into a group.
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
        personal = {*columns.pii, *columns.entities}
        self.model = contract.name
        self.names = FeatureNames(tuple(feature_set.numeric), tuple(feature_set.categorical))
        self.feature_set_hash = feature_set.hash
        self.id_column = columns.id
        self.state = state_name(contract)
        self._secret = secret
        self._is_id_personal = columns.id in personal
        self._entities = tuple(columns.entities)
        told = personal_features(contract)
        self._numeric = [at for at, name in enumerate(self.names.numeric) if name in told]
        self._categorical = [at for at, name in enumerate(self.names.categorical) if name in told]
        # In an order of their own: contracts that differ in nothing but order know rows again.
        self._columns = tuple(sorted(contract.request_columns))
        self._personal = tuple(name for name in self._columns if name in personal)
        open_columns = tuple(name for name in self._columns if name not in personal)
        self._values = values_of(self._columns)
        self._open_values = values_of(open_columns)
        self._personal_values = values_of(self._personal)
        self._content = secret.content_digest(group_bytes.encode(self._columns))
        time = contract.event_time_column
        head = RecordHead(
            model=self.model,
            model_version=model_version,
            policy_version=policy_version,
            feature_set_hash=self.feature_set_hash,
            columns=open_columns,
            personal=self._personal,
            entities=self._entities,
            event_time=time if time in open_columns else None,
            platform=inference_platform(),
        )
        self.head = group_bytes.packed_head(head)

    def identity(self, row: TypedRow, context: RequestContext, place: int | None) -> Identity:
        """Return what makes a row the same row again.

        Args:
            row: As the contract types it: all of its columns, and no others.
            context: Of its request; the contract's id comes before its ``Idempotency-Key``.
            place: Of the row in a batch; None where it came alone.
        """
        assert len(row) == len(self._columns), "a typed row has the contract's columns"
        values = self._values(row)
        packed = group_bytes.encode(values)
        # Most rows hold neither zeros nor gaps, and that is seen sooner.
        if all(values) or None not in values:
            digest = self._content.copy()
            digest.update(packed)
            content = digest.digest()
        else:
            content = self._content_with_gaps(values)
        key, is_header = self._key(row, context, place)
        return Identity(key, content, is_header, b"" if self._personal else packed)

    def pseudonyms(self, drafts: Sequence[Draft]) -> list[Pseudonyms]:
        """Return what stands for the entities of each row."""
        if not self._entities:
            return [()] * len(drafts)
        pseudonym, entities = self._secret.pseudonym, self._entities
        return [
            tuple(
                [
                    None if (value := draft.row[name]) is None else pseudonym(name, value)
                    for name in entities
                ]
            )
            for draft in drafts
        ]

    def subjects(self, pseudonyms: Sequence[Pseudonyms]) -> list[bytes | None]:
        """Return whose key seals what is personal of each row; None where nothing is."""
        if not self._personal:
            return [None] * len(pseudonyms)
        # Nobody in particular: personal columns of a contract without entities.
        nobody = self._secret.pseudonym("nobody", self.model)
        return [(whose[0] if whose else None) or nobody for whose in pseudonyms]

    def bodies(
        self,
        drafts: Sequence[Draft],
        pseudonyms: Sequence[Pseudonyms],
        subjects: Sequence[bytes | None],
        keys: Mapping[bytes, AESGCM],
        *,
        head_at: int,
        first_sequence: int,
    ) -> list[Body]:
        """Return decisions as the log holds them.

        Args:
            drafts: Of this layout's model.
            pseudonyms: Of their entities.
            subjects: Of :meth:`subjects`.
            keys: The subjects'.
            head_at: Place of this layout's head in the group.
            first_sequence: Number of the first one among its writer's decisions.
        """
        sealed: Sequence[bytes | None] = [None] * len(drafts)
        values: Sequence[Any] = [msgspec.Raw(draft.identity.packed) for draft in drafts]
        numeric: Sequence[bytes] = [draft.scored.numeric for draft in drafts]
        categorical: Sequence[bytes] = [draft.scored.categorical for draft in drafts]
        answers = [draft.answer for draft in drafts]
        transaction_ids = [answer.id for answer in answers]
        if self._personal:
            sealed = self._sealed(drafts, subjects, keys)
            values = [self._open_values(draft.row) for draft in drafts]
            numeric = _without(numeric, self._numeric, _SEALED_NUMBER)
            categorical = _without(categorical, self._categorical, _SEALED_CODE)
        if self._is_id_personal:
            transaction_ids = [self._transaction_id(row_id) for row_id in transaction_ids]
            answers = [msgspec.structs.replace(answer, id=None) for answer in answers]
        return [
            (
                head_at, sequence, answer.decision_id, draft.received_at, draft.key_id,
                transaction_ids[at], values[at], pseudonyms[at], numeric[at], categorical[at],
                draft.scored.logits, draft.stages, answer.degraded, draft.counts, subjects[at],
                sealed[at], draft.identity.key, draft.identity.content, encode(answer),
                draft.scored.rules,
            )
            for at, (sequence, draft, answer) in enumerate(
                zip(count(first_sequence), drafts, answers)
            )
        ]  # fmt: skip

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

    def _content_with_gaps(self, values: tuple[Any, ...]) -> bytes:
        # What is not given is the same as what an older contract did not know.
        given = [at for at, value in enumerate(values) if value is not None]
        names = tuple(self._columns[at] for at in given)
        digest = self._secret.content_digest(group_bytes.encode(names))
        digest.update(group_bytes.encode(tuple(values[at] for at in given)))
        return digest.digest()

    def _key(
        self, row: TypedRow, context: RequestContext, place: int | None
    ) -> tuple[bytes | None, bool]:
        """Return what a row is known by, and whether the client's header gives it."""
        own_id = None if self.id_column is None else row[self.id_column]
        if own_id is not None:
            return self._secret.pseudonym(f"id of {self.model}", own_id), False
        if context.idempotency_key is None:
            return None, False
        named = f"{context.key_id or ''}\0{'' if place is None else place}"
        column = f"key of {self.model} {named}"
        return self._secret.pseudonym(column, context.idempotency_key), True

    def _sealed(
        self,
        drafts: Sequence[Draft],
        subjects: Sequence[bytes | None],
        keys: Mapping[bytes, AESGCM],
    ) -> list[bytes]:
        """Return what is personal of each decision, for nobody without the subject's key."""
        sealed = []
        nonces = new_nonces(len(drafts))
        for draft, subject, nonce in zip(drafts, subjects, nonces, strict=True):
            assert subject is not None, "what is personal is somebody's"
            personal = (
                self._personal_values(draft.row),
                draft.scored.numeric if self._numeric else b"",
                draft.scored.categorical if self._categorical else b"",
            )
            about = draft.answer.decision_id.encode()
            sealed.append(encrypt(keys[subject], group_bytes.encode(personal), about, nonce=nonce))
        return sealed

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


def opened(stored: StoredRecord, wrapped: bytes | None, secret: LogSecret) -> Mapping[str, Any]:
    """Return the typed row of a stored decision, with what is personal of it.

    Args:
        stored: A record.
        wrapped: Its subject's key, from the store.
        secret: Of the log.

    Raises:
        Unreadable: If the subject's key was destroyed, or is another log's.
    """
    return whole_row(stored, personal_of(stored, wrapped, secret))


def _without(contents: Sequence[bytes], places: Sequence[int], value: bytes) -> Sequence[bytes]:
    """Return arrays' bytes with some of their values replaced."""
    if not places:
        return contents
    size = len(value)
    replaced = []
    for content in contents:
        changed = bytearray(content)
        for at in places:
            changed[size * at : size * (at + 1)] = value
        replaced.append(bytes(changed))
    return replaced
