"""Conditions on the properties of files, written with Python's operators: `(size > 10) & (extension == '.jpg')`."""

from datetime import UTC, datetime
from typing import Any

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.errors import UserErrorException
from mountd.catalog.selection import COLUMNS


class DatasetExpression(PartlyAbsent):
    """A condition."""

    def __init__(self, terms: list[Any]) -> None:
        self.terms = terms

    def __and__(self, other: "DatasetExpression") -> "DatasetExpression":
        return DatasetExpression(["and", self.terms, other.terms])

    def __or__(self, other: "DatasetExpression") -> "DatasetExpression":
        return DatasetExpression(["or", self.terms, other.terms])

    def __invert__(self) -> "DatasetExpression":
        return DatasetExpression(["not", self.terms])

    def __bool__(self) -> bool:
        raise UserErrorException("A condition on files has no value of its own; combine conditions with &, | and ~.")


class FileColumn(PartlyAbsent):
    """A property of files."""

    def __init__(self, column: str) -> None:
        if column not in COLUMNS:
            raise UserErrorException(f"Files have no property {column!r}; they have {', '.join(COLUMNS)}.")
        self._column = column

    def __eq__(self, value: object) -> DatasetExpression:  # type: ignore[override] # a condition, not an answer
        return self._compared("==", value)

    def __ne__(self, value: object) -> DatasetExpression:  # type: ignore[override] # as above
        return self._compared("!=", value)

    def __lt__(self, value: object) -> DatasetExpression:
        return self._compared("<", value)

    def __le__(self, value: object) -> DatasetExpression:
        return self._compared("<=", value)

    def __gt__(self, value: object) -> DatasetExpression:
        return self._compared(">", value)

    def __ge__(self, value: object) -> DatasetExpression:
        return self._compared(">=", value)

    __hash__ = None  # type: ignore[assignment] # nothing that compares like this can be a key

    def _compared(self, operator: str, value: object) -> DatasetExpression:
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        return DatasetExpression([operator, self._column, value])


__getattr__ = absent(__name__)
