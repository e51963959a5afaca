"""What of stored answers tells whose they are, without reading the rest."""

import msgspec

from serving.answer_shapes import ModelName
from serving.decisions.record import StoredRecord


class _Told(msgspec.Struct):
    model: ModelName


_decode = msgspec.json.Decoder(_Told).decode


def deciding_model(stored: StoredRecord) -> ModelName:
    """Return name, version and policy that an answer names; a contract may have several models."""
    return _decode(stored.answer).model
