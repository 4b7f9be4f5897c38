"""Flags that do not go together: refused with one line (UserError), and not ignored."""

from pathlib import Path

from data.algorithmic import prepare
from data.tools import parallel
from data.tools.flags import UserError
from scaffold import CONCLUSION, classes_of

EVALUATION_FLAGS = ("n", "tasks", "tau_from", "out", "html", "signals")


def changed(config, names):
    """Those of the flags (names) that have another value than their default: a list."""
    return [name for name in names if getattr(config, name) != getattr(type(config), name)]


def check_training(config):
    """The flags of train.py."""
    init = config.init
    if parallel.WORLD > 1 and (config.grid or config.minutes):
        raise UserError("--grid and --minutes are for one process: leave them out under torchrun")
    of_students = [name for name in vars(config) if name not in ("grid", "minutes", "reference")]
    if config.grid and (others := changed(config, of_students)):
        raise UserError(f"--grid: the plan has the flags of its students; leave out --{others[0]}")
    for name in ("epochs", "minutes"):
        if getattr(config, name) and changed(config, ["max_steps"]):
            problem = f"is in place of --max_steps; leave one out, or give --{name} 0"
            raise UserError(f"--{name} {getattr(config, name):g}: {problem}")
    if config.data == "algorithmic" and config.first_tasks:
        prepare.parse_tasks(config.first_tasks)
    if config.muon_lr == config.adam_lr == 0:
        raise UserError("--adam_lr 0: needs a rate above 0 where --muon_lr is 0")
    if config.width % 32:
        raise UserError(f"--width {config.width}: must be a multiple of 32, the size of a head")
    if changed(config, ["data"]) and (own := changed(config, ["forks", "labels"])):
        problem = "a choice of the embedded teacher's; leave it out with --data"
        raise UserError(f"--{own[0]}: {problem}")
    shape = ("depth", "width", "tokenizer", "vocab_size")
    if init and changed(config, shape):
        raise UserError(
            f"--init {init}: brings its own shape and words; leave out --{', --'.join(shape)}"
        )
    if init and Path(init).resolve().is_relative_to(Path(config.out_dir).resolve()):
        raise UserError(f"--init {init}: lies in --out_dir, which the run writes; name another")


def check_answering(config, question, students):
    """The flags of sample.py. question: the one on the command line, or None."""
    clones = [student for student in students if student.method == "clone"]
    if config.eval and (question or config.compare):
        given = "a question" if question else "--compare"
        raise UserError(f"--eval asks one student what is in a file: leave out {given}")
    if not config.eval and (others := changed(config, EVALUATION_FLAGS)):
        raise UserError(f"--{others[0]}: goes with --eval; leave it out, or name a file to answer")
    if config.k > 1 and not config.temperature and clones:
        raise UserError("--k samples a clone's answers: give a --temperature above 0")
    if config.flow and (config.eval or config.k > 1 or students[0] in clones):
        raise UserError("--flow is for a scaffold, without --eval and --k")
    if len(clones) == len(students) and (others := changed(config, ["tau", "prune", "tau_from"])):
        raise UserError(f"--{others[0]}: a clone has no signals to go by; leave it out")
    scaffolds = [student for student in students if student not in clones]
    if config.prune and any(CONCLUSION not in classes_of(s.classes) for s in scaffolds):
        raise UserError("--prune: this student knows no Conclusion (--classes); leave it out")
