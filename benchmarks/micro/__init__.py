"""Single costs that decided something; each module says what, and prints a table when run."""
