"""Pages of strangers: fetched from public addresses only, read as text, and kept in files of the worker."""
