"""Plans of experiments: run, stopped, gone on with, printed and drawn."""

import gzip
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from annotate import annotate
from data.algorithmic import prepare
from data.experiments import by_family, forks, grid, report, rescore
from data.experiments.plan import (
    StudentPlan,
    read_plan,
    read_results,
    student_plans,
    traces_file,
)
from data.tools import evaluation
from data.tools.batch import Reasoning
from data.tools.checks import check_training
from data.tools.figures import label_plainly
from data.tools.flags import UserError, parse_flags
from data.tools.loading import load_data
from data.tools.machine import lock_folder
from scaffold import SIGNALS
from train import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
PLANS = ROOT / "data" / "experiments"
TINY = {"max_steps": 3, "depth": 1, "n_val": 5, "first_share": 0, "block_size": 256}
pytestmark = pytest.mark.usefixtures("one_thread")
seven_signals = pytest.mark.skipif(
    len(SIGNALS) != 7, reason="the committed plans are for the seven signals of the paper"
)
LINE = {"tasks": ["boolean_expressions"], "n_train": [30], "seeds": [0], "questions": 2}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_grid_goes_on_where_it_stopped_and_prints_a_table(tmp_path, capsys):
    plan, results = tmp_path / "plan.jsonl", tmp_path / "results.jsonl"
    decodings = {"gold": {"signals": "gold"}}
    clone = {"arm": "clone", "flags": {**TINY, "method": "clone"}, **LINE}
    scaffold = {"arm": "scaffold", "flags": TINY, "decodings": decodings, **LINE}
    write_rows(plan, [scaffold])
    grid.main([str(plan)])
    first = results.read_text()

    decodings["my file"] = {"file": str(tmp_path / "q.jsonl")}
    question, _ = prepare.rows(["object_counting"], "test", 1)[0]
    write_rows(tmp_path / "q.jsonl", [{"question": question["question"], "answer": "1"}])
    write_rows(plan, [clone, scaffold])
    grid.main([str(plan)])
    assert results.read_text().startswith(first)
    rows = read_rows(results)
    assert sorted((row["arm"], row["decoding"]) for row in rows) == [
        ("clone", "predicted"),
        ("scaffold", "gold"),
        ("scaffold", "my file"),
        ("scaffold", "predicted"),  # what is there is not decoded again
    ]
    committed = read_rows(PLANS / "results.jsonl")[0]
    assert all(list(row) == list(committed) for row in rows)
    flags = {**TINY, "tasks": "boolean_expressions", "n_train": 30, "seed": 0}
    assert rows[0]["flags"] == flags and list(rows[0]["flags"]) == list(flags)
    assert "| boolean_expressions | 30 | scaffold | my file | 1 |" in capsys.readouterr().out
    assert (tmp_path / "results.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_gate_chosen_on_validation_and_answers_judged_again(tmp_path, capsys, monkeypatch):
    plan, results = tmp_path / "plan.jsonl", tmp_path / "results.jsonl"
    decodings = {"gate": {"choose_tau": True}}
    write_rows(plan, [{"arm": "a, b", "flags": TINY, "decodings": decodings, **LINE}])
    grid.main([str(plan)])
    plain, gate = read_rows(results)
    assert "tau" not in plain and 0 < gate["tau"] < 1
    path = traces_file(results, gate)
    assert path.name == "a, b+gate+boolean_expressions+30+0.jsonl.gz"
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert gate["accuracy"] == sum(r["correct"] for r in records) / 2
    assert gate["gated"] == sum(r["gated"] for r in records) / 2

    write_rows(results, [plain | {"accuracy": 0.3, "erroneous_paths": 0.3}, gate])
    rescore.main([str(plan)])
    assert read_rows(results) == [plain, gate]
    assert "2 of 2 rows" in capsys.readouterr().out
    monkeypatch.setattr(evaluation, "same", lambda *_: True)  # another matcher
    rescore.main([str(plan)])
    assert [row["accuracy"] for row in read_rows(results)] == [1, 1]
    path.write_bytes(path.read_bytes()[:40])
    before = results.read_bytes()
    with pytest.raises(UserError, match="jsonl.gz"):
        rescore.main([str(plan)])
    assert results.read_bytes() == before
    shutil.rmtree(path.parent)
    with pytest.raises(UserError, match="no answers"):
        rescore.main([str(plan)])


@pytest.mark.slow
def test_a_failing_student_costs_no_finished_one(tmp_path, monkeypatch):
    """The one beside it finishes, no other is started, and its last line is reported."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    good = {"arm": "good", "flags": {**TINY, "max_steps": 60}, **LINE}
    bad = {"arm": "bad", "flags": {**TINY, "block_size": 8}, **LINE, "seeds": [1]}
    late = {"arm": "late", "flags": TINY, **LINE, "seeds": [2]}
    write_rows(tmp_path / "plan.jsonl", [good, bad, late])
    with pytest.raises(UserError, match="^arm bad, seed 1: no trace fits into --block_size 8$"):
        grid.main([str(tmp_path / "plan.jsonl")])
    assert [row["arm"] for row in read_rows(tmp_path / "results.jsonl")] == ["good"]


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_the_version_of_a_row_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "ROOT", tmp_path)
    for name in ("train.py", "results.jsonl"):
        (tmp_path / name).write_text("before")
    author = "-c user.name=nobody -c user.email=nobody"
    for command in ("init -q", "add .", f"{author} commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    version = grid.code_version()
    assert len(version) >= 7 and "-" not in version
    (tmp_path / "results.jsonl").write_text("one more row")
    assert grid.code_version() == version
    (tmp_path / "train.py").write_text("changed")
    assert grid.code_version() == f"{version}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert grid.code_version() == ""


def test_questions_of_a_file_are_its_test_split(tmp_path):
    rows = [row for split in ("train", "test") for row, _ in prepare.rows(["navigate"], split, 5)]
    write_rows(tmp_path / "t.jsonl", annotate(rows)[0])
    flags = {"data": str(tmp_path / "t.jsonl"), "tasks": "navigate", "n_train": 9, "seed": 0}
    questions, ceiling = grid.find_questions(StudentPlan("a", flags, 3, {}), None)
    assert [row["question"] for row in questions] == [row["question"] for row in rows[5:8]]
    assert ceiling == 1


@pytest.mark.parametrize("method", ["clone", "scaffold"])
def test_seconds_to_answer_are_those_of_answering(method, monkeypatch, tmp_path):
    """A scaffold's traces are scored besides, which is no part of what its answers cost."""
    clock = [0.0]

    def takes(seconds, value):
        def call(*_):
            clock[0] += seconds
            return value

        return call

    monkeypatch.setattr(evaluation.time, "time", lambda: clock[0])
    monkeypatch.setattr(evaluation, "boundary_predictions", takes(100, []))
    monkeypatch.setattr(evaluation, "obedience", takes(100, {}))
    student = SimpleNamespace(method=method, seen=set())
    rows = [{"question": "2 + 2 =", "answer": "4"}]
    result, _ = evaluation.evaluate(student, rows, takes(5, [Reasoning()]), {}, 1)
    assert result["answer_seconds"] == 5
    assert result["seconds"] == (205 if method == "scaffold" else 105)

    monkeypatch.setattr(grid, "load_student", lambda *_: SimpleNamespace(classifier=None))
    monkeypatch.setattr(grid, "evaluate", lambda *_, **__: (result, []))
    monkeypatch.setattr(grid, "find_questions", lambda *_, **__: (rows, 1.0))
    training = dict.fromkeys(grid.TRAINING_MEASURES)
    (tmp_path / "result.json").write_text(json.dumps(training))
    ((row, _),) = grid.question(StudentPlan("a", {}, 1, {"predicted": {}}), tmp_path)
    assert row["decoding_seconds"] == 5


def test_the_gate_is_chosen_on_no_test_question(trained, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(grid, "choose_tau", lambda _, rows: seen.setdefault("val", rows) and 0.5)

    def evaluate(_, rows, tau, **settings):
        seen["test"], seen["tau"] = rows, tau
        return dict.fromkeys([*grid.MEASURES, "answer_seconds"]), []

    monkeypatch.setattr(grid, "evaluate", evaluate)
    decodings = {"gate": {"choose_tau": True}}
    flags = {"tasks": "object_counting", "n_train": 30, "seed": 0}
    ((row, _),) = grid.question(StudentPlan("a", flags, 5, decodings), trained)
    assert row["tau"] == seen["tau"] == 0.5
    asked = [{r["question"] for r in seen[split]} for split in ("val", "test")]
    assert len(asked[0]) == len(asked[1]) == 5 and not asked[0] & asked[1]

    arm = {"arm": "a", **LINE, "flags": {"data": "mine.jsonl"}, "decodings": decodings}
    with pytest.raises(UserError, match="decoding gate: choose_tau needs"):
        grid.missing_students([arm], [])


def test_the_embedded_teachers_questions():
    rows = [row for row, _ in prepare.rows(["navigate"], "test", 5)]
    student = StudentPlan("a", {"tasks": "navigate", "n_train": 9, "seed": 0}, 5, {})
    questions, ceiling = grid.find_questions(student, None)
    assert questions == rows and 0.3 < ceiling <= 1
    longer, _ = grid.find_questions(student, None, lengths=[9, 10])
    assert len(longer) == 5 and len(str(longer)) > len(str(rows))


def test_the_ceiling_names_every_gold_signal_by_its_most_frequent_label(monkeypatch):
    """It is no agreement: an annotator that always exchanges two signals allows 100%."""
    counts = np.array([[0, 3, 1], [5, 0, 0], [1, 0, 2]])  # gold, label
    monkeypatch.setattr(grid, "annotate", lambda *_: ([], {"confusion": counts}))
    student = StudentPlan("a", {"tasks": "navigate", "n_train": 9, "seed": 0}, 5, {})
    assert grid.find_questions(student, None)[1] == pytest.approx(10 / 12)


def test_no_student_is_asked_what_it_was_trained_on():
    """Of the embedded teacher and of a student's own file; validation and test are other ones."""
    flags = {"tasks": "boolean_expressions", "n_train": 300, "seed": 0, "n_val": 50}
    student = StudentPlan("a", flags, 30, {})
    (config,) = parse_flags(TrainConfig, student.argv(), "")
    train, val, _, _ = load_data(config)
    known = {trace.question for trace in train + val}
    questions, _ = grid.find_questions(student, None)
    assert len(questions) == 30
    assert not known & {row["question"] for row in questions}
    assert all(prepare.split_of(row["question"]) == "test" for row in questions)


def test_leak_learns_from_training_and_scores_validation(monkeypatch):
    """Flows say all in training, and half in validation, where Yes is a quarter."""
    found = {
        "train": [(("a", "b"), "Yes")] * 2 + [(("b",), "No")] * 3,
        "val": [(("a", "b"), "Yes"), (("x", "b"), "Yes"), (("b",), "No"), (("a", "b"), "No")],
    }
    monkeypatch.setattr(report, "flows", lambda task, split, n: found[split])
    assert report.leak("t").tolist() == [0.5, 0.5]


def processes_with(text):
    """Numbers of the processes whose command line or environment holds a text."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            content = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours
        if text.encode() in content:
            found.add(int(folder.name))
    return found


def wait_for(condition, seconds):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited too long"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_grid_leaves_no_orphan(number, tmp_path):
    """Neither a worker nor the train.py it waits for outlives the grid."""
    endless = {**TINY, "max_steps": 10**6}
    write_rows(tmp_path / "plan.jsonl", [{"arm": "a", "flags": endless, **LINE}])
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    torch_cache = str(tmp_path / "cache")  # torch makes it at some time, by default in TMPDIR
    process = subprocess.Popen(
        [sys.executable, "-m", "data.experiments.grid", str(tmp_path / "plan.jsonl")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": torch_cache},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: list(temporary.glob("*/ckpt.pt")), 120)  # the student is being trained
        assert len(processes_with(str(temporary))) > 2
        if number == signal.SIGINT:  # Ctrl-C reaches every process of a terminal
            os.killpg(process.pid, number)
        else:
            process.kill()
        _, errors = process.communicate(timeout=30)
        wait_for(lambda: not processes_with(str(temporary)), 10)
    finally:
        process.kill()
    assert "Traceback" not in errors and not (tmp_path / "results.jsonl").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130 and errors.rstrip().endswith("stopped")
        assert not list(temporary.iterdir())


@seven_signals
def test_the_committed_plans_are_valid_and_pair_every_arm_with_a_clone():
    students = student_plans(read_plan(PLANS / "plan.jsonl"))
    cells = [[s.flags[name] for name in ("tasks", "n_train", "seed")] for s in students]
    clones = [cell for s, cell in zip(students, cells, strict=True) if s.arm == "clone"]
    assert len(students) > 100 and all(cell in clones for cell in cells)
    others = [path for path in PLANS.rglob("plan.jsonl") if path.parent != PLANS]
    assert len(others) >= 7
    students += student_plans(read_plan(PLANS / "later.jsonl"))  # asks files that are not here
    for path in (*others, PLANS / "families" / "arms.jsonl"):
        lines = read_plan(path)
        assert grid.missing_students(lines, [])  # and so their decodings are valid
        students += student_plans(lines)
    for student in students:
        (config,) = parse_flags(TrainConfig, student.argv(), "")
        check_training(config)
        assert config.seed == student.flags["seed"]


def test_argv_of_a_student():
    student = StudentPlan("a", {"shuffle": True, "tasks": "navigate", "beta": 0.1}, 5, {})
    assert student.argv() == ["--shuffle", "--tasks", "navigate", "--beta", "0.1"]


GOOD = {"arm": "a", "flags": {}, **LINE}
MALFORMED = [
    ({"arm": None}, 'line 1: field "arm" is missing'),
    ({"arm": 5}, '"arm" is a int'),
    ({"arm": ""}, '"arm" is empty'),
    ({"tasks": "x"}, "line 1: a plan needs lists"),
    ({"tasks": [5]}, "a plan needs"),
    ({"n_train": 5}, "a plan needs"),
    ({"n_train": ["many"]}, "--n_train"),
    ({"n_train": [-1]}, "--n_train"),
    ({"seeds": ["x"]}, "--seed"),
    ({"seeds": [None]}, "--seed"),
    ({"questions": "x"}, "a plan needs"),
    ({"flags": []}, "a plan needs"),
    ({"flags": {"beta": 7}}, "--beta"),
    ({"flags": {"beta": None}}, "--beta"),
    ({"flags": {"\x1b[31mred": 1}}, "red"),
    ({"flags": {"method": True}}, "--method"),
    ({"decodings": []}, "a plan needs"),
    ({"decodings": {"gold": 1}}, "a plan needs"),
    ({"decodings": {"gold": {"signal": "gold"}}}, "unrecognized arguments: --signal gold"),
    ({"decodings": {"gold": {"signals": "glod"}}}, "--signals"),
    ({"decodings": {"gate": {"tau": 2}}}, "--tau"),
    ({"decodings": {"flow": {"flow": "recall"}}}, "--flow"),
    ({"decodings": {"other": {"split": "tets"}}}, "--split"),
    ({"decodings": {"longer": {"lengths": 7}}}, "--lengths"),
    ({"decodings": {"longer": {"lengths": [9, 7]}}}, "--lengths"),
    ({"decodings": {"mine": {"file": "nowhere.jsonl"}}}, "nowhere.jsonl"),
]


@pytest.mark.parametrize("change, says", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_plans(change, says, tmp_path, capsys):
    write_rows(tmp_path / "plan.jsonl", [GOOD | change])
    with pytest.raises((UserError, SystemExit)) as e:
        grid.main([str(tmp_path / "plan.jsonl")])
    assert says in str(e.value) + capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["plan.jsonl"]


@pytest.mark.parametrize(
    "change",
    [
        {"questions": 3},
        {"flags": {"beta": 0.2}},
        {"decodings": {"longer": {"lengths": [7, 8]}}},
        {"decodings": {"longer": {"lengths": [7, 9], "split": "val"}}},
    ],
    ids=range(4),
)
def test_rows_made_with_other_settings_are_no_rows_of_the_plan(change, tmp_path):
    """They are neither taken for the new ones nor mixed with them."""
    line = GOOD | {"decodings": {"longer": {"lengths": [7, 9]}}}
    write_rows(tmp_path / "plan.jsonl", [line])
    (student,) = student_plans(read_plan(tmp_path / "plan.jsonl"))
    rows = [student.row(decoding) for decoding in student.decodings]
    assert grid.missing_students([line], rows) == []
    assert grid.missing_students([line], rows[:1])[0].decodings == line["decodings"]
    with pytest.raises(UserError, match="^arm a, decoding .* give it another name"):
        grid.missing_students([line | change], rows)
    with pytest.raises(UserError, match="^arm a, decoding"):
        grid.missing_students([line, line | change], [])


@seven_signals
@pytest.mark.parametrize(
    "plan",
    [
        "plan.jsonl",
        "later.jsonl",
        "real/plan.jsonl",
        "families/tuning/plan.jsonl",
        "families/ladder/plan.jsonl",
        "families/plan.jsonl",
        "families/arms.jsonl",
        "families/passes/plan.jsonl",
        "forks/check/plan.jsonl",
        "forks/plan.jsonl",
        "forks/few/ladder/plan.jsonl",
        "forks/few/plan.jsonl",
        "transfer/tuning/plan.jsonl",
        "transfer/ladder/plan.jsonl",
        "transfer/tuning_700/plan.jsonl",
        "transfer/ladder_700/plan.jsonl",
        "transfer/plan.jsonl",
        "transfer/scratch.jsonl",
    ],
)
def test_every_committed_plan_has_its_rows(plan):
    lines = read_plan(PLANS / plan)
    assert grid.missing_students(lines, read_results(PLANS / plan)) == []


@pytest.mark.parametrize("program", [grid, rescore])
def test_one_program_writes_the_results_of_a_plan(program, tmp_path):
    """Two grids would train every student twice, and count it as two."""
    write_rows(tmp_path / "plan.jsonl", [GOOD])
    write_rows(tmp_path / "results.jsonl", [])
    with lock_folder(tmp_path), pytest.raises(UserError, match="another run is writing there"):
        program.main([str(tmp_path / "plan.jsonl")])


def test_a_wrong_path_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        rescore.main([str(tmp_path / "typo" / "plan.jsonl")])
    assert not list(tmp_path.iterdir())


def test_a_plan_that_training_refuses_is_refused_at_once(tmp_path):
    write_rows(tmp_path / "plan.jsonl", [{**GOOD, "flags": {"minutes": 1, "max_steps": 9}}])
    with pytest.raises(UserError, match="^--max_steps: leave it out"):
        grid.main([str(tmp_path / "plan.jsonl")])
    assert not (tmp_path / "results.jsonl").exists()  # no student has begun


def test_a_plan_may_name_all_families():
    student = StudentPlan("a", {"tasks": "all", "n_train": 9, "seed": 0}, 18, {})
    questions, _ = grid.find_questions(student, classifier=None, split="val")
    assert {row["task"] for row in questions} == set(prepare.FAMILIES)
    assert {len(flow) > 0 for flow, _ in report.flows("all", "val", 18)} == {True}


@pytest.mark.parametrize("program", [grid, report])
def test_the_plan_is_not_overwritten(program, tmp_path):
    """A plan by the name of its results would append to itself."""
    write_rows(tmp_path / "results.jsonl", [GOOD])
    if program is report:
        (tmp_path / "results.png").mkdir()
    with pytest.raises(UserError, match="results"):
        program.main([str(tmp_path / "results.jsonl")])
    assert read_rows(tmp_path / "results.jsonl") == [GOOD]


def test_report_of_no_student(tmp_path, capsys):
    write_rows(tmp_path / "plan.jsonl", [GOOD])
    report.main([str(tmp_path / "plan.jsonl")])
    out = capsys.readouterr().out
    assert "no student has finished yet" in out and "the oracle's signals alone give away" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.jsonl", "results.png"]


@pytest.mark.parametrize("reference", ["scafold", "scaffold:5 tries"])
def test_a_reference_that_no_student_has(reference, tmp_path):
    (tmp_path / "plan.jsonl").write_text(json.dumps(GOOD))
    write_rows(tmp_path / "results.jsonl", family_rows("navigate", [0.2], [0.3]))
    with pytest.raises(UserError, match=f"--reference {reference}"):
        report.main([str(tmp_path / "plan.jsonl"), "--reference", reference])


def test_a_misspelt_reference_is_refused_before_the_grid_trains(tmp_path):
    write_rows(tmp_path / "plan.jsonl", [GOOD | {"decodings": {"longer": {"lengths": [4, 5]}}}])
    with pytest.raises(UserError, match="--reference a:lnger: .* has no such arm"):
        grid.main([str(tmp_path / "plan.jsonl"), "--reference", "a:lnger"])
    assert not (tmp_path / "results.jsonl").exists()


@pytest.mark.parametrize("reference", ["scaffold", "scaffold:predicted"])
def test_a_reference_by_its_name_or_with_a_decoding(reference, tmp_path, capsys):
    write_rows(tmp_path / "plan.jsonl", [GOOD])
    defaults = dict.fromkeys(("signals_kept", "obedience"))
    defaults |= dict.fromkeys(("tokens_per_answer", "steps_per_second", "decoding_seconds"), 1)
    rows = family_rows("navigate", [0.2, 0.3], [0.3, 0.5])
    write_rows(tmp_path / "results.jsonl", [defaults | row for row in rows])
    report.main([str(tmp_path / "plan.jsonl"), "--reference", reference])
    printed = capsys.readouterr().out
    assert f"| accuracy - {reference} |" in printed
    assert "| -15.0 ±63.5 / " in printed  # the clone's 25.0 without the scaffold's 40.0


@pytest.mark.slow
def test_the_committed_results_give_the_readmes_figures(tmp_path, capsys):
    for name in ("plan.jsonl", "results.jsonl"):
        (tmp_path / name).write_bytes((PLANS / name).read_bytes())
    report.main([str(tmp_path / "plan.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    headline = "| web_of_lies | 600 | scaffold | predicted | 8 | 95.5 ±2.3 | 10.1 ±3.6 "
    headline += "| 9.2 ±7.3 / ±6.2, r -0.42 | -11.3 ±10.2 / ±8.9, r -0.28 |"
    assert any(line.startswith(headline) for line in lines)
    assert any("the oracle's signals alone give away 92.6% of the answers" in s for s in lines)
    for name in ("results.png", "curves.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@seven_signals
def test_the_table_of_the_families_is_in_their_readme(tmp_path, capsys):
    folder = PLANS / "families"
    shutil.copy(folder / "plan.jsonl", tmp_path)
    shutil.copy(folder / "results.jsonl", tmp_path)
    by_family.main([str(tmp_path / "plan.jsonl")])
    table = capsys.readouterr().out.splitlines()[:-1]  # the last line names the picture
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert len(table) == 13 and all(line in readme for line in table)


@pytest.mark.parametrize("plan, n_lines", [("plan.jsonl", 10), ("few/plan.jsonl", 12)])
def test_the_tables_of_the_forks_are_in_their_readme(plan, n_lines, capsys):
    forks.main([str(PLANS / "forks" / plan)])
    table = capsys.readouterr().out.splitlines()
    readme = (PLANS / "forks" / "README.md").read_text(encoding="utf-8")
    assert len(table) == n_lines and all(line in readme for line in table)


def fork_row(arm, seed, done):
    """One "told" row of web_of_lies that did `done` of its 10 forks as told."""
    return {
        "arm": arm,
        "decoding": "told",
        "flags": {"tasks": "web_of_lies", "seed": seed},
        "accuracy": 0.5,
        "steps": {"fork": {"all": 10, "right": 10, "obeyed": 10, "done": done}},
    }


def test_obedience_is_paired_by_seed_not_by_order():
    rows = [fork_row("embed", 0, 9), fork_row("embed", 1, 5)]
    rows += [fork_row("token", 1, 6), fork_row("token", 0, 10), fork_row("token", 2, 1)]
    rows += [row | {"decoding": "predicted"} for row in rows]
    measures = forks.measure(rows)
    assert measures["web_of_lies", "token"][forks.DONE_PAIRED] == pytest.approx({0: 10, 1: 10})
    assert not measures["web_of_lies", "embed"][forks.DONE_PAIRED]
    alone = forks.measure([row for row in rows if row["arm"] == "token"])
    assert list(alone) == [("web_of_lies", "token")]


def test_interval_by_hand():
    mean, half = report.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.30265 / 3**0.5, abs=1e-5)
    assert math.isnan(report.interval([1.0])[1])


# From the printed tables of Student's t.
@pytest.mark.parametrize(
    "df, t", [(1, 12.7062), (2, 4.3027), (7, 2.3646), (10, 2.2281), (29, 2.0452), (120, 1.9799)]
)
def test_quantiles_of_students_t(df, t):
    assert report.t_quantile(df) == pytest.approx(t, abs=1e-4)
    values = np.arange(df + 1.0)
    error = np.std(values, ddof=1) / (df + 1) ** 0.5
    assert report.interval(values)[1] == pytest.approx(t * error, rel=1e-4)


def test_welch_by_hand():
    """Variances 1 and 4 of three values each: 2 x (1 + 4)^2 / (1 + 16) = 2.94 degrees."""
    half = report.welch([(1.0, 2.0, 3.0), (2.0, 4.0, 6.0)])
    assert half == pytest.approx(report.t_quantile(50 / 17) * (5 / 3) ** 0.5)
    assert report.welch([(1.0, 1.0), (0.0, 0.0)]) == 0
    # two and nine values, squared errors 1 and 1: 2^2 / (1 / 1 + 1 / 8) degrees
    half = report.welch([(0, 2), (-3, -3, -3, -3, 0, 3, 3, 3, 3)])
    assert half == pytest.approx(report.t_quantile(32 / 9) * 2**0.5)


def test_fewer_traces_by_hand():
    values = [
        ("clone", 100, 0.2),
        ("clone", 400, 0.5),
        ("clone", 1600, 0.9),
        ("scaffold", 100, 0.2),
        ("scaffold", 400, 0.6),
        ("scaffold", 400, 1.0),
        ("scaffold", 1600, 0.7),
    ]
    rows = []
    for arm, n_train, accuracy in values:
        flags = {"tasks": "t", "n_train": n_train}
        row = {"flags": flags, "arm": arm, "decoding": "predicted", "accuracy": accuracy}
        rows.append(row)
    gold = {**rows[-1], "decoding": "gold", "accuracy": 1.0}
    (line,) = report.fewer([*rows, gold], "t")  # 0.2 to 0.8: half way at 200
    says = "the clone's 50.0% with 400 traces takes the scaffold 200, 2.0 times fewer"
    # Drawings of 0.6 and 1.0 have means of 0.6 and 1.0, too: half after 3/4 and 3/8 of the way.
    low, high = 4 / 2**1.5, 4 / 2**0.75
    assert f"{says} ({low:.1f} to {high:.1f})" in line
    assert report.fewer(rows, "another") == []


def test_differences_are_paired_and_to_the_reference():
    accuracies = {
        ("clone", "predicted"): (0.2, 0.5),
        ("clone", "vote"): (0.3, 0.6),
        ("scaffold", "predicted"): (0.4, 0.7),
        ("scaffold", "vote"): (0.8, 1.0),
    }
    rows = []
    for (arm, decoding), values in accuracies.items():
        for seed, accuracy in enumerate(values):
            flags = {"tasks": "t", "n_train": 9, "seed": seed}
            row = dict.fromkeys([*grid.MEASURES, "signal_ceiling"])
            row |= dict.fromkeys(["tokens_per_answer", "steps_per_second", "decoding_seconds"], 1)
            row |= {"arm": arm, "decoding": decoding, "flags": flags}
            rows.append(row | {"accuracy": accuracy, "erroneous_paths": 0.0})

    def differences(reference):
        lines = report.table(rows[:-1], reference).splitlines()
        return [line.split(" | ")[7] for line in lines[2:]]

    half = 100 * report.t_quantile(2) * 0.15 * 2**0.5  # not paired: of two times 0.15 from a mean
    pair = f"±0.0 / ±{half:.1f}, r 1.00"
    assert differences("clone") == ["-", "-", f"20.0 {pair}", "50.0"]  # the vote of its only seed
    assert differences("clone:predicted") == ["-", f"10.0 {pair}", f"20.0 {pair}", "60.0"]
    assert differences("scaffold:predicted") == [f"-20.0 {pair}", f"-10.0 {pair}", "-", "40.0"]


def test_a_share_of_the_ceiling_only_where_every_prediction_is_kept():
    """The ceiling is that of all signals: what the gate keeps may be above it."""
    row = dict.fromkeys(grid.MEASURES, 0.9) | {"arm": "a", "decoding": "x", "signal_ceiling": 0.8}
    row |= {"steps_per_second": 1, "decoding_seconds": 1}
    row |= {"flags": {"tasks": "t", "n_train": 9, "seed": 0}}
    gated = report.columns({0: row | {"signals_kept": 0.5}}, {}, "clone")
    assert gated["signals / ceiling"] == "-" and gated["signals"] == "90.0"
    row |= {"signals_kept": 1.0}
    assert report.columns({0: row}, {}, "")["signals / ceiling"] == "112.5"
    forked = row | {"flags": row["flags"] | {"forks": True}}
    assert report.columns({0: forked}, {}, "")["signals / ceiling"] == "-"


def test_curves_drop_what_all_names_share():
    flags = {"eval_interval": 50, "seed": 0}
    validation = [[0, 11.0, 2.0], [50, 1.5, 1.0]]
    rows = [{"arm": "a, both", "flags": flags, "validation": validation}]
    assert [row["split"] for row in report.validation_curves(rows)] == ["a, both"]
    rows.append(rows[0] | {"arm": "b, both"})
    rows.append(rows[0] | {"arm": "c", "flags": {"seed": 0}})  # asks for no curve
    assert [row["split"] for row in report.validation_curves(rows)] == ["a", "b"]


def test_curves_are_those_that_an_arm_asks_for():
    validation = [[0, 11.0, 2.0], [50, 1.5, 1.0]]
    rows = [{"arm": "a", "flags": {"eval_interval": 50, "seed": 0}, "validation": validation}]
    rows.append(rows[0] | {"arm": "b", "flags": {"seed": 0}})
    losses = {"token_loss": 1.5, "signal_loss": 1.0}
    assert report.validation_curves(rows) == [{"step": 50, "split": "a", **losses}]


@pytest.mark.parametrize("values", [(0.6, 1.15), (0.3, 11.5), (0.01, 3)])
def test_logarithmic_axes_have_plain_labels(values):
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.subplots()
    ax.plot(values)
    ax.set_yscale("log")
    label_plainly(ax.yaxis)
    figure.canvas.draw()
    low, high = ax.get_ylim()
    labels = [tick.get_text() for tick in ax.get_yticklabels(which="both")]
    shown = [label for label in labels if label and low <= float(label) <= high]
    assert 3 <= len(shown) <= 10


# ------------------------------------------------------------------------------------ the families
def family_rows(task, clones, scaffolds, n_train=400):
    """Rows of a family: an accuracy for each seed of both arms."""
    rows = []
    for arm, values in (("clone", clones), ("scaffold", scaffolds)):
        for seed, value in enumerate(values):
            flags = {"tasks": task, "n_train": n_train, "seed": seed, "max_steps": 150}
            measures = {"accuracy": value, "erroneous_paths": 1 - value}
            signals = (0.6, 0.8) if arm == "scaffold" else (None, 0.8)
            measures |= dict(zip(("signal_accuracy", "signal_ceiling"), signals, strict=True))
            rows.append({"arm": arm, "decoding": "predicted", "flags": flags, **measures})
    return rows


def test_a_family_counts_once_and_the_tuned_one_not_at_all():
    rows = family_rows("navigate", [0.5, 0.5], [0.5, 0.7])  # +10 points
    rows += family_rows("reachability", [0.5, 0.4, 0.9], [0.7, 0.6, 0.9, 1.0])  # (20 + 20 + 0) / 3
    rows += family_rows("web_of_lies", [0.1], [0.9])
    assert by_family.families_in(rows) == ["web_of_lies", "navigate", "reachability"]
    mean, half = by_family.pool_over_families(rows, "accuracy", ["web_of_lies"])
    assert mean == pytest.approx((10 + 40 / 3) / 2)
    # the t-interval of two values: 12.706 times half of their distance
    assert half == pytest.approx(12.706 * (40 / 3 - 10) / 2, rel=1e-3)
    errors, _ = by_family.pool_over_families(rows, "erroneous_paths", ["web_of_lies"])
    assert errors == pytest.approx(-mean)


def test_a_seed_of_one_family_is_no_partner_of_it_in_another():
    first = family_rows("navigate", [0.5, 0.5], [0.5, 0.7])  # 0 and 20 points
    for scaffolds in ([0.5, 0.7], [0.7, 0.5]):  # in either order
        rows = first + family_rows("reachability", [0.5, 0.5], scaffolds)
        mean, half = by_family.pool_over_seeds(rows, "accuracy", [])
        # each family's squared error is 20**2 / 2 / 2; two degrees of freedom: t is 4.303
        assert (mean, half) == pytest.approx((10, 4.303 * (100 + 100) ** 0.5 / 2), rel=1e-3)


def test_students_of_several_sizes_are_no_pairs(tmp_path):
    plan = tmp_path / "plan.jsonl"
    plan.write_text("")
    few = family_rows("navigate", [0.2, 0.3], [0.3, 0.4], n_train=100)
    many = family_rows("navigate", [0.8], [0.7, 0.9], n_train=400)
    write_rows(tmp_path / "results.jsonl", few + many)
    with pytest.raises(UserError, match="navigate has several numbers of traces"):
        by_family.main([str(plan)])
    for row in few + many:
        row["flags"]["forks"] = True
    write_rows(tmp_path / "results.jsonl", few + many)
    with pytest.raises(UserError, match="navigate has several numbers of traces"):
        forks.main([str(plan)])


def test_a_plan_without_a_number_of_steps_has_the_default():
    rows = family_rows("navigate", [0.2], [0.3], n_train=100)
    del rows[0]["flags"]["max_steps"]
    assert (
        by_family.passes(rows, "navigate") == TrainConfig.max_steps * TrainConfig.batch_size / 100
    )


def test_halfway_between_guessing_and_plenty():
    sizes = {200: [0.1, 0.3], 400: [0.5, 0.7], 6400: [0.9, 1.0]}
    mark, size = by_family.halfway(sizes, guess=0.25)
    assert mark == pytest.approx(0.6) and size == 400
    answers = [row["answer"] for row, _ in prepare.rows(["navigate"], "val", 500)]
    assert by_family.guessing("navigate") == max(answers.count("Yes"), answers.count("No")) / 500


def test_families_are_printed_and_drawn(tmp_path, capsys):
    plan = tmp_path / "plan.jsonl"
    plan.write_text("")
    with pytest.raises(UserError, match="no student has finished"):
        by_family.main([str(plan)])
    rows = family_rows("navigate", [0.5, 0.5], [0.5, 0.7])
    rows += family_rows("word_problems", [0.5], [0.5])  # one pair: not yet
    write_rows(tmp_path / "results.jsonl", rows)
    with pytest.raises(UserError, match="two families have to have two pairs"):
        by_family.main([str(plan)])
    with pytest.raises(UserError, match="unknown task 'web_of_lie'"):
        by_family.main([str(plan), "--tuned_on", "web_of_lie"])
    rows += family_rows("reachability", [0.5, 0.4], [0.5, 0.4])
    write_rows(tmp_path / "results.jsonl", rows)
    by_family.main([str(plan)])
    printed = capsys.readouterr().out
    assert "| navigate | 2 | +10.0 ±127.1 | -10.0 ±127.1 | 3 | 75 |" in printed
    assert "| pooled over 2 families | | +5.0 " in printed
    assert (tmp_path / "families.png").read_bytes()[:4] == b"\x89PNG"
    write_rows(tmp_path / "results.jsonl", [r for r in rows if r["arm"] == "clone"])
    by_family.main([str(plan)])
    assert "| navigate | " in capsys.readouterr().out
