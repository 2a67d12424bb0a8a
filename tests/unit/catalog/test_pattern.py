"""Patterns: what is base and what is pattern, and what a pattern stands for."""

import pytest

from mountd.catalog.pattern import Pattern, Split, split_path, split_uri


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("azureml://datastores/ds/paths/a/b", Split("azureml://datastores/ds/paths/a/b", "")),
        ("azureml://datastores/ds/paths/a/**/*.jpg", Split("azureml://datastores/ds/paths/a/", "**/*.jpg")),
        ("azureml://datastores/ds/paths/d/000*.bin", Split("azureml://datastores/ds/paths/d/", "000*.bin")),
        ("https://h.blob.x/c/a%2Ab", Split("https://h.blob.x/c/a%2Ab", "")),
        ("https://h.blob.x/c/y-*/a%2A?sig=*", Split("https://h.blob.x/c/?sig=*", "y-*/a%2A")),
        ("file:///*", Split("file:///", "*")),
        ("file:///d/**/", Split("file:///d/", "**")),
    ],
)
def test_a_uri_is_split_before_the_first_star(text, split):
    assert split_uri(text) == split


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a/b", Split("a/b", "")),
        ("*.csv", Split(".", "*.csv")),
        ("/d/a%b/*?/x%", Split("/d/a%b/", "*?/x%25")),
        ("../d*/f", Split("../", "d*/f")),
    ],
)
def test_a_path_is_split_before_the_first_star(text, split):
    assert split_path(text) == split


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.jpg", ["a.jpg", ".jpg", "\n.jpg"], ["a/b.jpg", "a.jpgx", "ajpg"]),
        ("**/*.jpg", ["a.jpg", "d/a.jpg", "d/e/a.jpg"], ["a.png", "d/a.jpg/x"]),
        ("**", ["a", "d/a"], [""]),
        ("year-*/*.jpg", ["year-1/a.jpg"], ["year-1/d/a.jpg", "a/year-1/a.jpg"]),
        ("d/**/x", ["d/x", "d/a/b/x"], ["d/ax", "x"]),
        ("a%2A*", ["a*", "a*b"], ["ab"]),
        ("a**b", ["ab", "axb"], ["a/b"]),
        ("[ab]?", ["[ab]?"], ["a1"]),
        ("%FF*", ["\udcffx"], ["x"]),
    ],
)
def test_what_a_pattern_stands_for(pattern, yes, no):
    made = Pattern(pattern)
    assert [path for path in yes if not made.matches(path)] == []
    assert [path for path in no if made.matches(path)] == []


def test_segments_one_by_one():
    made = Pattern("year-*/a/**/*.jpg")
    assert (made.plain_depth, made.depth) == (2, 4)
    assert made.step_matches(0, "year-9")
    assert not made.step_matches(1, "b")
    assert Pattern("a/*").plain_depth == 2
