"""Load on a service and on its references: servers, bodies, generators of load."""
