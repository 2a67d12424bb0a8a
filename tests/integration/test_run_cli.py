"""`mountd run` as a user runs it: real mounts, real transfers, a real command."""

import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mounts import PROGRAM
from tests.support.processes import process_is_over
from tests.support.run_node import PATIENCE_S, STORE

pytestmark = pytest.mark.fuse

DATA = f"data={STORE}/paths/train"


@pytest.fixture
def node(run_node):
    run_node.put({"train/a.txt": "first\n", "train/deep/b.txt": "second\n", "other/big.bin": "x" * 100_000})
    return run_node


def run(node, *words, status=0, **environment):
    """`words` up to "--" are options, what follows is the command."""
    return node.run("run", *words, check=status, **environment)


def test_a_mounted_input_is_read_through_every_way_to_name_it(node):
    script = """
        set -e
        cat "$AZUREML_DATAREFERENCE_data/a.txt" "$AZURE_ML_INPUT_data/a.txt" "$data/a.txt" "$DATA/a.txt"
        cat "$1/a.txt" "$2/deep/b.txt" "$3"
        [ "$(stat -f -c %T "$data")" = fuseblk ] || [ "$(stat -f -c %T "$data")" = fuse ]
    """
    done = run(
        node, "--mount", DATA, "--",
        "sh", "-c", script, "sh", "$AZUREML_DATAREFERENCE_data", "${{inputs.data}}", "$data/a.txt",
    )  # fmt: skip
    assert done.stdout == "first\n" * 5 + "second\nfirst\n"


def test_standard_output_is_the_commands_alone(node):
    done = run(node, "--mount", DATA, "--", "sh", "-c", "echo out; echo err >&2")
    assert done.stdout == "out\n"
    assert "err\n" in done.stderr


def test_the_log_has_the_lines_people_know_in_their_order(node):
    done = run(node, "--mount", DATA, "--", "echo", "--data_path", "$data", "0.003")
    mount_point = done.stdout.removeprefix("--data_path ").removesuffix(" 0.003\n")
    assert done.stderr.splitlines() == [
        "Processing 'data'.",
        "Mode: 'mount'.",
        f"Mounting data to {mount_point}.",
        f"Mounted data to {mount_point} as folder.",
        f"Current directory:  {node.directory}",
        "Preparing to call script [ echo ] with arguments: ['--data_path', '$data', '0.003']",
        f"After variable expansion, calling script [ echo ] with arguments: ['--data_path', '{mount_point}', '0.003']",
        f"Unmounting {mount_point}.",
        f"Finishing unmounting {mount_point}.",
    ]


def test_standard_input_is_the_commands(node):
    process = node.start_run("--mount", DATA, "--", "cat", stdin=subprocess.PIPE)
    out, _ = process.communicate("typed\n", PATIENCE_S)
    assert (process.returncode, out) == (0, "typed\n")


def test_options_of_the_command_need_no_dashes_before_it(node):
    done = run(node, "--mount", DATA, "ls", "-1", "--mount", "$data", status=2)
    assert "ls: unrecognized option '--mount'" in done.stderr
    assert run(node, "--mount", DATA, "--", "echo", "--", "-x").stdout == "-- -x\n"


def test_a_mount_a_download_and_an_upload_in_one_run(node):
    done = run(
        node,
        *("--mount", DATA),
        *("--download", f"bulk={STORE}/paths/other=./in put"),
        *("--upload", f"model=./out={STORE}/paths/models/m1"),
        "--",
        *("sh", "-c", 'mkdir out; cat "$1"/a.txt "$2"/big.bin > out/model; echo "$2"', "sh", "$data", "$bulk"),
    )
    assert done.stdout == f"{node.directory}/in put\n"
    assert (node.store / "models/m1/model").read_text() == "first\n" + "x" * 100_000
    assert (node.directory / "in put/big.bin").read_text() == "x" * 100_000  # a download with a PATH stays
    assert done.stderr.splitlines()[-4:-2] == [
        "Uploading output 'model'.",
        "Uploaded output 'model' to azureml://datastores/workspaceblobstore/paths/models/m1.",
    ]


