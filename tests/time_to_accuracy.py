"""Seconds of training until 95% of unseen questions are answered rightly, for three recipes.

    python tests/time_to_accuracy.py                            # all, at most 10 minutes each
    python tests/time_to_accuracy.py --recipes gpt2 --runs 1 --gpt2_lr 0.002

No test, no network. The recipes learn web_of_lies and object_counting from the same traces:
    ours       the default student with Muon and AdamW, as train.py trains it: signals and steps
    gpt2       a plain GPT-2 block of the same depth and width with AdamW; our batches and schedule
    trainer    Qwen3ForCausalLM of the same shape in transformers' Trainer, with its own AdamW,
               linear schedule and batches, which it draws at random
The last two learn the same text without signals; no recipe learns the questions. After each eighth
of its schedule a student is asked validation questions of both families, greedily. The run ends
once it has 95% of each right. Where its schedule or its time ends first, the goal is not reached.
Seconds are those of training alone. How the default steps and rates were found: tests/README.md.
"""

import math
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
from benchmark import GPT2, Training, generate, gpt2_adamw, qwen3, transformers  # noqa: E402

from annotate import annotate  # noqa: E402
from data.algorithmic import prepare  # noqa: E402
from data.benchmarks.answers import extract, same  # noqa: E402
from data.tools.flags import UserError, flag, parse_flags, run_program  # noqa: E402
from data.tools.machine import pick_device  # noqa: E402
from data.tools.optimizers import make_optimizers, set_learning_rates  # noqa: E402
from data.tools.traces import to_trace  # noqa: E402
from model import GPT, GPTConfig, gpt_config  # noqa: E402
from sample import reason  # noqa: E402
from scaffold import END, STEP, Tokenizer, encode_all  # noqa: E402
from train import epochs, lr_multiplier  # noqa: E402

TASKS = ["web_of_lies", "object_counting"]
GOAL = 0.95
ASKS = 8  # in a whole schedule
MAX_TOKENS = 300  # of an answer; the teacher's longest has 265


@dataclass
class AccuracyConfig:
    recipes: str = flag("ours,gpt2,trainer", "recipes to run, comma-separated")
    runs: int = flag(5, "seeds of each recipe", low=1)
    seed: int = flag(0, "the first seed")
    minutes: float = flag(10.0, "most minutes of training in a run")
    n_train: int = flag(8000, "training traces, half of them of each family", low=16)
    n_val: int = flag(100, "validation questions of each family", low=1)
    ours_steps: int = flag(2000, "steps of our schedule", low=ASKS)
    ours_lr: float = flag(0.01, "peak rate of our Muon; that of our AdamW is 0.3 times as high")
    gpt2_steps: int = flag(5800, "steps of GPT-2's schedule", low=ASKS)
    gpt2_lr: float = flag(0.002, "peak rate of GPT-2's AdamW")
    trainer_steps: int = flag(3600, "steps of the Trainer's schedule", low=ASKS)
    trainer_lr: float = flag(0.0005, "peak rate of the Trainer's AdamW")
    device: str = flag("auto", "where to compute", choices=("auto", "cuda", "mps", "cpu"))


@dataclass
class Data:
    """What all recipes learn from, and what they are asked."""

    tokenizer: Tokenizer
    examples: list  # of Example
    questions: dict  # family -> rows with "question" and "answer"
    gpt: GPTConfig  # the default student's shape
    device: torch.device


