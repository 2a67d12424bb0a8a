"""An MLTable's files."""

import pytest

from mountd.catalog.model import DatasetSource, DatasetSpec, LocalSpec, Location
from mountd.errors import UsageError
from mountd.run.mltable import evaluate

STORE = LocalSpec(path="/s")
HERE = Location(store=STORE, path="t", source="azureml://datastores/s/paths/t")


def find(source):
    return Location(store=LocalSpec(path="/other"), path=source.strip("/"), source=source)


def sources(text, location=HERE):
    spec = evaluate(text, location, find).store
    return [(spec.stores[item.store].path, item.path, item.pattern, item.is_file) for item in spec.sources]


def test_every_kind_of_path():
    text = "paths: [{file: ./a b.csv}, {folder: x/}, {pattern: 'd/**/*.csv'}, {file: /abs/f}, {pattern: /abs/*.txt}]\n"
    assert sources(text) == [
        ("/s", "t/a b.csv", "", True),
        ("/s", "t/x", "", False),
        ("/s", "t/d", "**/*.csv", False),
        ("/other", "abs/f", "", True),
        ("/other", "abs", "*.txt", False),
    ]


def test_a_registered_table_starts_at_its_directory():
    member = DatasetSource(store=0, path="deep", text="deep")
    registered = Location(
        store=DatasetSpec(name="t:1", stores=(STORE,), sources=(member,)), path="", source="azureml:t:1"
    )
    assert sources("paths: [{file: a}]\n", registered) == [("/s", "deep/a", "", True)]


def test_relative_paths_start_at_the_table():
    text = "paths: [{file: ../a//b.csv}, {folder: ..}, {pattern: ../d/*.csv}, {file: x/../../y}]\n"
    assert sources(text) == [
        ("/s", "a//b.csv", "", True),
        ("/s", "", "", False),
        ("/s", "d", "*.csv", False),
        ("/s", "y", "", True),
    ]


def test_beside_a_directory_of_this_node_is_anywhere_on_it():
    here = Location(store=LocalSpec(path="/data/t"), path="", source="./t")
    asked = []

    def found(source):
        asked.append(source)
        return Location(store=LocalSpec(path="/data"), path="a b.yml", source=source)

    assert evaluate("paths: [{file: '../a b.yml'}]\n", here, found).store.sources[0].path == "a b.yml"
    assert asked == ["file:///data/a%20b.yml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paths: []\n", "paths: names no files"),
        ("a: 1\n", "paths: is missing"),
        ("paths: [{file: a, folder: b}]\n", "paths.0: takes one of file, folder and pattern"),
        ("paths: [{}]\n", "paths.0: takes one of"),
        ("paths: [{files: a}]\n", "files: is not a known field"),
        ("paths: [{file: ../../up}]\n", "the path '../../up' leads out of the place that the MLTable is in"),
        ("paths: [{pattern: 'a*/../*.csv'}]\n", "a pattern cannot hold a `..` segment"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(UsageError) as caught:
        sources(text)
    assert said in caught.value.message
