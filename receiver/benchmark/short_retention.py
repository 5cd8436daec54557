"""`python -m receiver.benchmark.short_retention SECONDS`: the receiver, which deletes finished workflows that soon.

The retention is no setting, because an operator gains nothing by a shorter one. The soak needs one, so it replaces the
engine's default in its own process.
"""

from __future__ import annotations

import functools
import sys
from datetime import timedelta
from unittest.mock import patch

from orchestrator.engine import connecting
from orchestrator.engine.embedded.connection import EmbeddedConnection
from receiver.__main__ import main

if __name__ == "__main__":
    retention = timedelta(seconds=float(sys.argv[1]))

    with patch.object(connecting, "EmbeddedConnection", functools.partial(EmbeddedConnection, retention=retention)):
        sys.exit(main([]))
