"""The order of a run's events and what is left when something goes wrong, with data operations made for the test."""

import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from mountd.catalog.model import LocalSpec, Location
from mountd.errors import BusyError, DeniedError, NotFoundError, UnsafeError
from mountd.run import session
from mountd.run.environment import Mode
from mountd.run.plan import Input, Output, RunPlan
from mountd.run.session import Outcome, run_session
from tests.support.processes import process_is_over


class Recorder:
    """Data operations that work on plain directories and remember what was asked for, in order."""

    def __init__(self):
        self.events = []
        self.mounted = set()
        self.mount_failures = {}
        self.look_failures = {}
        self.download_failures = {}
        self.upload_failures = {}
        self.busy = 0
        self.unmount_failure = None
        self.single_file = None
        self.trouble = {}
        self.on_mount = trio.lowlevel.checkpoint
        self.download_started = trio.Event()
        self.download_forever = False
        self.upload_forever = False
        self.upload_started = trio.Event()

    async def mount(self, name, location, mountpoint):
        await self.on_mount()
        self.events.append(f"mount {location.source}")
        if location.source in self.mount_failures:
            raise self.mount_failures[location.source]
        self.mounted.add(mountpoint)

    async def find_single_file(self, location, mountpoint):
        if location.source in self.look_failures:
            raise self.look_failures[location.source]
        return mountpoint / self.single_file if self.single_file else None

    async def troubles(self, mountpoint):
        await trio.lowlevel.checkpoint()
        return self.trouble.get(mountpoint.name, [])

    async def unmount(self, mountpoint, *, lazy):
        self.events.append("unmount lazily" if lazy else "unmount")
        if self.busy and not lazy:
            self.busy -= 1
            raise BusyError(f"{mountpoint}: held by somebody")
        if self.unmount_failure:
            raise self.unmount_failure
        self.mounted.discard(mountpoint)

    async def download(self, location, target, kind=None):
        self.events.append(f"download {location.source}")
        self.download_started.set()
        if self.download_forever:
            await trio.sleep_forever()
        if location.source in self.download_failures:
            raise self.download_failures[location.source]
        target.mkdir(parents=True, exist_ok=True)
        (target / "file").write_text(location.source)

    async def upload(self, source, location, *, overwrite=True, globs=()):
        self.events.append(f"upload {source.name} to {location.source}")
        self.upload_started.set()
        if self.upload_forever:
            await trio.sleep_forever()
        if location.source in self.upload_failures:
            raise self.upload_failures[location.source]
        return 1


def location(source):
    return Location(store=LocalSpec(path="/nowhere"), path="", source=source)


def mounted(name):
    return Input(name=name, mode=Mode.MOUNT, location=location(f"src-{name}"), path=None)


def downloaded(name, path=None):
    return Input(name=name, mode=Mode.DOWNLOAD, location=location(f"src-{name}"), path=path)


class Runner:
    """Runs plans with a recorder and keeps the lines that were said."""

    def __init__(self, directory):
        self.cwd = directory / "cwd"
        self.cwd.mkdir()
        self.runs = directory / "runs"
        self.operations = Recorder()
        self.lines = []

    def plan(self, command, inputs=(), outputs=()):
        return RunPlan(
            identifier="run-1",
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            command=tuple(command),
            cwd=self.cwd,
            runs_directory=self.runs,
        )

    def say(self, line):
        self.lines.append(line)
        self.operations.events.append(line.split(".")[0] if line.startswith("mountd") else line)

    async def __call__(self, script, *arguments, inputs=(), outputs=(), environment=None):
        with trio.fail_after(30):
            self.outcome = await run_session(
                self.plan(["sh", "-c", script, "sh", *arguments], inputs, outputs),
                operations=self.operations,
                environment={**os.environ, **(environment or {})},
                say=self.say,
            )
            return self.outcome.exit_status

    def output(self, name, path="out"):
        return Output(name=name, path=self.cwd / path, location=location(f"dst-{name}"))

    def data_events(self):
        verbs = ("mount", "unmount", "download", "upload")
        return [event for event in self.operations.events if event.split()[0] in verbs]

    def nothing_is_left(self):
        return not self.operations.mounted and (not self.runs.exists() or list(self.runs.iterdir()) == [])


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


async def test_a_run_without_data_is_its_command(runner):
    assert await runner("exit 5") == 5
    assert runner.data_events() == []
    assert not runner.runs.exists()


