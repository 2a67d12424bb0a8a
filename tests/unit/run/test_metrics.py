"""What a command may log: what is taken can be read again, and all else is refused."""

import pytest

from mountd.errors import UsageError
from mountd.run.metrics import append_metric, append_tag, read_metrics, read_tags


def test_a_step_may_be_any_number(tmp_path):
    append_metric(tmp_path, "loss", 1, step=3)
    append_metric(tmp_path, "loss", 2, step=2.5)
    assert [(metric.value, metric.step) for metric in read_metrics(tmp_path)] == [(1, 3), (2, 2.5)]


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [(None, None, "its name must be text"), (3, None, "its name must be text"), ("a", "x", "its step must be a num")],
)
def test_what_could_not_be_read_again_is_refused(tmp_path, name, step, said):
    with pytest.raises(UsageError, match=said):
        append_metric(tmp_path, name, 1, step=step)
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("tag", [None, 3, "\ud800"])
def test_a_tag_that_could_not_be_read_again_is_refused(tmp_path, tag):
    with pytest.raises(UsageError, match="tag "):
        append_tag(tmp_path, tag, "x")
    assert read_tags(tmp_path) == {}
