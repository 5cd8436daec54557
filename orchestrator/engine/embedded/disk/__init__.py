"""What the embedded engine writes: its file, the journal in it, one process per file."""