async def test_events_come_in_the_order_of_the_contract(runner):
    out = runner.cwd / "out"
    status = await runner(
        f'echo "$1" > {out}; test -d "$1"', "$data", inputs=[mounted("data")], outputs=[runner.output("result")]
    )
    mount_point = runner.runs / "run-1/inputs/data"
    assert status == 0
    assert out.read_text() == f"{mount_point}\n"
    script = f'echo "$1" > {out}; test -d "$1"'
    assert runner.operations.events == [
        "Processing 'data'.",
        "Mode: 'mount'.",
        f"Mounting data to {mount_point}.",
        "mount src-data",
        f"Mounted data to {mount_point} as folder.",
        f"Current directory:  {runner.cwd}",
        f"Preparing to call script [ sh ] with arguments: {['-c', script, 'sh', '$data']}",
        f"After variable expansion, calling script [ sh ] with arguments: {['-c', script, 'sh', str(mount_point)]}",
        "Uploading output 'result'.",
        "upload out to dst-result",
        "Uploaded output 'result' to dst-result.",
        f"Unmounting {mount_point}.",
        "unmount",
        f"Finishing unmounting {mount_point}.",
    ]
    assert runner.nothing_is_left()


async def test_a_download_without_a_path_is_gone_afterwards_and_one_with_a_path_stays(runner):
    kept, seen = runner.cwd / "kept", runner.cwd / "seen"
    script = f'cat "$a/file" "$b/file" > {seen}'
    assert await runner(script, inputs=[downloaded("a"), downloaded("b", kept)]) == 0
    assert seen.read_text() == "src-asrc-b"
    assert (kept / "file").read_text() == "src-b"
    assert runner.nothing_is_left()


async def test_a_single_file_is_published_as_the_file(runner):
    runner.operations.single_file = "only.bin"
    out = runner.cwd / "seen"
    assert await runner(f'echo "$1 $AZUREML_DATAREFERENCE_d" > {out}', "${{inputs.d}}", inputs=[mounted("d")]) == 0
    path = runner.runs / "run-1/inputs/d/only.bin"
    assert out.read_text() == f"{path} {path}\n"
    assert f"Mounted d to {path.parent} as single file." in runner.lines


async def test_uploads_run_also_when_the_command_failed_and_its_status_wins(runner):
    runner.operations.upload_failures["dst-o"] = UnsafeError("half of it is missing")
    assert await runner(f"touch {runner.cwd}/out; exit 9", outputs=[runner.output("o")]) == 9
    assert runner.data_events() == ["upload out to dst-o"]
    assert "mountd: error: output 'o': half of it is missing" in runner.lines


async def test_what_a_failed_command_got_errors_for_is_said_last_and_is_in_the_outcome(runner):
    runner.operations.trouble = {"a": ["file 'x' changed in the store (why)"], "b": ["1", "2", "3", "4", "5"]}
    inputs = [mounted("a"), mounted("b"), mounted("c")]
    assert await runner("exit 9", inputs=inputs) == 9
    said = ["input 'a': file 'x' changed in the store (why)"]
    said += [f"input 'b': {what}" for what in ("1", "2", "3", "and 2 more")]
    assert runner.lines[-5:] == [f"mountd: error: {line}" for line in said]
    assert runner.outcome.error == "; ".join(["the command ended with exit status 9", *said])
    assert await runner("exit 0", inputs=inputs) == 0
    assert runner.outcome == Outcome(0)
    assert not runner.lines[-1].startswith("mountd: error")


async def test_a_failed_upload_is_7_and_the_others_still_go(runner):
    runner.operations.upload_failures["dst-a"] = DeniedError("no write permission")
    outputs = [runner.output("a"), runner.output("b")]
    assert await runner(f"touch {runner.cwd}/out", outputs=outputs) == 7
    assert runner.data_events() == ["upload out to dst-a", "upload out to dst-b"]


async def test_a_missing_output_is_a_warning(runner):
    output = runner.output("o", "deep/below/out")
    assert await runner("true", outputs=[output]) == 0
    assert runner.data_events() == []
    assert f"mountd: warning: output 'o': the command left nothing at {output.path}" in runner.lines
    assert output.path.parent.is_dir()


async def test_a_command_that_cannot_be_started_uploads_nothing(runner):
    (runner.cwd / "out").write_text("of an earlier run")
    plan = runner.plan(["no-such-command-here"], [mounted("d")], [runner.output("o")])
    outcome = await run_session(plan, operations=runner.operations, environment=os.environ, say=runner.say)
    assert outcome.exit_status == 127
    assert runner.data_events() == ["mount src-d", "unmount"]
    assert runner.nothing_is_left()


async def test_an_input_that_fails_is_named_and_the_others_are_taken_down(runner):
    runner.operations.mount_failures["src-bad"] = NotFoundError("src-bad: there is no such container")
    status = await runner("echo must not run", inputs=[mounted("good"), mounted("bad")])
    assert status == 125
    assert "mountd: error: input 'bad': src-bad: there is no such container" in runner.lines
    assert not [line for line in runner.lines if "calling script" in line]
    assert runner.operations.events.count("mount src-good") == runner.operations.events.count("unmount")
    assert runner.nothing_is_left()


