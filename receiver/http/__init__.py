"""HTTP below the surfaces: the server, limits, bodies, forms, authentication, problems, telemetry."""
