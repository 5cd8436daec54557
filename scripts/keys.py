"""Prints fresh values for every secret of the configuration, ready for an env file.

Uses nothing but the standard library, and stores nothing: what is printed is not kept anywhere else.
"""

from __future__ import annotations

import base64
import hashlib
import secrets


def env_file() -> str:
    """Return the lines. The API key itself stands in a comment: the service is only given its digest."""
    api_key = secrets.token_urlsafe(32)

    return "\n".join(
        (
            "# Keep this file to yourself (chmod 600). None of these values is stored anywhere else.",
            f"COUNTERSIGN_SIGNING_KEYS={secrets.token_urlsafe(32)}",
            f"COUNTERSIGN_PAYLOAD_KEYS={secrets.token_urlsafe(32)}",
            "",
            "# For the clients of the workflow API; the service needs only the digest below:",
            f"# Authorization: Bearer {api_key}",
            "# A key may do everything unless :read (look) or :start (look and start workflows) stands behind its",
            "# digest.",
            f"COUNTERSIGN_API_KEYS=operator:{hashlib.sha256(api_key.encode()).hexdigest()}",
            "",
            "# A second factor: with it, machine callbacks must carry Standard Webhooks headers too.",
            "# Leave it out where the callers have only their token. For the notebook, put this value and the origin",
            "# of COUNTERSIGN_PUBLIC_URL into a Databricks secret scope:",
            "#   databricks secrets put-secret countersign caller",
            "#   databricks secrets put-secret countersign receiver",
            "# and give its job proof_scope=countersign, proof_key=caller and proof_origin=receiver.",
            f"COUNTERSIGN_CALLER_SECRETS=whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "",
        )
    )


if __name__ == "__main__":
    print(env_file(), end="")
