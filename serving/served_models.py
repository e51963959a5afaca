"""The models that one service answers for."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from features.online.opening import open_state
from features.online.state import StateUnreachable
from features.velocity import velocity_plan
from serving.model_store import ModelStore, UnknownModel
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.scorer import Scorer
from serving.served_model import ServedModel
from serving.state_link import StateLink
from serving.verification import load_scorer

logger = logging.getLogger(__name__)

# Read and written once each for an answer, which must leave within BentoML's time-out of 2 s.
_PATIENCE_SECONDS = 0.5
_MOST_HOT_NAMED = 5


class ServedModels:
    """An immutable set of verified models; to change it, make another and swap the two.

    Args:
        models: One model a name.
        default: Name that answers on the routes without a name; None where none should.
    """

    def __init__(self, models: Sequence[ServedModel], *, default: str | None = None) -> None:
        self.by_name = {model.name: model for model in models}
        self.default = default if default is not None or len(models) != 1 else models[0].name
        self.loaded_at = datetime.now(UTC)

    def get(self, name: str | None) -> ServedModel:
        """Return the model of a name, or the default one.

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

    def close(self) -> None:
        """Let go of every online state."""
        for model in self.by_name.values():
            model.close()

    def describe(self, model: ServedModel) -> dict[str, Any]:
        """Return what ``/v1/model`` says of one model."""
        scorer, link = model.scorer, model.path.link if model.path else None
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
            "online_state": link
            and {"reachable": link.is_reachable, "events_waiting": link.n_kept},
        }


def load_models(
    home: Path,
    references: Sequence[str] = (),
    *,
    verify_key: str | None = None,
    state_uri: str | None = None,
) -> ServedModels:
    """Load and verify the referenced models, or every champion of a state folder.

    The first of several references is the default; without references a sole champion is.

    Args:
        home: The state folder.
        references: Names, or names with an alias or a version.
        verify_key: Public keys whose signatures count; default: those of the state folder.
        state_uri: Where online state is; default: SQLite files in the state folder.

    Raises:
        UnknownModel: If there is nothing to serve, or a reference means nothing.
        BundleMismatch: If a bundle or policy does not verify.
        SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
        StateMismatch: If an online state was made for another feature set.
        StateLocationError: If ``state_uri`` names no kind of store.
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
    models = [ServedModel(scorer, _path_of(scorer, home, state_uri)) for scorer in scorers]
    return ServedModels(models, default=scorers[0].name if references else None)


def _path_of(scorer: Scorer, home: Path, state_uri: str | None) -> OnlinePath | None:
    """Return the way through a model's online state; None where no feature looks back."""
    contract = scorer.bundle.contract
    if not velocity_plan(contract):
        return None
    folder = home / "state"
    link = StateLink(
        partial(open_state, contract, state_uri, folder=folder, patience=_PATIENCE_SECONDS)
    )
    try:
        newest = link.ask(lambda state: state.newest())
        hottest = link.ask(lambda state: state.hot_entities(_MOST_HOT_NAMED))
    except StateUnreachable:
        # Logged by the link. The policy says what becomes of rows until it is back.
        return OnlinePath(scorer, link)
    if newest is None:
        logger.warning(
            "online state is empty: features over time start from nothing; "
            "fill it from history with whitecrow backfill DATA --contract %s",
            contract.name,
            extra={"model": scorer.name},
        )
    for hot in hottest:
        logger.warning(
            "hot entity: each of its rows costs more than most; is it one customer or terminal?",
            extra={"entity": "_".join(hot.entity), "key": hot.key, "n_events": hot.n_events},
        )
    return OnlinePath(scorer, link)


def _refuse_repeated_names(scorers: Sequence[Scorer]) -> None:
    names = [scorer.name for scorer in scorers]
    for name in names:
        if names.count(name) > 1:
            raise UnknownModel(f"{name} is to be served twice. Name each model once.")
