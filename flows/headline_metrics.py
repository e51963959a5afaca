"""The test metrics that are told first: on terminals, in reports and in the registry."""

HEADLINE_METRICS = (
    "average_precision",
    "roc_auc",
    "recall_at_fpr_0.001",
    "recall_at_fpr_0.01",
    "precision_at_100",
    "value_detection_rate",
    "brier_score",
    "expected_calibration_error",
)
