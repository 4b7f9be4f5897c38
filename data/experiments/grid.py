"""Train and question the students of a plan, several at a time, each on one thread.

    python -m data.experiments.grid data/experiments/plan.jsonl --minutes 10

What is in results.jsonl beside the plan is not done again: a stopped grid goes on where it stopped.
Every answer is kept, too, in the folder traces, for data.experiments.rescore. At the end the grid
prints and draws what data.experiments.report does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm

from annotate import annotate
from data.algorithmic import prepare
from data.experiments.forks import count_steps
from data.experiments.plan import (
    StudentPlan,
    command_line,
    read_plan,
    read_results,
    results_file,
    student_plans,
    traces_file,
)
from data.experiments.report import (
    PLAN,
    ReportConfig,
    check_reference,
    group_of,
    pictures,
    print_report,
)
from data.tools.checkpoint import load_student
from data.tools.checks import check_training
from data.tools.evaluation import choose_tau
from data.tools.files import check_outputs, write_jsonl
from data.tools.flags import UserError, flag, parse_flags, run_program
from data.tools.loading import load_data
from data.tools.machine import lock_folder, pick_device
from data.tools.traces import read_questions
from sample import AnswerConfig, evaluate
from train import TrainConfig

ROOT = Path(__file__).resolve().parents[2]  # of the repository
# What a row of results takes from sample.evaluate and from train.py's result.json, in its order.
MEASURES = (
    "accuracy erroneous_paths signal_accuracy signals_kept obedience tokens_per_answer".split()
)
GATE_MEASURES = "tau gated gated_answered".split()  # only where the gate is on
TRAINING_MEASURES = ("tokens_per_second", "steps_per_second", "validation")


@dataclass
class GridConfig(ReportConfig):
    minutes: float = flag(0.0, "start no new student after so many minutes; 0: no limit")


@dataclass
class DecodingConfig(AnswerConfig):
    """The options of a decoding."""

    signals: str = flag(
        "predicted",
        "the head's own, those of the test traces, these at their forks alone, or random ones",
        choices=("predicted", "gold", "forks", "random"),
    )
    split: str = flag("test", "of the questions", choices=("train", "val", "test"))
    lengths: tuple = flag((), "shortest and longest problem", nargs=2)
    file: str = flag("", "questions of one's own")
    choose_tau: bool = flag(False, "choose tau on the traces of the validation split")


def work():
    """A worker: train the student of the command line, question it, leave its rows in a folder."""
    student = StudentPlan(**json.loads(sys.argv[1]))
    out = Path(sys.argv[2])
    code = code_version()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grid
    command = [sys.executable, str(ROOT / "train.py"), *student.argv()]
    training = subprocess.Popen([*command, "--n_test", "0", "--out_dir", str(out)])
    threading.Thread(target=end_with_grid, args=(training,), daemon=True).start()
    if training.wait():
        sys.exit(training.returncode)  # its last line says why
    rows = []
    for row, records in question(student, out):
        rows.append({**row, "code": code})
        write_jsonl(traces_file(out / "rows.jsonl", row), records)
    write_jsonl(out / "rows.jsonl", rows)


def code_version():
    """The commit of the code, "-dirty" where code has changed since; "" without git.

    Results are no code: the rows that a grid appends to them do not make it another one.
    """
    if not shutil.which("git"):
        return ""

    def git(*arguments):
        command = ["git", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    changed = git("diff", "--name-only", "HEAD", "--", "*.py", "*.json")
    return git("describe", "--always") + ("-dirty" if changed else "")


def end_with_grid(training):
    """Once the grid has ended, which closes our standard input, end the training and ourselves."""
    os.read(0, 1)
    training.kill()
    training.wait()
    os._exit(1)


def question(student, out):
    """For every decoding of a student that was trained in a folder: (its row, its records)."""
    training = json.loads((out / "result.json").read_text(encoding="utf-8"))
    device, _ = pick_device(student.flags.get("device", "auto"))
    trained = load_student(out / "ckpt.pt", device)
    for decoding, options in student.decodings.items():
        choice, settings = read_options(options)
        questions, ceiling = find_questions(student, trained.classifier, **choice)
        if not questions:
            raise UserError(f"{decoding}: there is no question to answer")
        if settings.pop("choose_tau"):
            val_questions, _ = find_questions(student, trained.classifier, "val")
            settings["tau"] = choose_tau(trained, val_questions)
        result, records = evaluate(trained, questions, **settings)
        row = student.row(decoding) | {name: result[name] for name in MEASURES}
        row |= {"signal_ceiling": ceiling, "decoding_seconds": result["answer_seconds"]}
        row |= {name: training[name] for name in TRAINING_MEASURES}
        if settings["tau"]:
            gate = {"tau": settings["tau"], **result}
            row |= {name: gate.get(name) for name in GATE_MEASURES}
        if "open" in questions[0]:  # the teacher had forks
            row["steps"] = count_steps(records, questions)
        yield row, records


def read_options(options):
    """The options of a decoding for (`find_questions`, sample.evaluate). Refuses wrong ones."""
    (config,) = parse_flags(DecodingConfig, command_line(options), "")
    settings = asdict(config)
    choice = {name: settings.pop(name) for name in ("split", "lengths", "file")}
    choice["lengths"] = prepare.parse_lengths("-".join(map(str, choice["lengths"])))
    if choice["file"]:
        read_questions(choice["file"])
    return choice, settings


def find_questions(student, classifier, split="test", lengths=None, file=None):
    """(rows to answer, the highest signal accuracy that their gold signals allow).

    The ceiling: every gold signal named by its most frequent label. Without gold signals nobody
    knows it, and it is 1.
    """
    ceiling = 1.0
    if "data" in student.flags:
        argv = [*student.argv(), "--n_test", str(student.questions)]
        (config,) = parse_flags(TrainConfig, argv, "")
        _, _, questions, _ = load_data(config)
    else:
        forks = bool(student.flags.get("forks"))
        tasks = prepare.parse_tasks(student.flags["tasks"], forks)
        problems = prepare.rows(tasks, split, student.questions, lengths=lengths, forks=forks)
        questions = [row for row, _ in problems]
        gold = {row["id"]: signals for row, signals in problems}
        confusion = annotate(questions, gold, classifier)[1]["confusion"]
        ceiling = float(confusion.max(1).sum() / confusion.sum())
        if forks:  # signals that are told are then the teacher's own: right ones at each fork
            named = [signals for _, signals in problems]
            questions, _ = annotate(questions, weight=classifier, llm=named)
    if file:
        questions = read_questions(file)
    return questions, ceiling


def questions_of(row):
    """What the student of a row of the results was asked."""
    student = StudentPlan(row["arm"], row["flags"], row["questions"], {})
    choice, _ = read_options(row["options"])
    return find_questions(student, None, **choice)[0]


def missing_students(lines, rows):
    """The students of a plan, with the decodings that no row of the results is of.

    All of one seed come before the next, so that what is there can be compared. Raises UserError
    for a row of the same place in the table that was made with other settings, and for flags that
    train.py refuses.
    """
    students = student_plans(lines)
    named = {(*group_of(row), row["flags"]["seed"]): row for row in rows}
    for student in students:
        (config,) = parse_flags(TrainConfig, student.argv(), "")
        check_training(config)
        for decoding, options in list(student.decodings.items()):
            row = student.row(decoding)
            old = named.setdefault((*group_of(row), row["flags"]["seed"]), row)
            if any(old.get(name) != value for name, value in row.items()):
                problem = "is there with other flags, questions or options; give it another name"
                raise UserError(f"arm {student.arm}, decoding {decoding}: {problem}")
            if old is row:
                _, settings = read_options(options)
                if settings["choose_tau"] and "data" in student.flags:
                    problem = "choose_tau needs the embedded teacher's validation questions"
                    raise UserError(f"decoding {decoding}: {problem}; give a tau")
            else:
                del student.decodings[decoding]
    students = [student for student in students if student.decodings]
    return sorted(students, key=lambda student: int(student.flags["seed"]))


def run_student(student, results, lifeline, deadline, failures):
    """Have a worker train and question a student. Returns its rows as JSONL (str).

    Its answers are copied to the folder traces beside the results. There are no rows after the
    deadline, and once a student has failed: failures (list of str) says why. lifeline: a pipe that
    is closed at the end of the grid, however it ends.
    """
    if failures or time.time() > deadline:
        return ""
    program = "from data.experiments import grid; grid.run_program(grid.work)"
    with TemporaryDirectory() as out:
        worker = subprocess.run(
            [sys.executable, "-c", program, json.dumps(asdict(student)), out],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            stdin=lifeline,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if not worker.returncode:
            traces = results.with_name("traces")
            shutil.copytree(Path(out) / "traces", traces, dirs_exist_ok=True)
            return (Path(out) / "rows.jsonl").read_text(encoding="utf-8")
        lines = worker.stderr.strip().splitlines() or [f"ended with code {worker.returncode}"]
        problem = lines[-1].removeprefix("error: ")
        failures.append(f"arm {student.arm}, seed {student.flags['seed']}: {problem}")
        return ""


def run_students(students, path, minutes):
    """Run the students and append the rows of each to path as soon as it has finished.

    minutes: start none after so long; 0: no limit. Where one fails, those that run may finish; then
    its error is raised.
    """
    workers = 1 if torch.cuda.is_available() else os.cpu_count() or 1
    deadline = time.time() + 60 * minutes if minutes else float("inf")
    failures = []
    lifeline, held_end = os.pipe()
    with (
        open(lifeline, "rb"),
        ThreadPoolExecutor(workers) as pool,
        open(held_end, "wb"),  # closed before the pool waits for its threads: that ends the workers
        tqdm(total=len(students), desc="students") as bar,
    ):
        jobs = [pool.submit(run_student, s, path, lifeline, deadline, failures) for s in students]
        for job in as_completed(jobs):
            if job.result():
                with open(path, "a", encoding="utf-8") as f:
                    f.write(job.result())
                bar.update()
    if failures:
        raise UserError(failures[0])


def main(argv=None):
    config, plan_path = parse_flags(GridConfig, argv, __doc__.split("\n")[0], PLAN)
    lines = read_plan(plan_path)
    results = results_file(plan_path)
    check_outputs([results, *pictures(plan_path)], plan_path)
    planned = [student.row(name) for student in student_plans(lines) for name in student.decodings]
    with lock_folder(results.parent):
        rows = read_results(plan_path)
        check_reference(config.reference, rows + planned, plan_path)
        students = missing_students(lines, rows)
        run_students(students, results, config.minutes)
    print_report(plan_path, config.reference)


if __name__ == "__main__":
    run_program(main)
