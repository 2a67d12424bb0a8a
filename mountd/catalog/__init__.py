"""Workspaces, datastores and SOURCE forms: files and names, no I/O to storage."""
