"""A store in memory whose next calls fail."""


def failing(inner, *errors):
    """Make the next calls of `inner` fail with `errors`."""
    pending = list(errors)

    async def fail(method, key):
        if pending:
            raise pending.pop(0)

    inner.on_call = fail
