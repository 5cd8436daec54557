"""`python -m orchestrator.testing.emulator`: a Databricks workspace on loopback."""

from orchestrator.testing.emulator.jobs_api import main

main()
