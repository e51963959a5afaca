"""What recalibration is worth on real rows: the parts of ``bench_recalibration.py``."""