def test_a_download_without_a_path_is_a_plain_directory_that_is_gone_afterwards(node):
    done = run(node, "--download", DATA, "--", "sh", "-c", 'cat "$data/deep/b.txt"; rm "$data/a.txt"; echo "$data"')
    content, path = done.stdout.splitlines()
    assert content == "second"
    assert not Path(path).exists()
    assert (node.store / "train/a.txt").exists()


def test_a_download_shows_what_the_source_holds_now(node):
    command = ("--download", f"{DATA}=./in", "--", "cat", "in/a.txt")
    assert run(node, *command).stdout == "first\n"
    node.put({"train/a.txt": "changed\n"})
    assert run(node, *command).stdout == "changed\n"


def test_closed_streams_are_closed_to_the_command_and_to_nothing_else(node):
    words = ["run", "--mount", DATA, "--", "sh", "-c", 'cat "$data/a.txt" >&2 && exit 9']
    for closed in ("2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        command = f'exec "$0" {shlex.join(words)} {closed}'
        done = subprocess.run(["sh", "-c", command, PROGRAM], cwd=node.directory, env=node.environ, check=False)
        assert done.returncode == 9, closed


def test_words_that_are_not_utf_8_reach_the_command(node):
    run(node, "--mount", DATA, "--", "sh", "-c", 'printf %s "$1" >out', "sh", "bad\udcff")
    assert (node.directory / "out").read_bytes() == b"bad\xff"


def test_an_absolute_download_path(node, tmp_path):
    done = run(node, "--download", f"{DATA}={tmp_path}/abs olute", "--", "sh", "-c", 'cat "$data/a.txt"; echo "$data"')
    assert done.stdout == f"first\n{tmp_path}/abs olute\n"
    assert (tmp_path / "abs olute/deep/b.txt").read_text() == "second\n"


@pytest.mark.parametrize(("one", "other"), [("./mix", "./mix"), ("./mix/sub", "./mix"), ("./mix", "./linked/mix")])
def test_two_downloads_to_one_place_are_refused(node, one, other):
    (node.directory / "linked").symlink_to(".")
    options = ("--download", f"a={STORE}/paths/train={one}", "--download", f"b={STORE}/paths/other={other}")
    done = run(node, *options, "--", "touch", "ran", status=2)
    assert "inputs 'a' and 'b'" in done.stderr
    assert "are in each other's way; choose other paths" in done.stderr
    assert not (node.directory / "ran").exists()
    assert not (node.directory / "mix").exists()


@pytest.mark.parametrize("mode", ["--mount", "--download"])
def test_a_single_file_is_published_as_the_file(node, mode):
    script = 'cat "$one" "$ONE" "$AZUREML_DATAREFERENCE_one" "$AZURE_ML_INPUT_one" "$1"; basename "$1"'
    done = run(node, mode, f"one={STORE}/paths/train/a.txt", "--", "sh", "-c", script, "sh", "$one")
    assert done.stdout == "first\n" * 5 + "a.txt\n"
    assert " as single file." in done.stderr


@pytest.mark.parametrize("mode", ["--mount", "--download"])
def test_a_directory_that_holds_one_file_of_its_own_name_is_a_directory(node, mode):
    node.put({"twin/twin": "inner\n"})
    done = run(node, mode, f"t={STORE}/paths/twin", "--", "sh", "-c", 'test -d "$t" && cat "$t/twin"')
    assert done.stdout == "inner\n"
    assert " as folder." in done.stderr


def test_a_bare_path_needs_no_workspace(node, tmp_path):
    source = tmp_path / "plain source"
    source.mkdir()
    (source / "x").write_text("plain\n")
    (node.directory / ".azureml").rename(tmp_path / "elsewhere")
    done = run(node, "--mount", f"d={source}", "--", "sh", "-c", 'cat "$d/x"; echo "$d"')
    content, mount_point = done.stdout.splitlines()
    assert content == "plain"
    assert Path(mount_point).is_relative_to(node.temporary)
    assert not Path(mount_point).exists()


@pytest.mark.parametrize("mode", ["--mount", "--download"])
def test_the_workspace_itself_may_be_the_input(node, mode):
    inner = node.directory / "inner"
    node.run("workspace", "init", inner, check=0)
    (inner / "here.txt").write_text("here\n")
    script = 'cat "$ws/here.txt"; find "$ws" -name here.txt'
    done = run(node, "--workspace", str(inner), mode, "ws=./inner", "--", "sh", "-c", script)
    content, *places = done.stdout.splitlines()
    assert content == "here"
    assert len(places) == 1  # the input does not hold itself


def test_names_with_dashes(node):
    # Not through sh: dash drops variables whose names it cannot say.
    names = ["AZUREML_DATAREFERENCE_my-ref", "AZUREML_DATAREFERENCE_my_ref", "my-ref", "MY-REF", "my_ref", "MY_REF"]
    done = run(node, "--mount", f"my-ref={STORE}/paths/train", "--", "printenv", *names)
    assert len(done.stdout.splitlines()) == len(names)
    assert len(set(done.stdout.splitlines())) == 1
    script = 'cat "$my_ref/a.txt" "$1/a.txt"'
    done = run(node, "--mount", f"my-ref={STORE}/paths/train", "--", "sh", "-c", script, "sh", "${{inputs.my-ref}}")
    assert done.stdout == "first\nfirst\n"


def test_a_variable_that_is_set_is_not_replaced(node):
    script = 'echo "$PATH"; echo "$TOKEN"; cat "$path/a.txt"; ls "$AZUREML_DATAREFERENCE_token" "$1"'
    done = run(
        node,
        *("--mount", f"path={STORE}/paths/train", "--mount", f"token={STORE}/paths/other"),
        *("--", "sh", "-c", script, "sh", "$token"),
        TOKEN="precious",
    )
    path, token, *rest = done.stdout.splitlines()
    assert path == node.environ["PATH"]
    assert token == "precious"
    assert rest[0] == "first"
    assert rest.count("big.bin") == 2


def test_the_lists_of_inputs_and_outputs(node):
    done = run(
        node,
        *("--mount", DATA, "--download", f"d2={STORE}/paths/other", "--upload", f"o=./o={STORE}/paths/o"),
        *("--", "sh", "-c", "touch o; printenv AZUREML_DATASET_ENVIRONMENT_VARS AZUREML_DATASET_FILE_OUTPUTS o"),
    )
    assert done.stdout.splitlines() == ["data:mount,d2:download", "o", f"{node.directory}/o"]


def test_inputs_are_read_only_and_many_mount_side_by_side(node):
    names = [f"in{number}" for number in range(5)]
    options = [word for name in names for word in ("--mount", f"{name}={STORE}/paths/train")]
    done = run(node, *options, "--", "sh", "-c", 'cat "$in0/a.txt" "$in4/a.txt"; touch "$in1/new"', status=1)
    assert done.stdout == "first\nfirst\n"
    assert "Read-only file system" in done.stderr


# How it ends


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "exit 125"], 125),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["sh", "-c", "kill -SEGV $$"], 139),
        (["no-such-command-at-all"], 127),
        (["./no/such/file"], 127),
        (["/etc/hostname"], 126),
        (["/etc"], 126),
    ],
)
def test_exit_statuses_are_a_shells(node, command, status):
    done = run(node, "--", *command, status=status)
    if status in {126, 127}:
        assert f"mountd: error: {command[0]}: " in done.stderr


