"""How fast mountd is: an origin of our own, two ceilings, the scenarios and what they are held against.

Run by `scripts/bench`; read `docs/PERFORMANCE.md`. Nothing in `mountd` imports this package; tests use `origin`.
"""
