"""Control messages between command line, supervisor and worker."""