def make_data(config, device):
    def rows(split, n):
        """family -> n rows."""
        return {task: [row for row, _ in prepare.rows([task], split, n)] for task in TASKS}

    train_rows = [row for of_task in rows("train", config.n_train // 2).values() for row in of_task]
    traces = [to_trace(row) for row in annotate(train_rows)[0]]
    texts = [" ".join([t.question, *(step.text for step in t.steps)]) for t in traces]
    tokenizer = Tokenizer.train(texts, 2048)
    examples, _ = encode_all(traces, tokenizer, 1024)
    gpt = gpt_config(4, tokenizer.vocab_size, 1024)
    return Data(tokenizer, examples, rows("val", config.n_val), gpt, device)


class Run:
    """The clock of one run, and what its student has answered."""

    def __init__(self, data, n_steps, minutes, answer):
        """answer: questions -> the student's answers (str, or None)."""
        self.data, self.n_steps, self.answer = data, n_steps, answer
        self.limit = 60 * minutes
        self.seconds = 0.0
        self.steps = 0
        self.has_reached = False
        self.start()

    def start(self):
        """The clock goes on from here."""
        self.started = time.perf_counter()

    def step_done(self):
        """Take note of a step of training. Returns True where the run is over."""
        if self.data.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - self.started
        self.steps += 1
        is_last = self.steps == self.n_steps or self.seconds > self.limit
        if is_last or self.steps % (self.n_steps // ASKS) == 0:
            self.ask(is_last)
        self.start()
        return is_last or self.has_reached

    def ask(self, is_last):
        """Ask the questions. Where one family misses the goal, the next has to wait for the end."""
        shares = []
        for task, rows in self.data.questions.items():
            given = self.answer([row["question"] for row in rows])
            pairs = zip(given, rows, strict=True)
            shares.append(statistics.mean(same(a, row["answer"], task) for a, row in pairs))
            if shares[-1] < GOAL and not is_last:
                break
        self.has_reached = len(shares) == len(TASKS) and min(shares) >= GOAL
        print("", "/".join(f"{100 * share:.0f}" for share in shares), end="", flush=True)


# ---------------------------------------------------------------------------------------- recipes
def train_ours(config, data, seed):
    torch.manual_seed(seed)
    model, tokenizer = GPT(data.gpt).to(data.device), data.tokenizer
    is_cuda = data.device.type == "cuda"
    optimizers = make_optimizers(model, config.ours_lr, 0.3 * config.ours_lr, fused=is_cuda)

    def answer(questions):
        return [r.answer for r in reason(model, tokenizer, questions, max_tokens=MAX_TOKENS)]

    run = Run(data, config.ours_steps, config.minutes, answer)
    train_as_we_do(Training(model, optimizers, [], tokenizer, data.device), run, seed)
    return run


def train_gpt2(config, data, seed):
    torch.manual_seed(seed)
    model = GPT2(data.gpt).to(data.device)
    optimizers = [gpt2_adamw(model, config.gpt2_lr)]

    def answer(questions):
        return answers_of(gpt2_in_transformers(model, data.gpt), data.tokenizer, questions)

    run = Run(data, config.gpt2_steps, config.minutes, answer)
    training = Training(model, optimizers, [], data.tokenizer, data.device, "clone")
    train_as_we_do(training, run, seed)
    return run


def train_as_we_do(training, run, seed):
    """Our batches and our schedule; training: a model and its optimizers."""
    for batch in epochs(run.data.examples, 8, np.random.default_rng(seed)):
        multiplier = lr_multiplier(run.steps / run.n_steps, training.config)
        set_learning_rates(training.optimizers, multiplier)
        training.step(batch)
        if run.step_done():
            break


def train_trainer(config, data, seed):
    torch.manual_seed(seed)
    model = qwen3(data.gpt).to(data.device)

    def answer(questions):
        return answers_of(model, data.tokenizer, questions)

    run = Run(data, config.trainer_steps, config.minutes, answer)

    class Clock(transformers.TrainerCallback):
        """Tells the run of every step, and the Trainer where to stop."""

        def on_train_begin(self, args, state, control, **others):
            run.start()

        def on_step_end(self, args, state, control, **others):
            control.should_training_stop = run.step_done()

    with TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            folder,
            max_steps=config.trainer_steps,
            learning_rate=config.trainer_lr,
            per_device_train_batch_size=8,
            seed=seed,
            use_cpu=data.device.type == "cpu",
            dataloader_pin_memory=data.device.type == "cuda",
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model,
            settings,
            data_collator=partial(collate_for_trainer, tokenizer=data.tokenizer),
            train_dataset=data.examples,
            callbacks=[Clock()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return run


def collate_for_trainer(examples, tokenizer):
    """Whole texts and their labels, -100 where there is no loss; the model shifts them itself.

    Padding on the right needs no mask: no token attends to it.
    """
    ids = [torch.from_numpy(e.ids).long() for e in examples]
    labels = [
        torch.from_numpy(np.append(-100, np.where(e.loss_mask, e.ids[1:], -100))).long()
        for e in examples
    ]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=tokenizer.end_id),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


# ---------------------------------------------------------------------------------------- answers
def gpt2_in_transformers(model, c):
    """The benchmark's GPT2 (c: its GPTConfig) as transformers' GPT2LMHeadModel, which can write."""
    config = transformers.GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.block_size,
        n_embd=c.n_embd,
        n_layer=c.n_layer,
        n_head=c.n_head,
        bos_token_id=None,
        eos_token_id=None,
    )
    peer = transformers.GPT2LMHeadModel(config).to(model.wte.weight.device).eval()
    names = {"attn": "attn.c_attn", "proj": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    copied = {}
    for name, weight in model.state_dict().items():
        match name.split("."):
            case ["blocks", i, layer, kind]:
                if weight.dim() == 2:  # their Conv1D has it the other way round
                    weight = weight.T
                copied[f"h.{i}.{names.get(layer, layer)}.{kind}"] = weight
            case ["ln", kind]:
                copied[f"ln_f.{kind}"] = weight
            case _:
                copied[name] = weight
    peer.transformer.load_state_dict(copied)
    return peer


def answers_of(peer, tokenizer, questions):
    """Answers (str, or None) of transformers' model: in the last step, as `Reasoning` has them."""
    answers = []
    for ids in generate(peer, tokenizer, questions, MAX_TOKENS, tokenizer.end_id):
        text, end, _ = tokenizer.encoding.decode(ids).partition(END)
        answers.append(extract(text.split(STEP)[-1]) if end else None)
    return answers


# ----------------------------------------------------------------------------------- command line
RECIPES = {"ours": train_ours, "gpt2": train_gpt2, "trainer": train_trainer}


def reason_to_skip(name):
    """Why a recipe cannot run here; "" where it can."""
    needed = {"ours": [], "gpt2": ["transformers"], "trainer": ["transformers", "accelerate"]}[name]
    missing = [package for package in needed if not find_spec(package)]
    return f"{', '.join(missing)} not installed" if missing else ""


def median_seconds(name, config, data):
    """Run a recipe's seeds and print each. Returns the median, infinite where it is not reached."""
    seconds = []
    for seed in range(config.seed, config.seed + config.runs):
        print(f"{name} seed {seed}:", end="", flush=True)
        run = RECIPES[name](config, data, seed)
        outcome = "reached" if run.has_reached else "not reached"
        print(f": {outcome} after {run.seconds:.0f} s, {run.steps} steps", flush=True)
        seconds.append(run.seconds if run.has_reached else math.inf)
        n_left = config.runs - len(seconds)
        if n_left and seconds.count(math.inf) > config.runs / 2:
            print(f"{name}: the median is not reached; the other {n_left} seeds need not run")
            break
    return statistics.median(seconds)


def main(argv=None):
    (config,) = parse_flags(AccuracyConfig, argv, __doc__.split("\n")[0])
    names = config.recipes.split(",")
    if unknown := set(names) - set(RECIPES):
        raise UserError(f"--recipes: {unknown.pop()!r} is none of {', '.join(RECIPES)}")
    device, why = pick_device(config.device)
    print(f"device: {device} ({why}), {torch.get_num_threads()} threads, torch {torch.__version__}")
    data = make_data(config, device)
    print(f"{len(data.examples)} traces; percent right: {' / '.join(TASKS)}", flush=True)
    lines = []
    medians = {}
    for name in names:
        if problem := reason_to_skip(name):
            lines.append(f"seconds_to_95_{name}: skipped, {problem}")
            continue
        median = medians[name] = median_seconds(name, config, data)
        if median == math.inf:
            lines.append(f"seconds_to_95_{name}: not reached")
            continue
        lines.append(f"seconds_to_95_{name}: {median:.0f}")
        if name != "ours" and "ours" in medians:
            lines.append(f"{name}_vs_ours: {median / medians['ours']:.2f}")
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    run_program(main)
