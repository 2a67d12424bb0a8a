"""What a dataset is: where its files are, and which of them. Plain values; nothing is looked up.

Paths are SOURCE texts in one canonical spelling, with absolute paths and with `*` and `**` as patterns
(`catalog.pattern`). Two definitions with one `digest` name the same files.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from mountd.catalog import pattern
from mountd.catalog.selection import Step
from mountd.catalog.source import (
    BlobUrl,
    DatasetReference,
    DataYaml,
    LocalPath,
    Source,
    WebUrl,
    parse_source,
    store_path,
)
from mountd.catalog.web_url import parse_web_url, shown_url
from mountd.errors import UsageError
from mountd.observe.redaction import redact

DatasetType = Literal["uri_file", "uri_folder", "mltable", "file_dataset", "tabular"]
_PATH_SAFE = "/-_.~!$&'()*+,;=:@"


class DatasetDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of a dataset are.

    `uri_file`, `uri_folder` and `mltable` have one path and no steps, as in Azure ML's CLI v2; an `mltable` shows its
    directory. `file_dataset` (any number of paths, patterns, steps) and `tabular` are extensions.
    """

    type: DatasetType = "file_dataset"
    paths: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    """Which of the files, in order; none: all."""
    format: str | None = None
    """Of a tabular one: delimited, parquet or jsonlines. mountd itself does not look inside files."""
    options: dict[str, Any] = {}
    """How that format is read."""

    @property
    def shown_paths(self) -> list[str]:
        """The paths for people: a web server's token may have any name, so no part of a query is among them."""
        return [shown_url(path) if path.startswith(("http:", "https:")) else redact(path) for path in self.paths]

    @property
    def digest(self) -> str:
        """Equal for equal definitions, for ever; SHA-256 in hex."""
        value = msgspec.to_builtins(self)
        if self.type in {"uri_file", "uri_folder"}:
            value["type"] = "file_dataset"  # what is there says whether it is one file
        return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


class DatasetPath(msgspec.Struct, frozen=True):
    """One path of a dataset, taken apart."""

    source: Source
    """A store and a place in it."""
    pattern: str
    """What to look for below it, percent-encoded; "" for all of it."""
    text: str
    """As it was written, with secrets redacted."""


def define(
    paths: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    type: DatasetType = "file_dataset",  # noqa: A002 - the field's name
    steps: Sequence[Step] = (),
    format: str | None = None,  # noqa: A002 - the field's name
    options: Mapping[str, Any] | None = None,
) -> DatasetDefinition:
    """Return the definition of a dataset with these paths, each checked and in its canonical spelling.

    Args:
        paths: SOURCE texts with or without patterns; no datasets and no data YAML among them.
        environ: as in `parse_source`.
        cwd: where relative paths start; absolute.
        type: what the paths are.
        steps: which of the files.
        format: of a tabular dataset.
        options: how that is read.

    Raises:
        UsageError: a path is malformed, or holds a SAS, which does not last as long as a dataset does.
    """
    if not paths:
        raise UsageError("a dataset without a path has no files; name at least one")
    canonical = tuple(canonical_path(path, environ, cwd) for path in paths)
    if type in {"uri_file", "uri_folder", "mltable"} and len(canonical) > 1:
        raise UsageError(f"type: {type} takes one path; a list of them is type: file_dataset")
    return DatasetDefinition(type=type, paths=canonical, steps=tuple(steps), format=format, options=dict(options or {}))


def canonical_path(text: str, environ: Mapping[str, str], cwd: Path) -> str:
    """Return a path of a dataset in the spelling that is kept.

    Raises:
        UsageError: it is malformed, of a kind that no dataset can hold, or carries a SAS.
    """
    path = parse_path(text, environ, cwd)
    source = path.source
    if isinstance(source, BlobUrl) and source.sas is not None:
        raise UsageError(
            f"{path.text}: a dataset outlives its SAS; register a datastore with it and name azureml://datastores/…"
        )
    if isinstance(source, WebUrl):
        return parse_web_url(source.url).url
    literal = source.uri.replace("*", "%2A")  # in a URI a bare star is a pattern
    return f"{literal.rstrip('/')}/{path.pattern}" if path.pattern else literal


def parse_path(text: str, environ: Mapping[str, str], cwd: Path) -> DatasetPath:
    """Return one path of a dataset, taken apart; a relative one starts at `cwd`.

    Raises:
        UsageError: it is malformed, or of a kind that no dataset can hold.
    """
    shown = redact(text)
    whole = parse_source(text, environ)
    if isinstance(whole, DatasetReference):
        raise UsageError(f"{shown}: a dataset cannot be a part of another; name its paths")
    if isinstance(whole, DataYaml):
        whole = LocalPath(whole.path)
    if isinstance(whole, WebUrl):
        return DatasetPath(whole, "", shown_url(text))  # a web server cannot be asked for a listing
    is_path = isinstance(whole, LocalPath) and not text.lower().startswith("file:")
    base, wanted = pattern.split_path(text) if is_path else pattern.split_uri(text)
    if not wanted:
        return DatasetPath(_absolute(whole, cwd), "", shown)
    if ".." in wanted.split("/"):
        raise UsageError(f"{shown}: a pattern cannot hold a `..` segment")
    source = LocalPath(base) if is_path else parse_source(base, environ)
    if is_path and Path(cwd, text).exists():
        return DatasetPath(_absolute(LocalPath(text), cwd), "", shown)  # a file with a star in its name
    return DatasetPath(_absolute(source, cwd), wanted, shown)


def datastore_path(datastore: str, path: str) -> str:
    """Return the SOURCE text of `path`, in which `*` and `**` are patterns, in a datastore.

    Raises:
        UsageError: a segment is `..`.
    """
    return f"azureml://datastores/{datastore}/paths/{quote(store_path(path, path), safe=_PATH_SAFE)}"


def _absolute(source: Source, cwd: Path) -> Source:
    if not isinstance(source, LocalPath):
        return source
    return LocalPath(os.path.abspath(cwd / source.path))  # resolve() would replace the user's links
