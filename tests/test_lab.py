"""The lab: each fault's answer is what happens, without a fault every check passes, and no fault stays."""

import compileall
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import cli
from npsnn.functional import reference as losses
from npsnn.leaky.reference import clip01, leaky_backward
from npsnn.verify import lab
from npsnn.verify.lab import checks, command
from npsnn.verify.planted import planted

NAMES = [check.name for check in lab.CHECKS]
NUMBERS = range(1, 11)
PACKAGE = Path(npsnn.__file__).parent


@pytest.fixture(autouse=True)
def the_engine_stays_as_it_is():
    """Whatever a test does, the faults' functions have the code and the text afterwards that they had before."""

    def state():
        return [(one.function.__code__, (PACKAGE.parent / one.path).read_bytes()) for one in lab.FAULTS]

    before = state()
    yield
    assert state() == before


# --- faults and checks -----------------------------------------------------------------------------------------------


def test_without_a_fault_every_check_passes():
    assert lab.outcome(planted(clip01, "0 * beta + 1", "0 * beta + 1")) == dict.fromkeys(NAMES)
    assert lab.failing() == ()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_answer_is_what_happens(number):
    one = lab.fault(number)
    with planted(one.function, one.old, one.new):
        wrong = {check.name: checks.found(check) for check in lab.CHECKS}
    assert [name for name in NAMES if wrong[name]] == list(one.fails)
    assert all(" is " in wrong[name] and ("expected" in wrong[name] or "by hand" in wrong[name]) for name in one.fails)


def test_there_are_ten_and_no_two_have_one_answer():
    assert len(lab.FAULTS) == 10
    assert len({one.fails for one in lab.FAULTS}) == 10 and len({one.title for one in lab.FAULTS}) == 10
    assert {one.path.split("/")[1] for one in lab.FAULTS} == {
        "leaky", "conv2d", "linear", "pool2d", "functional", "adam", "surrogate.py",
    }  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fault_is_one_line_of_the_law(number):
    one = lab.fault(number)
    before, after = one.lines
    text = (PACKAGE.parent / one.path).read_text("utf-8")
    assert inspect.getsource(one.function).count(one.old) == 1
    assert f" {before}\n" in text
    assert "\n" not in one.old + one.new and before != after
    assert one.path.endswith("reference.py") or one.path == "npsnn/surrogate.py"
    assert str(one).splitlines() == [
        one.title, f"{one.path}, {one.function.__qualname__}", f"- {before}", f"+ {after}",
    ]  # fmt: skip


def test_every_check_can_fail():
    seen = {name for one in lab.FAULTS for name in one.fails}
    assert set(NAMES) - seen == {"perfect"}
    with planted(losses.mse_membrane, "* off_target", "* max(off_target, 0)"):  # as in snnTorch 1.0.0 (C13)
        assert lab.failing() == ("perfect", "golden")


def test_a_number_that_is_none_is_wrong():
    nan = checks.Number("U", [0.0, np.nan], [0.0, 0.0])
    assert checks.first_wrong(iter([nan])) == "U[1] is nan, expected 0"
    assert checks.first_wrong(iter([checks.Number("dbeta", 0.5, 0.25)])) == "dbeta is 0.5, expected 0.25"
    assert checks.first_wrong(iter([checks.Number("U", np.ones(3), np.ones(3))])) is None


def test_a_check_in_which_the_engine_refuses_fails():
    def refuses():
        raise ValueError("NaN in the gradient")

    assert checks.found(checks.Check("mine", "", refuses)) == "NaN in the gradient"


# --- planting --------------------------------------------------------------------------------------------------------


def test_a_fault_is_taken_out_after_an_error_too():
    with pytest.raises(KeyboardInterrupt), planted(clip01, "0 * beta + 1", "0 * beta + 2"):
        assert clip01(np.array(1.5)) == 2
        raise KeyboardInterrupt
    assert clip01(np.array(1.5)) == 1


@pytest.mark.parametrize("old, times", [("gamma", 0), ("dU_next", 10)])
def test_what_does_not_stand_there_once_is_refused(old, times):
    with pytest.raises(ValueError, match=f"^'{old}' stands {times} times in leaky_backward, expected once$"):
        planted(leaky_backward, old, "0").__enter__()


def test_a_fault_that_is_no_python_is_refused_before_it_is_planted():
    with pytest.raises(SyntaxError):
        planted(clip01, "0 * beta + 1", "0 * (").__enter__()


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_list(capsys):
    assert cli.main(["lab"]) == 0
    out = capsys.readouterr().out
    for number, one in enumerate(lab.FAULTS, start=1):
        assert f"{number}. {one}\n" in out
    assert "The checks: hand, gradcheck," in out