async def test_a_mount_that_cannot_be_looked_at_is_unmounted(runner):
    runner.operations.look_failures["src-m"] = DeniedError("its root cannot be listed")
    assert await runner("true", inputs=[mounted("m")]) == 125
    assert "mountd: error: input 'm': its root cannot be listed" in runner.lines
    assert runner.data_events() == ["mount src-m", "unmount"]
    assert runner.nothing_is_left()


async def test_a_failing_download_stops_the_ones_beside_it(runner):
    runner.operations.download_failures["src-bad"] = DeniedError("not allowed")
    slow = Recorder.download

    async def download(location, target, kind=None):
        if location.source == "src-slow":
            await trio.sleep_forever()
        return await slow(runner.operations, location, target)

    runner.operations.download = download
    assert await runner("true", inputs=[downloaded("slow"), downloaded("bad")]) == 125
    assert "mountd: error: input 'bad': not allowed" in runner.lines
    assert runner.nothing_is_left()


async def test_an_output_whose_parent_cannot_be_made_is_125(runner):
    (runner.cwd / "file").write_text("")
    assert await runner("true", inputs=[mounted("d")], outputs=[runner.output("o", "file/out")]) == 125
    assert any(line.startswith("mountd: error: output 'o': ") for line in runner.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_while_inputs_are_prepared_takes_everything_down(runner, number):
    runner.operations.download_forever = True
    async with trio.open_nursery() as nursery:

        async def interrupt():
            await runner.operations.download_started.wait()
            os.kill(os.getpid(), number)

        nursery.start_soon(interrupt)
        assert await runner("true", inputs=[mounted("m"), downloaded("d")]) == 128 + number
    assert f"mountd: ended by {number.name} before the command was started" in runner.lines
    assert runner.nothing_is_left()


async def test_a_mount_under_way_is_taken_to_its_end_and_unmounted(runner):
    async def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        while "mountd: got SIGINT; ending" not in runner.lines:  # noqa: ASYNC110 - lines are plain text
            await trio.sleep(0.001)

    runner.operations.on_mount = interrupt
    assert await runner("true", inputs=[mounted("m")]) == 130
    assert runner.data_events() == ["mount src-m", "unmount"]
    assert runner.nothing_is_left()


async def test_a_signal_reaches_the_command_and_uploads_still_run(runner):
    script = f"trap 'touch {runner.cwd}/out; exit 33' TERM; kill -TERM {os.getpid()}; while :; do sleep 0.01; done"
    assert await runner(script, inputs=[mounted("m")], outputs=[runner.output("o")]) == 33
    assert runner.data_events() == ["mount src-m", "upload out to dst-o", "unmount"]


async def test_a_command_that_a_signal_ends_is_reported(runner):
    assert await runner("kill -KILL $$", inputs=[mounted("m")]) == 137
    assert "mountd: the command was ended by SIGKILL" in runner.lines
    assert runner.nothing_is_left()


async def test_a_signal_while_uploading_ends_the_upload_and_is_7(runner):
    runner.operations.upload_forever = True
    async with trio.open_nursery() as nursery:

        async def interrupt():
            await runner.operations.upload_started.wait()
            os.kill(os.getpid(), signal.SIGINT)

        nursery.start_soon(interrupt)
        script = f"touch {runner.cwd}/out"
        assert await runner(script, inputs=[mounted("m")], outputs=[runner.output("o")]) == 7
    assert "mountd: error: output 'o': the upload was ended by SIGINT" in runner.lines
    assert runner.nothing_is_left()


async def test_a_busy_mount_is_tried_again_and_then_detached(runner):
    runner.operations.busy = 1
    assert await runner("true", inputs=[mounted("m")]) == 0
    assert runner.data_events() == ["mount src-m", "unmount", "unmount"]
    runner.operations.events.clear()
    runner.operations.busy = 2
    assert await runner("true", inputs=[mounted("m")]) == 0
    assert runner.data_events() == ["mount src-m", "unmount", "unmount", "unmount lazily"]
    assert runner.nothing_is_left()


async def test_what_the_command_left_behind_is_ended_if_it_keeps_the_mount_busy(runner):
    pid_file = runner.cwd / "pid"
    runner.operations.busy = 1
    assert await runner(f"sleep 60 & echo $! > {pid_file}", inputs=[mounted("m")]) == 0
    assert process_is_over(int(pid_file.read_text()))


async def test_a_mount_that_will_not_go_is_an_error_and_stays_untouched(runner):
    runner.operations.unmount_failure = UnsafeError("three files are not uploaded")
    assert await runner("true", inputs=[mounted("m")]) != 0
    mount_point = runner.runs / "run-1/inputs/m"
    assert any(str(mount_point) in line and "still mounted" in line for line in runner.lines)
    shutil.rmtree(runner.runs)


async def test_a_mount_that_somebody_else_unmounted_is_no_error(runner):
    runner.operations.unmount_failure = NotFoundError("nothing is mounted there")
    assert await runner("true", inputs=[mounted("m")]) == 0


async def test_an_unexpected_fault_still_unmounts(runner):
    def fault(*_):
        raise ZeroDivisionError

    runner.say = lambda line: fault() if line.startswith("Preparing") else None
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await runner("true", inputs=[mounted("m")])
    assert runner.nothing_is_left()


async def test_a_signature_in_the_arguments_is_not_shown(runner):
    await runner("true", "https://a.blob.core.windows.net/c?sv=1&sig=SECRET")
    assert "SECRET" not in "\n".join(runner.lines)


async def test_without_a_workspace_the_temp_dir_is_used(runner, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = runner.cwd / "seen"
    plan = runner.plan(["sh", "-c", f'echo "$m" > {seen}'], [mounted("m")])
    plan = RunPlan(**{**{name: getattr(plan, name) for name in plan.__slots__}, "runs_directory": None})
    run = partial(run_session, plan, operations=runner.operations, environment=os.environ, say=runner.say)
    assert (await run()).exit_status == 0
    assert Path(seen.read_text().strip()).is_relative_to(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cwd"]


class Events:
    """A watcher that writes into the recorder's list of events."""

    def __init__(self, events, *, canceled=False):
        self.events = events
        self.canceled = canceled

    async def running(self, presented):
        self.events.append(f"running with {[item.name for item in presented]}")

    async def keep_alive(self):
        await trio.sleep_forever()

    async def is_canceled(self):
        return self.canceled

    async def finalizing(self):
        self.events.append("finalizing")


async def test_a_watcher_hears_of_each_step(runner):
    async def prepare():
        runner.operations.events.append("preparing")

    plan = runner.plan(["sh", "-c", f"touch {runner.cwd}/out"], [downloaded("d")], [runner.output("o")])
    events = runner.operations.events
    outcome = await run_session(
        plan, operations=runner.operations, environment=os.environ, say=lambda line: None,
        watcher=Events(events), prepare=prepare,
    )  # fmt: skip
    assert outcome == Outcome(0)
    assert events == ["preparing", "download src-d", "running with ['d', 'o']", "finalizing", "upload out to dst-o"]


async def test_a_run_that_was_cancelled_ends_also_when_its_command_does_not(runner, monkeypatch):
    monkeypatch.setattr(session, "GRACE_S", 0.05)
    script = f"trap '' TERM; kill -TERM {os.getpid()}; while :; do sleep 0.01; done"
    plan = runner.plan(["sh", "-c", script], [])
    with trio.fail_after(20):
        outcome = await run_session(
            plan, operations=runner.operations, environment=os.environ, say=runner.say,
            watcher=Events([], canceled=True),
        )  # fmt: skip
    assert (outcome.exit_status, outcome.canceled) == (137, True)


async def test_what_fails_before_the_inputs_starts_nothing(runner):
    async def prepare():
        raise NotFoundError("the code: nowhere")

    plan = runner.plan(["true"], [mounted("d")])
    outcome = await run_session(
        plan, operations=runner.operations, environment=os.environ, say=runner.say, prepare=prepare
    )
    assert outcome == Outcome(3, "the code: nowhere")
    assert runner.data_events() == []


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 4", "the command ended with exit status 4"),
        ("kill -KILL $$", "the command was ended by SIGKILL"),
        ("true", None),
    ],
)
async def test_an_outcome_says_why(runner, script, error):
    await runner(script)
    assert runner.outcome.error == error
    assert not runner.outcome.canceled


async def test_a_shell_line_gets_templates_and_leaves_variables_to_the_shell(runner):
    line = f"echo ${{{{inputs.d}}}} $HOME ${{{{inputs.n}}}} > {runner.cwd}/seen"
    plan = replace(
        runner.plan(["sh", "-c", line], [downloaded("d")]), is_shell_line=True, literals={"n": "a b"}, has_job_log=True
    )
    environment = {**os.environ, "HOME": "/home dir"}
    assert (await run_session(plan, operations=runner.operations, environment=environment, say=runner.say)) == Outcome(
        0
    )
    assert (runner.cwd / "seen").read_text() == f"{runner.runs}/run-1/inputs/d /home dir a b\n"
    assert runner.lines[0] == "Initialize DatasetContextManager."


async def test_an_output_is_also_looked_for_elsewhere(runner):
    output = replace(runner.output("o", "deep/out"), otherwise=runner.cwd / "out")
    assert await runner(f"touch {runner.cwd}/out", outputs=[output]) == 0
    assert runner.data_events() == ["upload out to dst-o"]
