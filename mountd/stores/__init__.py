"""Object access: one protocol, one module for each kind of storage."""
