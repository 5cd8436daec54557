"""HTTP below the surfaces: limits, bodies, forms, authentication, problems, telemetry."""
