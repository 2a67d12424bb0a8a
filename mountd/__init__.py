"""mountd: Azure storage, web URLs and local directories as POSIX paths for training jobs."""
