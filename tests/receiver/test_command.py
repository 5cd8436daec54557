"""The command `countersign`, as it is installed in the environment of this checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.configuration import environment

from orchestrator.testing.processes import ROOT
from receiver.command import COMMANDS, main

pytestmark = pytest.mark.slow  # each test starts a process

COMMAND = Path(sys.executable).with_name("countersign")


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_how_it_is_used_under_its_own_name(name: str, tmp_path: Path) -> None:
    ended = run(name, "--help", cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: countersign {name} ")
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out

    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == list(COMMANDS)


def test_without_a_command_it_says_what_there_is_and_that_nothing_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: countersign ")


def test_an_unknown_command_is_refused_in_one_line_that_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve\x1b"]) == 2
    shown = capsys.readouterr()

    assert (shown.out, shown.err) == (
        "",
        f"countersign: there is no command 'serve\\x1b'; there are {', '.join(COMMANDS)}\n",
    )


def test_the_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("countersign 0.")


def test_the_notebook_is_printed_byte_for_byte(tmp_path: Path) -> None:
    ran = subprocess.run([COMMAND, "notebook"], cwd=tmp_path, env={"LC_ALL": "C"}, capture_output=True, check=True)

    assert ran.stdout == (ROOT / "scripts/notebook.py").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [("notebook",), ("keys",), ("--help",)])
def test_a_full_disk_is_one_line_and_no_traceback(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [COMMAND, *arguments], cwd=tmp_path, env={}, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (ended.returncode, ended.stderr) == (
        1,
        f"countersign {arguments[0]}: there is no space left for the output\n",
    )


@pytest.mark.parametrize("arguments", [("notebook",), ("keys",), ("--help",), ("receiver", "--help")])
def test_a_reader_that_has_seen_enough_causes_no_traceback(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = [str(COMMAND), *arguments]

    with subprocess.Popen(program, cwd=tmp_path, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        ran.stdout.close()

        assert ran.stderr.read() == b""


@pytest.mark.parametrize("name", ["keys", "notebook"])
def test_what_needs_the_standard_library_alone_imports_nothing_else(name: str, tmp_path: Path) -> None:
    program = f"import sys; from receiver.command import main; main([{name!r}]); print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    own = {"__main__", "__mp_main__", "orchestrator", "receiver"}
    loaded = {module.partition(".")[0] for module in ran.stderr.split()} - own

    # Modules that the environment loads into every process (by `.pth` files) do not count.
    assert {module for module in loaded - sys.stdlib_module_names if not module.startswith("_")} == set()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("receiver", (), "COUNTERSIGN_PUBLIC_URL is required"),
        (
            "receiver",
            ("--port", "80"),
            "countersign receiver takes no arguments: configure it with environment variables",
        ),
        ("worker", (), "COUNTERSIGN_PUBLIC_URL is required"),
        ("worker", ("--grop", "db"), "countersign worker: unrecognized arguments: --grop db"),
        ("emulator", ("--port", "70000"), "countersign emulator: port 70000 cannot be bound: no such port"),
    ],
)
def test_a_refused_start_is_exit_code_2_and_one_line(
    name: str, arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ended = run(name, *arguments, cwd=tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"{said}\n")


@pytest.mark.parametrize(("safely", "found"), [({}, True), ({"PYTHONSAFEPATH": "1"}, False)])
def test_workflows_are_found_in_the_working_directory_unless_python_is_told_not_to_look_there(
    safely: dict[str, str], found: object, tmp_path: Path
) -> None:
    (tmp_path / "own_workflows.py").write_text("raise SystemExit('it was found')\n")
    ended = run(
        "doctor", cwd=tmp_path, **environment(WORKFLOWS="own_workflows", PUBLIC_URL="http://127.0.0.1:1"), **safely
    )
    (workers,) = [line for line in ended.stdout.splitlines() if line.startswith("workers")]

    assert ("it raised SystemExit" in workers) == found, ended.stdout
