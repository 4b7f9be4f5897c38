"""Flags that do not go together: the likely mistakes are refused with one line (UserError)."""

from pathlib import Path

from data.algorithmic import prepare
from data.tools import parallel
from data.tools.flags import UserError
from scaffold import CONCLUSION, classes_of

PLAN_FLAGS = ("grid", "minutes", "reference")  # of train.py that go with --grid
SHAPE_FLAGS = ("depth", "width", "tokenizer", "vocab_size")
EVALUATION_FLAGS = ("n", "tasks", "tau_from", "out", "html", "signals")  # of sample.py


def refuse(config, names, reason):
    """Raise UserError for the first of these flags that has another value than its default."""
    for name in names:
        if getattr(config, name) != getattr(type(config), name):
            raise UserError(f"--{name}: {reason}")


def check_training(config):
    """Raise UserError for flags of train.py (a TrainConfig) that do not go together."""
    init = config.init
    if parallel.WORLD > 1 and (config.grid or config.minutes):
        raise UserError("--grid and --minutes are for one process: leave them out under torchrun")
    if config.grid:
        student_flags = [name for name in vars(config) if name not in PLAN_FLAGS]
        refuse(config, student_flags, "the plan has the flags of its students; leave it out")
    else:
        refuse(config, ["reference"], "goes with --grid; leave it out")
    for name in ("epochs", "minutes"):
        if getattr(config, name):
            refuse(config, ["max_steps"], f"leave it out with --{name}, or give --{name} 0")
    if config.data != "algorithmic":
        refuse(config, ["forks", "labels"], "of the embedded teacher; leave it out with --data")
    elif config.first_tasks:
        prepare.parse_tasks(config.first_tasks)
    if config.muon_lr == config.adam_lr == 0:
        raise UserError("--adam_lr 0: needs a rate above 0 where --muon_lr is 0")
    if config.width % 32:
        raise UserError(f"--width {config.width}: must be a multiple of 32, the size of a head")
    if init:
        refuse(config, SHAPE_FLAGS, f"--init {init} brings its own shape and words; leave it out")
    if init and Path(init).resolve().is_relative_to(Path(config.out_dir).resolve()):
        raise UserError(f"--init {init}: lies in --out_dir, which the run writes; name another")


def check_answering(config, question, students):
    """Raise UserError for flags of sample.py that do not go together, or that a student lacks.

    students: list of Student. question: the one on the command line, or None.
    """
    clones = [student for student in students if student.method == "clone"]
    scaffolds = [student for student in students if student.method != "clone"]
    if config.eval and question:
        raise UserError("--eval asks what is in a file: leave out the question")
    if config.eval:
        refuse(config, ["compare"], "is for questions; leave it out with --eval")
    else:
        refuse(config, EVALUATION_FLAGS, "goes with --eval FILE; leave it out")
    if config.tau_from:
        refuse(config, ["tau"], "--tau_from chooses it; leave one of them out")
    if config.k > 1 and not config.temperature and clones:
        raise UserError("--k samples a clone's answers: give a --temperature above 0")
    if config.flow and (config.eval or config.k > 1 or not scaffolds):
        raise UserError("--flow is for a scaffold, without --eval and --k")
    if not scaffolds:
        refuse(config, ["tau", "prune", "tau_from"], "a clone has no signals; leave it out")
    if config.prune and any(CONCLUSION not in classes_of(s.classes) for s in scaffolds):
        raise UserError("--prune: this student knows no Conclusion (--classes); leave it out")
