"""The pyfuse3 adapter and its session."""
