"""Train and question the students of a plan, several at a time, each on one thread.

    python -m data.experiments.grid data/experiments/plan.jsonl --minutes 10

What is in results.jsonl beside the plan is not done again: a stopped grid goes on where it stopped.
At the end it prints and draws what data.experiments.report does.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm

from annotate import annotate
from data.algorithmic import prepare
from data.experiments.plan import read_plan, read_results, results_file, student_plans
from data.experiments.report import PLAN, REFERENCE_HELP, pictures, print_report
from data.tools.checkpoint import load_student
from data.tools.files import check_outputs
from data.tools.flags import UserError, flag, parse_flags, run_program
from data.tools.loading import load_data
from data.tools.machine import pick_device
from data.tools.traces import read_questions
from sample import evaluate
from train import TrainConfig

ROOT = Path(__file__).resolve().parents[2]  # of the repository
MEASURES = [  # of sample.evaluate, in the order of a row of results
    "accuracy", "erroneous_paths", "signal_accuracy",
    "signals_kept", "obedience", "tokens_per_answer",
]  # fmt: skip


@dataclass
class GridConfig:
    minutes: float = flag(0.0, "start no new student after so many minutes; 0: no limit")
    reference: str = flag("clone", REFERENCE_HELP)


trainings = []  # processes of train.py; the last of them may still run
starting = threading.Lock()  # held while one is started, so that none escapes end_with_grid


def start_worker(lifeline):
    """Prepare a worker that ends as soon as the grid closes its end of the lifeline (Connection).

    That end is also closed when the grid is killed.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grid
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    tqdm.set_lock(threading.RLock())  # its default lock would leak a semaphore when we end
    threading.Thread(target=end_with_grid, args=(lifeline,), daemon=True).start()


def end_with_grid(lifeline):
    """Wait for the end of the grid; then end the training and this worker."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    with starting:
        for training in trainings:
            training.kill()
            training.wait()
        os._exit(1)


def run_student(student, folder):
    """Train a student (StudentPlan) and question it under every decoding. Returns its rows."""
    with TemporaryDirectory(dir=folder) as out:
        training = train_student(student, out)
        device, _ = pick_device(student.flags.get("device", "auto"))
        trained = load_student(Path(out) / "ckpt.pt", device)
        rows = []
        for decoding, options in student.decodings.items():
            result, ceiling = answer(student, trained, decoding, options)
            rows.append(
                {
                    "arm": student.arm,
                    "decoding": decoding,
                    "flags": student.flags,
                    **{name: result[name] for name in MEASURES},
                    "signal_ceiling": ceiling,
                    "decoding_seconds": result["seconds"],
                    "tokens_per_second": training["tokens_per_second"],
                    "steps_per_second": training["steps_per_second"],
                    "validation": training["validation"],
                }
            )
    return rows


def train_student(student, out):
    """Train a student with train.py. Returns its result.json; raises UserError where it failed."""
    program = [sys.executable, str(ROOT / "train.py")]
    with starting:
        training = subprocess.Popen(
            [*program, *student.argv(), "--n_test", "0", "--out_dir", out],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        trainings.append(training)
    _, errors = training.communicate()
    if training.returncode:
        lines = errors.strip().splitlines() or [f"ended with code {training.returncode}"]
        problem = lines[-1].removeprefix("error: ")
        raise UserError(f"arm {student.arm}, seed {student.flags['seed']}: {problem}")
    return json.loads((Path(out) / "result.json").read_text(encoding="utf-8"))


def answer(student, trained, decoding, options):
    """Question a trained student under one decoding. Returns (result of evaluate, ceiling)."""
    choice = {k: options[k] for k in ("split", "lengths", "file") if k in options}
    settings = {k: options[k] for k in options if k not in choice}
    questions, ceiling = find_questions(student, trained.classifier, **choice)
    if not questions:
        raise UserError(f"arm {student.arm}, {decoding}: there is no question to answer")
    result, _ = evaluate(trained, questions, **settings)
    return result, ceiling


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
        tasks = student.flags["tasks"].split(",")
        problems = prepare.rows(tasks, split, student.questions, lengths=lengths)
        questions = [row for row, _ in problems]
        gold = {row["id"]: signals for row, signals in problems}
        confusion = annotate(questions, gold, classifier)[1]["confusion"]
        ceiling = float(confusion.max(1).sum() / confusion.sum())
    if file:
        questions = read_questions(file)
    return questions, ceiling


def missing_students(lines, rows):
    """The students of a plan, with the decodings that no row of the results is of.

    All of one seed come before the next, so that what is there can be compared.
    """
    students = student_plans(lines)
    for student in students:
        parse_flags(TrainConfig, student.argv(), "")  # a wrong flag ends the grid before it begins
        for row in rows:
            if (row["arm"], row["flags"]) == (student.arm, student.flags):
                student.decodings.pop(row["decoding"], None)
    students = [student for student in students if student.decodings]
    return sorted(students, key=lambda student: int(student.flags["seed"]))


def run_students(students, path, minutes):
    """Run the students and append the rows of each to path as soon as it has finished.

    minutes: start none after so long; 0: no limit. Where one fails, those that run may finish; then
    its error is raised.
    """
    describe = ["git", "describe", "--always", "--dirty"]
    code = subprocess.run(describe, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    workers = 1 if torch.cuda.is_available() else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    lifeline, held_end = context.Pipe(duplex=False)
    deadline = time.time() + 60 * minutes if minutes else float("inf")
    waiting, running, failure = deque(students), set(), None
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(workers, context, start_worker, (lifeline,)) as pool,
        held_end,  # closed first, which ends the workers
        tqdm(total=len(students), desc="students") as bar,
    ):
        while True:
            while waiting and len(running) < workers and time.time() <= deadline:
                running.add(pool.submit(run_student, waiting.popleft(), folder))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                if future.exception():
                    failure = future.exception()
                    waiting.clear()
                    continue
                with open(path, "a", encoding="utf-8") as f:
                    for row in future.result():
                        f.write(json.dumps({**row, "code": code}) + "\n")
                bar.update()
    if failure:
        raise failure


def main(argv=None):
    config, plan_path = parse_flags(GridConfig, argv, __doc__.split("\n")[0], PLAN)
    lines = read_plan(plan_path)
    results = results_file(plan_path)
    check_outputs([results, *pictures(plan_path)], plan_path)
    students = missing_students(lines, read_results(plan_path))
    run_students(students, results, config.minutes)
    print_report(plan_path, config.reference)


if __name__ == "__main__":
    run_program(main)
