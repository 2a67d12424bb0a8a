"""Files as data frames: types, nulls, and what is said of files that are not what they should be."""

import json

import numpy as np
import pandas as pd
import pytest

from mountd.azureml.data import tables
from mountd.azureml.exceptions import UserErrorException
from mountd.catalog.model import LocalSpec, Location

DELIMITED = {"separator": ",", "header": True, "encoding": "utf8", "infer_column_types": True}


@pytest.fixture
def read(tmp_path):
    """Writes files and reads them as one table."""

    def do(files, form="delimited", **options):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        place = Location(store=LocalSpec(path=str(tmp_path)), path="", source="files")
        defaults = DELIMITED if form == "delimited" else {}
        return tables.read(place, list(files), form, defaults | options)

    return do


def test_types_are_found_out(read):
    frame = read(
        {
            "t.csv": "whole,half,number,truth,time,text,mixed\n"
            "1,1,0.5,true,2020-01-31,a,1\n"
            "-2,,1e3,False,2020-02-01 12:00:00.25,b,x\n"
        }
    )
    assert [str(kind) for kind in frame.dtypes[:4]] == ["int64", "float64", "float64", "bool"]
    assert frame["time"][1] == pd.Timestamp("2020-02-01T12:00:00.25")
    assert list(frame["mixed"]) == ["1", "x"]
    assert np.isnan(frame["half"][1])


@pytest.mark.parametrize("empty", ["", "   ", "NaN", '""'])
def test_what_is_empty_is_null(read, empty):
    frame = read({"t.csv": f"number,text,time,truth,nothing\n1,a,2020-01-31,true,{empty}\n{','.join([empty] * 5)}\n"})
    assert frame.iloc[1].isna().all()
    assert frame["text"][1] is None
    assert frame["number"].dtype == np.float64
    assert frame["truth"][0] is True
    assert frame["nothing"].isna().all()


def test_empty_text_may_stay(read):
    frame = read({"t.csv": 'a,b\n"",1\nx,2\n'}, empty_as_string=True)
    assert list(frame["a"]) == ["", "x"]


def test_types_may_be_left_alone(read):
    frame = read({"t.csv": "a,b\n007,\n"}, infer_column_types=False)
    assert frame["a"][0] == "007"
    assert frame["b"][0] is None


def test_what_only_looks_like_a_type_is_text(read):
    frame = read({"t.csv": "big,date,NA\n" + "9" * 30 + ",2020-02-31,NA\n"})
    assert frame["date"][0] == "2020-02-31"
    assert frame["NA"][0] == "NA"
    assert frame["big"].dtype == np.float64


def test_several_files_are_one_table(read):
    frame = read(
        {"b.csv": "a,b\n1,x\n", "empty.csv": "", "blank.csv": "\n \n", "sub/a.csv": "b,a\ny,2\n"}, include_path=True
    )
    assert list(frame.columns) == ["Path", "a", "b"]
    assert frame.to_dict("list") == {"Path": ["/b.csv", "/sub/a.csv"], "a": [1, 2], "b": ["x", "y"]}


def test_separator_header_and_encoding(read):
    frame = read({"t.txt": "ä\tb\n".encode("latin-1")}, separator="\t", header=False, encoding="latin-1")
    assert list(frame.columns) == ["Column1", "Column2"]
    assert frame["Column1"][0] == "ä"


def test_parquet(read, tmp_path):
    pd.DataFrame({"n": [1, 2], "s": ["", None], "t": pd.to_datetime(["2020-01-01", None])}).to_parquet(tmp_path / "x")
    frame = read({"t.parquet": (tmp_path / "x").read_bytes()}, "parquet")
    assert list(frame["n"]) == [1, 2]
    assert list(frame["s"]) == [None, None]
    assert frame["t"].isna().tolist() == [False, True]


def test_json_lines(read):
    lines = [{"a": 1, "b": "x"}, {"a": 2.5, "b": " "}, {"c": [1]}]
    frame = read({"t.jsonl": "\n".join(map(json.dumps, lines)) + "\n\n"}, "jsonlines")
    assert list(frame["b"]) == ["x", None, None]
    assert frame["c"][2] == [1]
    with pytest.raises(UserErrorException, match=r"bad\.jsonl: cannot be read as jsonlines: line 2: "):
        read({"bad.jsonl": '{"a": 1}\nnothing\n'}, "jsonlines")
    assert len(read({"bad.jsonl": '{"a": 1}\nnothing\n[1]\n'}, "jsonlines", invalid_lines="drop")) == 1


@pytest.mark.parametrize(
    ("form", "content"), [("delimited", "a,b\n1,2,3,4\n1\n1,2,3,4,5\n"), ("delimited", b"\xff\n"), ("parquet", "none")]
)
def test_a_file_that_is_something_else_is_named(read, form, content):
    with pytest.raises(UserErrorException, match=rf"t: cannot be read as {form}: "):
        read({"t": content}, form)


def test_rows(read):
    files = {"t.csv": "a\n" + "".join(f"{number}\n" for number in range(100))}
    assert list(read(files, rows=[["skip", 3], ["take", 2]])["a"]) == [3, 4]
    some, rest = (read(files, rows=[["part", *ends, 7]])["a"] for ends in ([0.0, 0.3], [0.3, 1.0]))
    assert sorted([*some, *rest]) == list(range(100))
    assert 10 < len(some) < 50
    assert list(some.index) == list(range(len(some)))


def test_nothing_is_left_of_the_download(read, tmp_path_factory, monkeypatch):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tables.tempfile, "tempdir", str(scratch))
    read({"t.csv": "a\n1\n"})
    assert list(scratch.iterdir()) == []


def test_rows_longer_than_the_header_are_refused_not_shifted(read):
    with pytest.raises(UserErrorException, match=r"t\.csv: .*more fields than the header"):
        read({"t.csv": "a,b\n1,2,3\n4,5,6\n"})


def test_a_separator_of_several_characters_is_taken_as_it_is(read):
    assert read({"t.csv": "a||b\n1||2\n"}, separator="||").to_dict("list") == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("name", "python"),
    [("iso88591", "latin1"), ("windows1252", "cp1252"), ("utf8bom", "utf-8-sig"), ("utf8", "utf-8-sig")],
)
def test_encodings_have_the_names_of_azure(read, name, python):
    assert read({"t.csv": "a\né\n".encode(python)}, encoding=name).to_dict("list") == {"a": ["é"]}
    assert read({"t.jsonl": '{"a": "é"}\n'.encode(python)}, "jsonlines", encoding=name).to_dict("list") == {"a": ["é"]}


def test_whole_numbers_of_64_bits_lose_no_digit(read):
    frame = read({"t.csv": "id,large\n1234567890123456789,9999999999999999999\n-9223372036854775808,1\n"})
    assert list(frame["id"]) == [1234567890123456789, -9223372036854775808]
    assert frame["large"].dtype == np.float64
