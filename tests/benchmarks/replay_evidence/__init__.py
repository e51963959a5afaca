"""Real tables replayed as traffic: what is measured by ``bench_replay.py``."""
