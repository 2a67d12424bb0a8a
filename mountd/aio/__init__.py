"""The thread bridge, single-flight calls, deadlines and retries."""
