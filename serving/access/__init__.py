"""Who may ask, how often, and for how long: keys, scopes, rates, bounds and deadlines.

``keys`` are kept in the state database; ``gate`` is what a running service knows of them;
``rates`` bounds what one key asks, ``admission`` what all of them ask at once; ``exposure`` says
which addresses a service may listen on without keys; ``connections`` ends what never arrives.
"""
