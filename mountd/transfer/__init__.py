"""Bulk copies with progress, verification and resume."""
