"""Tabular datasets: rows of delimited, Parquet or JSON-lines files, as a pandas data frame."""

from typing import TYPE_CHECKING, Any

import msgspec

from mountd.azureml import blocking
from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_dataset import AbstractDataset, seed_or_random
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.model import DatasetSpec

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = {"delimited": "ParseDelimited", "parquet": "ReadParquetFile", "jsonlines": "ParseJsonLines"}


class TabularDataset(AbstractDataset):
    """A dataset of rows."""

    _has_files = False

    @as_api_errors()
    def to_pandas_dataframe(self, on_error: str = "null", out_of_range_datetime: str = "null") -> "pd.DataFrame":
        """Return all rows.

        What is empty, blank or NaN in the files is null in the frame. The two arguments are taken and left: a column
        gets a type only if all of its values fit.

        Raises:
            UserErrorException: pandas is not installed, or a file is not what the dataset says.
            AzureMLException: the files cannot be read.
        """
        for name, value in (("on_error", on_error), ("out_of_range_datetime", out_of_range_datetime)):
            if value not in {"null", "fail"}:
                raise UserErrorException(f"{name} is 'null' or 'fail', not {value!r}.")
        from mountd.azureml.data import tables  # noqa: PLC0415 - imports pandas, which may not be there
        from mountd.modes.datasets import listing_of  # noqa: PLC0415 - trio

        location = self.location()
        spec = location.store
        assert isinstance(spec, DatasetSpec)
        paths = list(blocking.run(lambda: listing_of(spec)).paths())
        return tables.read(location, paths, str(self._definition.format), self._definition.options)

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """Return the dataset as the input `name` of a run, whose script gets its id.

        Raises:
            UserErrorException: `name` cannot be an input's.
        """
        return DatasetConsumptionConfig(name, self)

    def take(self, count: int) -> "TabularDataset":
        """Return a dataset of the first `count` rows."""
        return self._with(["take", _count(count)])

    def skip(self, count: int) -> "TabularDataset":
        """Return a dataset without the first `count` rows."""
        return self._with(["skip", _count(count)])

    def take_sample(self, probability: float, seed: int | None = None) -> "TabularDataset":
        """Return a dataset that has each row with this probability; the same ones for one seed."""
        return self._with(["part", 0.0, _fraction(probability, "probability"), seed_or_random(seed)])

    def random_split(self, percentage: float, seed: int | None = None) -> "tuple[TabularDataset, TabularDataset]":
        """Return two datasets: about `percentage` (0 to 1) of the rows, and all others."""
        at, drawn = _fraction(percentage, "percentage"), seed_or_random(seed)
        return self._with(["part", 0.0, at, drawn]), self._with(["part", at, 1.0, drawn])

    def _with(self, step: list[Any]) -> "TabularDataset":
        # Steps of a definition choose files; rows are a matter of what reads them.
        options = {**self._definition.options, "rows": [*self._definition.options.get("rows", []), step]}
        return self._narrowed(msgspec.structs.replace(self._definition, options=options))

    def _steps_shown(self) -> list[str]:
        return [*super()._steps_shown(), _SHOWN.get(str(self._definition.format), "")]


def _count(count: int) -> int:
    if count < 0:
        raise UserErrorException(f"count is a number of rows, 0 or more, not {count!r}.")
    return count


def _fraction(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise UserErrorException(f"{name} is a number from 0 to 1, not {value!r}.")
    return float(value)


__getattr__ = absent(__name__)
