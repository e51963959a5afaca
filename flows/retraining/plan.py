"""What a retraining will be made of, once what was left out is taken from the champion."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from features.contract import Contract, read_contract
from features.ingestion.database import is_database_uri, without_password
from features.ingestion.tables import fingerprint
from flows.moments import RequestError
from flows.pipeline import PICKED_FROM
from flows.retraining.request import RetrainRequest
from flows.run_config import RunConfig
from flows.validation import DATA
from infra.settings import Settings
from infra.storage import sha256_json
from serving.bundle import BundleManifest
from serving.model_store import ModelStore


@dataclass(frozen=True, slots=True)
class RetrainPlan:
    """A retraining with nothing left open.

    Attributes:
        asked: What was asked for.
        data: Paths, absolute, and URIs of the tables.
        contract: Of the data, the one to train under.
        config: How to train.
        champion: The version that answers; None where there is none yet.
        key: What tells this retraining from others: the same key trains once.
    """

    asked: RetrainRequest
    data: tuple[str, ...]
    contract: Contract
    config: RunConfig
    champion: str | None
    key: str

    @property
    def as_of(self) -> datetime | None:
        """The moment whose knowledge counts; None for the newest event time."""
        return self.asked.knows_until

    @property
    def picks_rows(self) -> bool:
        """Whether the training's data are a file of their own, and not the one table as it is."""
        return self.asked.has_window or len(self.data) > 1

    @property
    def shown_data(self) -> list[str]:
        """The data's paths and URIs without passwords."""
        return [without_password(source) for source in self.data]


def plan_retraining(settings: Settings, asked: RetrainRequest) -> RetrainPlan:
    """Return what a retraining will be made of.

    Raises:
        RequestError: If something is left out that no champion knows, or a window is asked for and
            rows carry no time.
        ContractError: If there is no such contract, or it is wrong.
        DataError: If the data cannot be read.
    """
    store = ModelStore.open(settings)
    live = store.live.get(asked.name)
    manifest = None if live is None else store.bundle(asked.name, live.model_version).manifest
    contract = _contract(asked, manifest)
    if asked.has_window and contract.event_time_column is None:
        raise RequestError(
            f"--from and --to pick rows by event time, and contract {contract.name!r} declares "
            "none. Leave them out, or name columns.event_time."
        )
    data, config = _data(asked, manifest), _config(asked, manifest)
    return RetrainPlan(
        asked=asked,
        data=data,
        contract=contract,
        config=config,
        champion=live.model_version if live else None,
        key=_key(asked, data, contract, config),
    )


def _contract(asked: RetrainRequest, manifest: BundleManifest | None) -> Contract:
    if asked.contract is not None:
        return read_contract(asked.contract)
    if manifest is None:
        raise _left_out(asked.name, "--contract")
    return manifest.contract


def _data(asked: RetrainRequest, manifest: BundleManifest | None) -> tuple[str, ...]:
    given = asked.data
    if not given:
        if manifest is None:
            raise _left_out(asked.name, "--data")
        by_role = {role: _of_role(manifest, role) for role in (PICKED_FROM, DATA)}
        given = by_role[PICKED_FROM] or by_role[DATA]
    paths = (source if is_database_uri(source) else str(Path(source).resolve()) for source in given)
    return tuple(dict.fromkeys(paths))


def _of_role(manifest: BundleManifest, role: str) -> tuple[str, ...]:
    return tuple(source["path"] for source in manifest.data if source.get("role", DATA) == role)


def _config(asked: RetrainRequest, manifest: BundleManifest | None) -> RunConfig:
    config = asked.config or _champions_config(asked.name, manifest)
    return config if asked.seed is None else config.model_copy(update={"seed": asked.seed})


def _champions_config(name: str, manifest: BundleManifest | None) -> RunConfig:
    if manifest is None:
        return RunConfig()
    config = RunConfig.model_validate(manifest.training["config"])
    if config.strategy.kind == "registered":
        raise RequestError(
            f"The champion of {name!r} was made elsewhere and cannot be trained again. Name a "
            "--strategy or --config, or bring the new model: whitecrow register."
        )
    # What a search has found is what is trained again; another search is asked for by name.
    return config.model_copy(update={"search": None})


def _left_out(name: str, option: str) -> RequestError:
    return RequestError(
        f"There is no champion of {name!r} to take {option} from. Give {option}, or train a first "
        "version: whitecrow train."
    )


def _key(
    asked: RetrainRequest, data: tuple[str, ...], contract: Contract, config: RunConfig
) -> str:
    """Return the SHA-256 of all that decides what comes out; a policy's settings do not.

    A window that ends names its rows: the table may have grown since. Without an end the tables'
    content stands in.
    """
    is_bounded = asked.knows_until is not None
    return sha256_json(
        {
            "name": asked.name,
            "contract": contract.data_hash(),
            "config": config.model_dump(mode="json"),
            "data": data,
            "since": _text(asked.since),
            "until": _text(asked.until),
            "as_of": _text(asked.knows_until),
            "sources": [] if is_bounded else [fingerprint(source).sha256 for source in data],
            **({"accepts_drift": True} if asked.accepts_drift else {}),
        }
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
