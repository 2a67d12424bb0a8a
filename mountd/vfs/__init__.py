"""File-system semantics without a kernel."""