@pytest.mark.parametrize(
    ("command", "status"),
    [(["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -KILL $$"], 137), (["no-such-command"], 127)],
)
def test_a_command_that_fails_is_unmounted_from(node, command, status):
    assert "Finishing unmounting" in run(node, "--mount", DATA, "--", *command, status=status).stderr


@pytest.mark.parametrize(
    ("options", "named", "reason"),
    [
        (["--mount", "data=azureml://datastores/nowhere"], "data", "nowhere"),
        (["--mount", f"data={STORE}/paths/no/such/place"], "data", "no/such/place"),
        (["--download", f"data={STORE}/paths/no/such/place"], "data", "no/such/place"),
        (["--download", "data=/no/such/place"], "data", "/no/such/place"),
        (["--mount", "data=gopher://x"], "data", "gopher"),
        (["--mount", DATA, "--mount", f"bad={STORE}/paths/no/such/place"], "bad", "no/such/place"),
        (["--upload", "model=./out=azureml://datastores/nowhere"], "model", "nowhere"),
    ],
)
def test_what_cannot_be_made_ready_is_named_and_is_125(node, options, named, reason):
    done = run(node, *options, "--", "touch", "ran", status=125)
    errors = [line for line in done.stderr.splitlines() if line.startswith("mountd: error: ")]
    assert len(errors) == 1
    assert f"{named!r}: " in errors[0]
    assert reason in errors[0]
    assert "Traceback" not in done.stderr
    assert not (node.directory / "ran").exists()


