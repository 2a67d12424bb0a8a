"""Reads files into one pandas data frame, by the rules of tabular datasets.

- What is empty, blank or NaN is null: NaN in numbers, NaT in times, None in text.
- A column of text becomes whole numbers, numbers, truth values or times if every value of it that is not null is one.
- The files are downloaded first, to a directory that is gone when they have been read.
"""

import json
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mountd.azureml import blocking
from mountd.azureml.errors import UserErrorException
from mountd.catalog.model import Location

try:
    import numpy as np
    import pandas as pd
except ImportError as error:
    raise UserErrorException(
        f"Tabular datasets need pandas ({error.name} is not installed); install it with `pip install mountd[tabular]`."
    ) from None

# Everything that imports trio, and pyarrow, is imported where it is needed.
# ruff: noqa: PLC0415

_NULLS = ["", "NaN", "nan", "NAN"]
_ENCODINGS = {"utf8": "utf-8-sig", "utf8bom": "utf-8-sig", "iso88591": "iso8859-1", "windows1252": "cp1252"}
"""Azure ML's names that Python does not have, or reads with a mark of byte order as text."""
_TRUTHS = {"true": True, "false": False}
_TIME = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?"


def read(location: Location, paths: Sequence[str], form: str, options: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of all files of `location`, one file after the other.

    Args:
        location: where they are.
        paths: each file's path there.
        form: delimited, parquet or jsonlines.
        options: how that is read.

    Raises:
        UserErrorException: a file is not of this form.
        MountdError: the files could not be fetched, or not all of them.
    """
    from mountd.modes.download import download
    from mountd.transfer.progress import Progress

    with tempfile.TemporaryDirectory(prefix="mountd-table-") as directory:
        target = Path(directory)
        report = blocking.run(lambda: download(location, target, overwrite=True, progress=Progress()))
        report.check_complete(f"download of {location.source}")
        frames = [_read_file(target / path, path, form, options) for path in paths]
    frames = [frame for frame in frames if len(frame.columns)]
    if not frames:
        return pd.DataFrame()
    whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    names = whole.columns
    whole = pd.concat([_settled(whole.iloc[:, place], options) for place in range(len(names))], axis=1)
    whole.columns = names
    return _rows(whole, options.get("rows", []))


def _read_file(file: Path, name: str, form: str, options: Mapping[str, Any]) -> pd.DataFrame:
    try:
        if form == "delimited":
            frame = _delimited(file, options)
        elif form == "parquet":
            frame = _parquet(file)
        else:
            frame = _json_lines(file, options)
    except pd.errors.EmptyDataError:  # blank lines alone: no more than in a file of no bytes
        frame = pd.DataFrame()
    except pd.errors.ParserWarning:
        raise UserErrorException(f"{name}: cannot be read as {form}: rows have more fields than the header") from None
    except (ValueError, LookupError) as error:  # what pandas, pyarrow and codecs raise for what they cannot read
        raise UserErrorException(f"{name}: cannot be read as {form}: {' '.join(str(error).split())}") from None
    if options.get("include_path"):
        frame.insert(0, "Path", f"/{name}")
    return frame


def _delimited(file: Path, options: Mapping[str, Any]) -> pd.DataFrame:
    if not file.stat().st_size:
        return pd.DataFrame()
    separator = options.get("separator", ",")
    with warnings.catch_warnings():
        # Rows longer than the header: pandas would make their first fields an index and move all others.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file,
            sep=separator if len(separator) == 1 else re.escape(separator),
            header=0 if options.get("header", True) else None,
            index_col=False,
            dtype=object,
            keep_default_na=False,
            na_values=[] if options.get("empty_as_string") else _NULLS,
            encoding=_encoding(options),
            engine="c" if len(separator) == 1 else "python",
        )
    if not options.get("header", True):
        frame.columns = pd.Index([f"Column{number}" for number in range(1, len(frame.columns) + 1)])
    return frame


def _encoding(options: Mapping[str, Any]) -> str:
    name = str(options.get("encoding", "utf8"))
    return _ENCODINGS.get(name, name)


def _parquet(file: Path) -> pd.DataFrame:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserErrorException("Parquet files need pyarrow; install it with `pip install mountd[tabular]`.") from None
    return parquet.ParquetFile(file).read().to_pandas()


def _json_lines(file: Path, options: Mapping[str, Any]) -> pd.DataFrame:
    rows = []
    with file.open(encoding=_encoding(options)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")  # noqa: TRY004 - handled as the rest that is wrong
            except ValueError as error:
                if options.get("invalid_lines") == "drop":
                    continue
                raise ValueError(f"line {number}: {error}") from None
            rows.append(row)
    return pd.DataFrame.from_records(rows)


def _settled(column: "pd.Series[Any]", options: Mapping[str, Any]) -> "pd.Series[Any]":
    """Return `column` with its nulls and, if all of its values are texts of one type, with that type."""
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return column
    values = column.astype(object)
    texts = values.map(lambda value: isinstance(value, str))
    blank = values.isna()
    if not options.get("empty_as_string"):
        blank |= texts & values.map(lambda value: isinstance(value, str) and not value.strip())
    values = values.where(~blank, None)
    if options.get("infer_column_types", False) and bool((texts | blank).all()):
        return _typed(values, values[~blank])
    return values


def _typed(column: "pd.Series[Any]", there: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return `column`, whose values `there` are not null, as numbers, truth values or times if they all are."""
    if there.empty:
        return column
    text = there.astype(str).str.strip()
    if len(there) == len(column) and text.str.fullmatch(r"[+-]?\d{1,19}").all():
        numbers = pd.to_numeric(text)
        if numbers.dtype == np.int64:  # else one of them is too large
            return numbers
    if text.str.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?[iI]nf(?:inity)?").all():
        return column.map(_number).astype(np.float64)
    lower = text.str.lower()
    if lower.isin(list(_TRUTHS)).all():
        truths = column.map(lambda value: None if value is None else _TRUTHS[value.strip().lower()])
        return truths.astype(bool) if len(there) == len(column) else truths
    if text.str.fullmatch(_TIME).all():
        try:
            return pd.to_datetime(column, format="ISO8601")
        except ValueError:
            return column  # a 31st of February, or zones that differ: text after all
    return column


def _number(value: str | None) -> float:
    return float("nan") if value is None else float(value)


def _rows(frame: pd.DataFrame, steps: Sequence[Sequence[Any]]) -> pd.DataFrame:
    for step in steps:
        match step:
            case ["take", count]:
                frame = frame.iloc[:count]
            case ["skip", count]:
                frame = frame.iloc[count:]
            case ["part", start, stop, seed]:
                drawn = np.random.default_rng(seed).random(len(frame))
                frame = frame[(drawn >= start) & (drawn < stop)]
    return frame.reset_index(drop=True) if steps else frame
