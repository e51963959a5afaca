"""Boosted trees in the place of a network: fitted, and exported with the same signature."""

from balancing.rivals.export import trees_onnx_bytes
from balancing.rivals.registry import TreeConfig, build_rival
from flows.fitted_model import FittedModel, logits_of
from flows.fitting import FeatureRows
from flows.rival_fitting import RivalSettings, fit_rival

NOTE = (
    "Trees have no epochs, hidden layers or linear head: there is no training curve and no "
    "memorisation to draw, and tau_normalisation is not for them."
)


def fit_trees(
    rows: FeatureRows, config: TreeConfig, *, seed: int, few_positives: int, n_folds: int
) -> FittedModel:
    """Fit trees by the rule for few positives.

    Raises:
        MissingExtra: If the library is not installed.
    """
    trained = fit_rival(
        rows,
        build_rival(config),
        RivalSettings(seed=seed, few_positives=few_positives, n_folds=n_folds),
    )
    fitted = trained.fitted
    assert fitted.trees is not None
    return FittedModel(
        onnx=trees_onnx_bytes(
            fitted.trees(),
            n_numeric=len(rows.feature_set.numeric),
            n_categorical=len(rows.feature_set.categorical),
        ),
        logits=lambda arrays: logits_of(fitted.log_odds(arrays)),
        fit_index=trained.fit_index,
        calibration_index=trained.calibration_index,
        calibration_logits=logits_of(trained.calibration_log_odds),
        how=trained.how,
        seconds=trained.seconds,
        notes=(NOTE,),
    )
