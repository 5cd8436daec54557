import logging
logger = logging.getLogger("orchestrator")
from receiver.telemetry import configure_logging
