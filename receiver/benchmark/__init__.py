"""The benchmark: how fast the service is, compared with other programs on the same machine."""
