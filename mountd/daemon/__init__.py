"""The supervisor, which never touches storage, and its workers."""