@pytest.mark.parametrize("number", [3, 10])
def test_one_fault(number, capsys):
    assert cli.main(["lab", str(number)]) == 0
    out, one = capsys.readouterr().out, lab.fault(number)
    assert out.startswith(f"fault {number} of 10: {one}\n")
    rows = [line for line in out.splitlines() if line.split(" ")[0] in NAMES and line.endswith(("passes", "FAILS"))]
    assert [row.split()[0] for row in rows] == NAMES
    assert [row.split()[0] for row in rows if row.endswith("FAILS")] == list(one.fails)
    assert " ".join(out.split()).endswith(one.why) and one.why.count(".") in (2, 3, 4)
    assert ("\ntwice alone fails.\n" if number == 10 else "\ngradcheck, adjoint, ones and golden fail.\n") in out


def test_all_faults(capsys):
    assert cli.main(["lab", "all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["check", "none", *map(str, NUMBERS)]
    for name, line in zip(NAMES, lines[1:13], strict=True):
        marks = ["x" if name in one.fails else "." for one in lab.FAULTS]
        assert line.split() == [name, ".", *marks]
    assert lines[14:] == [f"{number:2}  {one.title}" for number, one in enumerate(lab.FAULTS, start=1)]


def with_another_answer(monkeypatch, fails):
    monkeypatch.setattr(command, "FAULTS", (lab.FAULTS[8]._replace(fails=fails),))
    monkeypatch.setattr(command, "fault", lambda number: command.FAULTS[number - 1])


def test_another_outcome_than_the_answer_is_1(monkeypatch, capsys):
    with_another_answer(monkeypatch, ("hand",))
    assert cli.main(["lab", "1"]) == 1
    assert capsys.readouterr().out.endswith("The answer should have been: hand alone fails.\n")
    assert cli.main(["lab", "all"]) == 1
    assert capsys.readouterr().out.endswith("1: adam and golden fail. The answer should have been: hand alone fails.\n")


@pytest.mark.parametrize("which", ["11", "0", "-1", "03", "three", "3.0", ""])
def test_bad_usage_is_2(which, capsys):
    assert cli.main(["lab", "--", which]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"npsnn: the fault must be a number from 1 to 10, or all, got {which!r}\n"


class Terminal:
    """A standard input at which somebody sits."""

    def __init__(self, *lines):
        self.lines = list(lines)

    def isatty(self):
        return True

    def readline(self):
        line = self.lines.pop(0)
        if line is KeyboardInterrupt:
            raise KeyboardInterrupt
        return line


@pytest.mark.parametrize(
    "lines, said",
    [
        (["ones\n"], "You said ones, which fails."),
        (["magic\n", "hand\n"], "You said hand, which passes."),
        (["\n"], None),
        ([""], None),  # the end of the input
    ],
)
def test_at_a_terminal_the_reader_is_asked(lines, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal(*lines))
    assert cli.main(["lab", "3"]) == 0
    out = capsys.readouterr().out
    assert "Which of them fails?" in out and ("'magic' is none of them.\n" in out) == ("magic\n" in lines)
    assert out.endswith(f"{said}\n") if said else "You said" not in out


def test_without_a_standard_input_nothing_is_asked(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["lab", "9"]) == 0
    assert "Which of them" not in capsys.readouterr().out


def test_ctrl_c_at_the_question(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal(KeyboardInterrupt))
    assert cli.main(["lab", "3"]) == 130
    assert capsys.readouterr().err == "npsnn: stopped\n"


def test_ctrl_c_within_a_check_takes_the_fault_out(monkeypatch):
    seen = []

    def interrupted():
        seen.append(clip01.__code__ is not true)
        raise KeyboardInterrupt

    true = clip01.__code__
    one = lab.FAULTS[0]._replace(function=clip01, old="0 * beta + 1", new="0 * beta + 2")
    monkeypatch.setattr(command, "fault", lambda number: one)
    monkeypatch.setattr(command, "CHECKS", (checks.Check("hand", "", interrupted),))
    assert cli.main(["lab", "1"]) == 130
    assert seen == [True] and clip01.__code__ is true


def test_where_the_sources_are_missing_it_says_so(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "npsnn", ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    assert compileall.compile_dir(tmp_path / "npsnn", quiet=1, legacy=True)
    for path in (tmp_path / "npsnn").rglob("*.py"):
        path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "npsnn", "lab", "3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "npsnn: the source of npsnn.conv2d.reference is not here, so no fault can be planted in it: "
        "install npsnn with its .py files\n"
    )


def test_it_runs_without_numba():
    code = "import sys, npsnn.cli as cli; sys.exit(cli.main(['lab', '4']) or 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
