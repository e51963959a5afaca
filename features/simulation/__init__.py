"""Seeded simulators: a stream of card transactions, and loan applications."""
