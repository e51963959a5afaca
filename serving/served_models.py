"""The models that one service answers for, and where they come from: the live records."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from features.velocity import velocity_plan
from serving.decisions.opening import Recording
from serving.kept_rules import KeptRules
from serving.live import CHALLENGER, CHAMPION
from serving.model_changes import ModelChanges
from serving.model_references import ResolvedModel, UnknownModel
from serving.model_store import ModelStore
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.rule_book import RuleBook
from serving.scorer import Scorer
from serving.served_model import ServedModel
from serving.state_links import StateLinks
from serving.verification import load_resolved

logger = logging.getLogger(__name__)


class ServedModels:
    """An immutable set of verified models; to change it, make another and swap the two.

    Args:
        models: One model a name.
        default: Name that answers on the routes without a name; None where none should.
        changes: What is being loaded beside them, and what could not be.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        default: str | None = None,
        changes: ModelChanges | None = None,
    ) -> None:
        self.by_name = {model.name: model for model in models}
        self.default = default if default is not None or len(models) != 1 else models[0].name
        self.changes = changes or ModelChanges()

    def with_model(self, model: ServedModel) -> "ServedModels":
        """Return these models with one more, or with one in the place of its name.

        A default stays the default, also where another model comes beside it.
        """
        models = self.by_name | {model.name: model}
        return ServedModels(list(models.values()), default=self.default, changes=self.changes)

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

    def describe_all(self) -> list[dict[str, Any]]:
        """Return what ``/v1/models`` says: of what answers, and of what should and cannot yet."""
        waiting = [name for name in self.changes.names if name not in self.by_name]
        return [
            *(self.describe(model) for model in self.by_name.values()),
            *(
                {"name": name, "state": "waiting", **self.changes.describe(name)}
                for name in waiting
            ),
        ]

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
            **self.changes.describe(scorer.name),
            "loaded_at": model.loaded_at.isoformat(timespec="seconds"),
            "model_sha256": scorer.bundle.model_sha256,
            "policy_id": scorer.policy.policy_id,
            "policy_key_id": scorer.policy_key_id,
            "exploration": scorer.policy.exploration and scorer.policy.exploration.model_dump(),
            "feature_set_hash": manifest.feature_set_hash,
            "code_revision": manifest.code_revision,
            "mlflow_run_id": manifest.mlflow_run_id,
            "trained_at": manifest.created_at.isoformat(timespec="seconds"),
            "online_state": link
            and {"reachable": link.is_reachable, "events_waiting": link.n_kept},
            "hard_rules": scorer.rules and scorer.rules.describe(),
            **({"challenger": challenger} if (challenger := _challenger_of(model)) else {}),
        }


class ModelSource:
    """Loads the models that a service is asked to serve.

    Args:
        home: The state folder.
        references: Names, or names with an alias or a version; empty means every champion.
        verify_key: Public keys whose signatures count; default: those of the state folder.
        state_uri: Where online state is; default: SQLite files in the state folder.
        rules: File or folder of hard rules; default: the folder ``rules`` of the state folder.
        recording: How decisions are written down; without it they are not.

    Attributes:
        home: The state folder.
        rules: The hard rules of its models.
        store: The bundles, policies and live records in it.
    """

    def __init__(
        self,
        home: Path,
        references: Sequence[str] = (),
        *,
        verify_key: str | None = None,
        state_uri: str | None = None,
        rules: Path | str | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.store = ModelStore(home, verify_key=verify_key)
        self.home = home
        self._references = tuple(references)
        self._links = StateLinks(
            home / "state", state_uri, log=None if recording is None else recording.log
        )
        self._recording = recording
        kept = None if recording is None else KeptRules(home, recording.log.secret)
        self.rules = RuleBook(home / "rules" if rules is None else Path(rules), kept)

    def load_all(self) -> ServedModels:
        """Return every model that is to be served, verified.

        The first of several references is the default; without references a sole champion is.

        Raises:
            UnknownModel: If there is nothing to serve, or a reference means nothing.
            BundleMismatch: If a bundle or policy does not verify.
            SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
            StateMismatch: If an online state was made for another feature set.
            RulesUnusable: If a file of hard rules is no good.
            StateLocationError: If the state's URI names no kind of store.
        """
        references = self._references or tuple(self.store.live.all())
        if not references:
            raise UnknownModel(
                f"No model is live in {self.home}. Train one first: whitecrow train."
            )
        wanted = [self.store.resolve(reference) for reference in references]
        _refuse_repeated_names([each.name for each in wanted])
        models = [self.load(each) for each in wanted]
        return ServedModels(models, default=models[0].name if self._references else None)

    def load(self, wanted: ResolvedModel, *, like: ServedModel | None = None) -> ServedModel:
        """Return a verified model; if ``like`` is of the same version, only its policy is loaded.

        Raises:
            UnknownModel: If there is no such version or policy.
            BundleMismatch: If the bundle or the policy does not verify.
            SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
            StateMismatch: If an online state was made for another feature set.
        """
        scorer = self.load_scorer(wanted, like=like.scorer if like else None)
        logger.info(
            "model loaded",
            extra={
                "model": scorer.name,
                "version": scorer.model_version,
                "policy_version": scorer.policy_version,
                "policy_key_id": scorer.policy_key_id,
            },
        )
        contract = scorer.bundle.contract
        scorer.rules = self.rules.rules_of(contract)
        recorder = None if self._recording is None else self._recording.of(scorer)
        if not velocity_plan(contract):
            return ServedModel(scorer, recorder=recorder)
        path = OnlinePath(scorer, self._links.take(contract))
        return ServedModel(
            scorer, path, recorder=recorder, let_go=lambda: self._links.give_back(contract)
        )

    def load_scorer(self, wanted: ResolvedModel, *, like: Scorer | None = None) -> Scorer:
        """Return a verified scorer, on the network of ``like`` if that is of the same version.

        Raises:
            UnknownModel: If there is no such version or policy.
            BundleMismatch: If the bundle or the policy does not verify.
            SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
        """
        same = like is not None and like.model_version == wanted.model_version
        return load_resolved(self.store, wanted, like=like if same else None)

    def live(self) -> dict[str, ResolvedModel]:
        """Return what the references that follow a live record mean now, by name.

        A reference to a version follows nothing, and a name whose record is gone is left out.

        Raises:
            StateUnavailable: If the records cannot be read.
        """
        records = self.store.live.by_alias()
        followed = dict.fromkeys(records[CHAMPION], CHAMPION)
        if self._references:
            parts = [each.partition("@") for each in self._references if ":" not in each]
            followed = {name: alias or CHAMPION for name, _, alias in parts}
        return {
            name: ResolvedModel(name, record.model_version, record.policy_version)
            for name, alias in followed.items()
            if (record := records.get(alias, {}).get(name)) is not None
        }

    def challengers(self) -> dict[str, ResolvedModel]:
        """Return the challenger of each name that has one.

        Raises:
            StateUnavailable: If the records cannot be read.
        """
        return {
            name: ResolvedModel(name, record.model_version, record.policy_version)
            for name, record in self.store.live.by_alias()[CHALLENGER].items()
        }


def _challenger_of(model: ServedModel) -> dict[str, str] | None:
    """Return which challenger a model has, and whether it scores the same rows in the shadow."""
    if model.shadow is None:
        return model.shadow_refusal
    scorer = model.shadow.scorer
    return {
        "version": scorer.model_version,
        "policy_version": scorer.policy_version,
        "state": "in the shadow",
    }


def _refuse_repeated_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UnknownModel(f"{name} is to be served twice. Name each model once.")
