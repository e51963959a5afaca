"""The models that one service answers for."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.model_store import ModelStore, UnknownModel
from serving.refusals import RequestRefused
from serving.scorer import Scorer
from serving.verification import load_scorer

logger = logging.getLogger(__name__)


class ServedModels:
    """An immutable set of verified scorers; to change it, make another and swap the two.

    Args:
        scorers: One scorer a name.
        default: Name that answers on the routes without a name; None where none should.
    """

    def __init__(self, scorers: Sequence[Scorer], *, default: str | None = None) -> None:
        self.by_name = {scorer.name: scorer for scorer in scorers}
        self.default = default if default is not None or len(scorers) != 1 else scorers[0].name
        self.loaded_at = datetime.now(UTC)

    def get(self, name: str | None) -> Scorer:
        """Return the scorer of a name, or the default one.

        Raises:
            RequestRefused: With status 404, if there is none.
        """
        wanted = name if name is not None else self.default
        if wanted in self.by_name:
            return self.by_name[wanted]
        known = ", ".join(self.by_name)
        message = (
            f"Several models are served ({known}) and none is the default: use /v1/models/NAME/…, "
            "or start the service with --model NAME."
            if name is None
            else f"No model of that name is served (there are: {known})."
        )
        raise RequestRefused("unknown_model", message, status=404)

    def describe(self, scorer: Scorer) -> dict[str, Any]:
        """Return what ``/v1/model`` says of one model."""
        manifest = scorer.bundle.manifest
        return {
            "name": scorer.name,
            "version": scorer.model_version,
            "policy_version": scorer.policy_version,
            "default": scorer.name == self.default,
            "state": "serving",
            "loaded_at": self.loaded_at.isoformat(timespec="seconds"),
            "model_sha256": scorer.bundle.model_sha256,
            "policy_id": scorer.policy.policy_id,
            "policy_key_id": scorer.policy_key_id,
            "feature_set_hash": manifest.feature_set_hash,
            "code_revision": manifest.code_revision,
            "mlflow_run_id": manifest.mlflow_run_id,
            "trained_at": manifest.created_at.isoformat(timespec="seconds"),
        }


def load_models(
    home: Path, references: Sequence[str] = (), *, verify_key: str | None = None
) -> ServedModels:
    """Load and verify the referenced models, or every champion of a state folder.

    The first of several references is the default; without references a sole champion is.

    Args:
        home: The state folder.
        references: Names, or names with an alias or a version.
        verify_key: Public keys whose signatures count; default: those of the state folder.

    Raises:
        UnknownModel: If there is nothing to serve, or a reference means nothing.
        BundleMismatch: If a bundle or policy does not verify.
        SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
    """
    store = ModelStore(home, verify_key=verify_key)
    wanted = list(references) or list(store.live.all())
    if not wanted:
        raise UnknownModel(f"No model is live in {home}. Train one first: whitecrow train.")
    scorers = [load_scorer(store, reference) for reference in wanted]
    _refuse_repeated_names(scorers)
    for scorer in scorers:
        logger.info(
            "model loaded",
            extra={
                "model": scorer.name,
                "version": scorer.model_version,
                "policy_version": scorer.policy_version,
                "policy_key_id": scorer.policy_key_id,
            },
        )
    return ServedModels(scorers, default=scorers[0].name if references else None)


def _refuse_repeated_names(scorers: Sequence[Scorer]) -> None:
    names = [scorer.name for scorer in scorers]
    for name in names:
        if names.count(name) > 1:
            raise UnknownModel(f"{name} is to be served twice. Name each model once.")
