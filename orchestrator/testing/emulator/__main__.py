"""`python -m orchestrator.testing.emulator`: a Databricks workspace on loopback."""

import sys

from orchestrator.testing.emulator.jobs_api import main

if __name__ == "__main__":
    sys.exit(main())
