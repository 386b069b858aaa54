"""HTTP mechanics: routes, bodies, authentication, problems, pagination, metrics."""
