"""What the embedded engine writes: its file and the journal in it, with one process per file."""
