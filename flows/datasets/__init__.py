"""Data sets from the decision log: the service's traffic, with the labels that became known."""
