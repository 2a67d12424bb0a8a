"""Mount, download, upload: short compositions of the layers below."""
