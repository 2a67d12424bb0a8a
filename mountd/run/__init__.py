"""A command with its inputs mounted or downloaded and its outputs uploaded."""
