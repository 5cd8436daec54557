"""What callers reach: callbacks, approvals, webhooks, the workflow API."""
