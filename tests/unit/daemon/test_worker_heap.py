"""The environment that puts a heap into huge pages."""

from mountd.daemon.worker_heap import with_huge_pages


def test_huge_pages_are_asked_for_beside_what_the_user_set():
    assert with_huge_pages({"A": "b"}) == {"A": "b", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    said = {"GLIBC_TUNABLES": "glibc.malloc.check=1"}
    assert with_huge_pages(said)["GLIBC_TUNABLES"] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    own = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert with_huge_pages(own) == own
