"""Azure's own packages, in a virtual environment of their own: `scripts/test --clients` makes it."""

from pathlib import Path

PYTHON = Path(__file__).parents[2] / ".tools/clients/bin/python"
