"""HTTP below the surfaces: limits, bodies, forms, authentication, problem documents, telemetry."""