def test_an_input_that_changes_under_the_command_is_named_last_and_in_the_record(node):
    """Replaced by the command itself, far from what was read: in life it is somebody else."""
    script = """
import os, sys
name, source = sys.argv[1:]
with open(name, "rb") as file:
    file.read(1)
    os.replace(source + ".new", source)
    os.pread(file.fileno(), 10, 500 << 20)
"""
    for suffix, size in (("", 600 << 20), (".new", 10)):
        with open(f"{node.store}/train/deep/large.bin{suffix}", "wb") as file:
            file.truncate(size)  # sparse
    words = [sys.executable, "-c", script, "$data/deep/large.bin", f"{node.store}/train/deep/large.bin"]
    done = run(node, "--mount", DATA, "--", *words, status=1, MOUNTD_MODE="stream")
    assert "OSError: [Errno 116] Stale file handle" in done.stderr
    said = "input 'data': file 'deep/large.bin' changed in the store ("
    assert done.stderr.splitlines()[-1].startswith(f"mountd: error: {said}")
    assert node.runs()[0]["error"].startswith(f"the command ended with exit status 1; {said}")


def test_a_workspace_that_is_not_there_is_125(node):
    assert "/no/such" in run(node, "--workspace", "/no/such", "--", "true", status=125).stderr


def test_a_bad_tuning_variable_is_125_and_named(node):
    done = run(node, "--mount", DATA, "--", "true", status=125, MOUNTD_ATTR_TTL="soon")
    assert "input 'data': MOUNTD_ATTR_TTL: " in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--mount", "no-equals-sign", "--", "true"],
        ["--mount", "1x=/tmp", "--", "true"],
        ["--mount", "a=/tmp", "--download", "a=/tmp", "--", "true"],
        ["--upload", "a=./x", "--", "true"],
        ["--no-such-option", "--", "true"],
        [],
    ],
)
def test_a_malformed_command_line_is_2(node, words):
    assert "Traceback" not in run(node, *words, status=2).stderr


def test_uploads_run_when_the_command_fails_and_its_status_wins(node):
    upload = f"o=./o={STORE}/paths/kept"
    run(node, "--upload", upload, "--", "sh", "-c", "echo checkpoint > o; exit 9", status=9)
    assert (node.store / "kept/o").read_text() == "checkpoint\n"


def test_an_upload_that_fails_is_7(node):
    node.put({"file": "in the way"})
    upload = f"o=./o={STORE}/paths/file/below"
    done = run(node, "--upload", upload, "--", "sh", "-c", "mkdir o; echo x > o/x", status=7)
    assert "mountd: error: output 'o': " in done.stderr
    assert run(node, "--upload", upload, "--", "sh", "-c", "exit 3", status=3)


def test_an_upload_replaces_what_an_earlier_run_left(node):
    for text in ("one", "two"):
        run(
            node,
            "--upload",
            f"o=out/o={STORE}/paths/r",
            "--",
            "sh",
            "-c",
            f"echo {text} > out/o",
        )
    assert (node.store / "r/o").read_text() == "two\n"


def test_a_missing_output_is_a_warning(node):
    done = run(node, "--upload", f"o=new/dir/o={STORE}/paths/o", "--", "test", "-d", "new/dir")
    assert f"mountd: warning: output 'o': the command left nothing at {node.directory}/new/dir/o" in done.stderr


