"""The table of mount options in docs/CONFIGURATION.md, made from their declaration."""

from mountd.config.options import OPTIONS

_HEAD = ("Flag", "`-o` and config.yaml", "Variables, strongest first", "Value", "Default", "Meaning")


def option_table() -> str:
    """Return the options as a Markdown table, one line each."""
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
    for option in OPTIONS:
        variables = [option.variable, *([option.dataset_variable] if option.dataset_variable else [])]
        rows.append(
            (
                f"`{option.flag}`" if option.has_flag else "",
                f"`{option.key}`",
                ", ".join(f"`{variable}`" for variable in variables),
                option.unit,
                option.default_text,
                option.doc,
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
