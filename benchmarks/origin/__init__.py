"""A Blob-shaped HTTP server that is faster than its clients and fails on request.

`process.running_origin` starts it; the rest runs in that process of its own.
"""
