"""Finding names: what it costs in requests to the store, and what is remembered. SEMANTICS: "Freshness"."""

import os
import threading

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]


def test_a_name_in_an_unlisted_directory_costs_two_questions(serve):
    server = serve({"file": b"x", "other": b"y"})
    with server.store_calls() as made:
        os.stat(server.path / "file")
    assert made == {"stat": 1, "is_directory": 1}


def test_a_missing_name_costs_two_questions_once(serve):
    server = serve({"file": b"x"})
    with server.store_calls() as made:
        for _ in range(5):
            assert not (server.path / "missing").exists()
    assert made == {"stat": 1, "is_directory": 1}


def test_the_third_name_starts_the_listing_and_then_names_are_free(serve):
    server = serve({f"{index}": b"x" for index in range(100)})
    with server.store_calls() as made:
        for index in range(100):
            os.stat(server.path / f"{index}")
        for index in range(100):
            assert not (server.path / f"missing{index}").exists()
    assert made == {"stat": 2, "is_directory": 2, "list_page": 1}


def test_after_a_listing_missing_names_are_free(serve):
    server = serve({"a": b"", "b": b""})
    os.listdir(server.path)
    with server.store_calls() as made:
        for index in range(50):
            assert not (server.path / f"missing{index}").exists()
    assert made == {}


def test_without_a_ttl_every_lookup_asks(serve):
    server = serve({"file": b"x"}, ttl_s=0)
    with server.store_calls() as made:
        for _ in range(3):
            os.stat(server.path / "file")
            assert not (server.path / "missing").exists()
    assert made["stat"] == 6
    assert "list_page" not in made


def test_many_who_ask_for_one_name_ask_once(serve):
    server = serve({"file": b"x"})
    server.fault(method="stat", block=True)
    sizes = []
    askers = [threading.Thread(target=lambda: sizes.append(os.stat(server.path / "file").st_size)) for _ in range(16)]
    for asker in askers:
        asker.start()
    server.wait_blocked(1)
    server.clear_faults()
    for asker in askers:
        asker.join()
    assert sizes == [1] * 16
    assert server.calls()["stat"] == 1


def test_a_deep_path(serve):
    key = "/".join(f"level{index}" for index in range(60)) + "/file"
    server = serve({key: b"deep"})
    assert (server.path / key).read_bytes() == b"deep"
    assert [name for _, _, files in os.walk(server.path) for name in files] == ["file"]


def test_a_path_of_the_longest_length(serve):
    key = "/".join(["n" * 200] * 18) + "/file"
    server = serve({key: b"long"})
    assert (server.path / key).read_bytes() == b"long"


def test_dots_in_paths(serve):
    server = serve({"dir/sub/file": b"x", "top": b"y"})
    for path in ("dir/./sub/../sub/file", "dir/sub/../../top", "./dir/sub/file", "dir/sub/../../../mnt/top"):
        assert os.path.exists(f"{server.path}/{path}")
    os.chdir(server.path / "dir" / "sub")
    try:
        assert os.getcwd() == str(server.path / "dir" / "sub")
        assert os.path.samefile("../../top", server.path / "top")
    finally:
        os.chdir("/")


def test_names_differ_in_case_and_form(serve):
    server = serve({"Name": b"upper", "\u00e9": b"composed"})
    for absent in ("name", "NAME", "e\u0301"):
        assert not (server.path / absent).exists()


def test_a_store_that_refuses_is_not_taken_for_a_missing_name(serve):
    server = serve({"file": b"x"})
    server.expect_log("request failed")
    server.fault(method="stat", times=1, error="DeniedError")
    with pytest.raises(PermissionError):
        os.stat(server.path / "file")
    assert os.stat(server.path / "file").st_size == 1


def test_a_name_that_failed_once_is_asked_for_again(serve):
    server = serve({"file": b"x"}, deadline_s=1.0)
    server.expect_log("request failed")
    server.fault(method="stat", error="UnavailableError")
    with pytest.raises(OSError, match="Input/output error"):
        os.stat(server.path / "file")
    server.clear_faults()
    assert os.stat(server.path / "file").st_size == 1


def test_names_of_one_directory_are_asked_for_side_by_side(serve):
    server = serve({"a": b"x", "b": b"y"}, engine="direct")
    server.fault(method="stat", block=True)
    sizes = []
    threads = [
        threading.Thread(target=lambda name=name: sizes.append(os.stat(server.path / name).st_size), daemon=True)
        for name in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    server.wait_until(lambda counters: counters["blocked"] == 2)
    server.call("clear_faults")
    for thread in threads:
        thread.join(20)
    assert sizes == [1, 1]