# Signals


def wait_for_line(process, line):
    for got in process.stdout:
        if got.rstrip("\n") == line:
            return
    pytest.fail(f"{line!r} was never written; {process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_command_and_everything_is_unmounted(node, number):
    process = node.start_run("--mount", DATA, "--", "sh", "-c", "echo up; exec sleep 60")
    wait_for_line(process, "up")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert "Finishing unmounting" in err


def test_the_command_decides_what_a_signal_means(node):
    script = 'trap "cat \\"$data/a.txt\\"; echo late > out; exit 5" TERM; echo up; while :; do sleep 0.05; done'
    upload = f"o=./out={STORE}/paths/late"
    process = node.start_run("--mount", DATA, "--upload", upload, "--", "sh", "-c", script)
    wait_for_line(process, "up")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (5, "first\n")  # the mount was still there for it
    assert (node.store / "late/out").read_text() == "late\n"


def test_user_signals_are_passed_on(node):
    script = 'trap "echo one" USR1; trap "echo two; exit 0" USR2; echo up; while :; do sleep 0.05; done'
    process = node.start_run("--", "sh", "-c", script)
    wait_for_line(process, "up")
    process.send_signal(signal.SIGUSR1)
    wait_for_line(process, "one")
    process.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "two\n")


def test_a_signal_while_a_download_is_under_way(node):
    source = node.store / "huge"
    source.mkdir()
    fifo_like = source / "sparse.bin"
    with open(fifo_like, "wb") as file:
        file.truncate(50 << 30)  # longer than any test has patience for
    process = node.start_run("--mount", DATA, "--download", f"h={STORE}/paths/huge", "--", "touch", "ran")
    for line in process.stderr:
        if line.startswith("Mounted data"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "mountd: ended by SIGINT before the command was started" in err
    assert not (node.directory / "ran").exists()


def test_what_stays_behind_with_files_open_does_not_keep_the_mount(node):
    script = 'tail -f "$data/a.txt" > /dev/null 2>&1 & echo $!'
    done = run(node, "--mount", DATA, "--", "sh", "-c", script)
    assert process_is_over(int(done.stdout))


def test_a_daemon_of_the_command_with_files_open_is_detached_from(node):
    holder = "import sys, time; file = open(sys.argv[1]); print('up', flush=True); sys.stdin.read()"
    # The daemon lives for as long as its standard input is open for writing: held from here.
    os.mkfifo(node.directory / "hold")
    script = (
        f'setsid {shlex.quote(sys.executable)} -c "$1" "$data/a.txt" < hold > said 2>&1 & '
        "until grep -q up said; do sleep 0.01; done"
    )
    hold = os.open(node.directory / "hold", os.O_RDWR)
    try:
        done = run(node, "--mount", DATA, "--", "sh", "-c", script, "sh", holder)
        assert "mountd: warning: detaching it all the same: " in done.stderr
        assert "Finishing unmounting" in done.stderr
    finally:
        os.close(hold)
    node.wait_gone()


def test_a_closed_standard_error_leaves_nothing_mounted(node):
    process = subprocess.run(
        [PROGRAM, "run", "--mount", DATA, "--", "sh", "-c", 'cat "$data/a.txt" >&3; exit 6'],
        cwd=node.directory,
        env=node.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=lambda: (os.dup2(1, 3), os.close(2), os.close(1)),
        pass_fds=(3,),
    )
    assert process.returncode == 6


def test_a_run_in_a_run(node):
    inner = [
        str(PROGRAM),
        "run",
        "--mount",
        f"inner={STORE}/paths/other",
        "--",
        "sh",
        "-c",
        'ls "$inner"; cat "$data/a.txt"',
    ]
    done = run(node, "--mount", DATA, "--", *inner)
    assert done.stdout == "big.bin\nfirst\n"


def test_the_runs_own_directory_is_private(node):
    done = run(node, "--download", DATA, "--", "stat", "-c", "%a", "$data/../..")
    assert stat.S_IMODE(int(done.stdout, 8)) == 0o700
