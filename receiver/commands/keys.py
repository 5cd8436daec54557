"""Prints fresh values for every secret of the configuration, ready for an env file, or writes that file.

It uses only the standard library, and stores the values nowhere else.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import sys

TYPE_CHECKING = False  # as `typing` has it

if TYPE_CHECKING:
    from collections.abc import Sequence


def env_file() -> str:
    """Return the text of the file. The API key itself is in a comment: the service gets only its digest."""
    api_key = secrets.token_urlsafe(32)

    return "\n".join(
        (
            "# Keep this file to yourself (mode 0600). None of these values is stored anywhere else.",
            f"COUNTERSIGN_SIGNING_KEYS={secrets.token_urlsafe(32)}",
            f"COUNTERSIGN_PAYLOAD_KEYS={secrets.token_urlsafe(32)}",
            "",
            "# For clients of the workflow API. The service needs only the digest below:",
            f"# Authorization: Bearer {api_key}",
            "# A key may do everything unless :read (look) or :start (look and start workflows) follows its digest.",
            f"COUNTERSIGN_API_KEYS=operator:{hashlib.sha256(api_key.encode()).hexdigest()}",
            "",
            "# A second factor, off until you uncomment the last line. With it, machine callbacks must carry Standard",
            "# Webhooks headers too, and a token alone settles nothing. For the notebook, put this value and the",
            "# origin of COUNTERSIGN_PUBLIC_URL into a Databricks secret scope:",
            "#   databricks secrets put-secret countersign caller",
            "#   databricks secrets put-secret countersign receiver",
            "# and give its job proof_scope=countersign, proof_key=caller and proof_origin=receiver.",
            f"# COUNTERSIGN_CALLER_SECRETS=whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "",
        )
    )


def write(path: str) -> None:
    """Create this file. It is readable only by its owner from the start.

    Raises:
        OSError: it exists already, or it cannot be created.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)

    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(env_file())


def main(arguments: Sequence[str] | None = None, *, prog: str = "scripts/keys") -> int:
    """Print the values, or write them to a new file; return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description="Fresh values for every secret.")
    parser.add_argument("--write", metavar="FILE", help="create this file, readable only by you, and print nothing")
    path = parser.parse_args(arguments).write

    if path is None:
        print(env_file(), end="")
        return 0

    try:
        write(path)
    except OSError as error:
        print(f"{path} was not written: {error.strerror}", file=sys.stderr)
        return 2

    return 0


if __name__ == "__main__":
    sys.exit(main())
