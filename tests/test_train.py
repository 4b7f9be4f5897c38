"""The programs, end to end: training, annotation, evaluation."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import annotate
import sample
import train
from conftest import TINY
from data.algorithmic import prepare
from data.algorithmic.check import check
from data.benchmarks.answers import extract
from data.tools import evaluation
from data.tools.batch import Reasoning
from data.tools.evaluation import make_record, obedience, score
from data.tools.files import read_jsonl, write_jsonl
from data.tools.flags import UserError
from data.tools.training_log import clear_folder
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    EXAMPLES,
    REASONING,
    RECALL,
    RESPONSE,
    SIGNAL_NAMES,
    SIGNALS,
    Step,
    hands_over,
    keyword_signal,
)

ROOT = Path(__file__).parent.parent


# ---------------------------------------------------------------------------------------- training
def test_a_run_leaves_all_it_promises(trained):
    result = json.loads((trained / "result.json").read_text())
    for scores in (result, *result["tasks"].values()):
        assert {"accuracy", "erroneous_paths", "signal_accuracy"} <= scores.keys()
    assert set(result["tasks"]) == {"object_counting", "boolean_expressions"}
    assert result["tokens_per_second"] > 0
    assert result["seconds"] > 0
    for picture in ("curves.png", "annotation.png"):
        assert (trained / picture).read_bytes()[:4] == b"\x89PNG"
    weights = torch.load(trained / "ckpt.pt", weights_only=True)["model"]
    assert "embed.weight" in weights
    assert not any(name.startswith(("_orig_mod", "module")) for name in weights)
    metrics = read_jsonl(trained / "metrics.jsonl")
    losses = [m["token_loss"] for m in metrics if m["split"] == "val"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_same_seed_same_weights(tmp_path):
    weights = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        flags = "--n_train 60 --n_test 0 --max_steps 6 --eval_interval 3 --seed".split()
        train.main([*TINY, *flags, seed, "--out_dir", str(tmp_path / name)])
        checkpoint = torch.load(tmp_path / name / "ckpt.pt", weights_only=True)
        weights.append(checkpoint["model"])
    a, b, c = weights
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_the_learning_rate_rises_stays_and_falls():
    config = train.TrainConfig(warmup=0.1, decay=0.4)
    rates = [train.lr_multiplier(i / 20, config) for i in range(21)]
    assert rates[0] < 0.01
    assert rates[1] == pytest.approx(0.501)
    assert rates[2:13] == [1.0] * 11  # from progress 0.1 to 0.6
    assert rates[16] == pytest.approx(0.5)
    assert rates[20] == 0


def test_easy_tasks_come_first():
    flags = {"first_tasks": "object_counting", "first_share": 0.25, "accumulate": 2}
    tasks = "object_counting,boolean_expressions"
    config = train.TrainConfig(
        tasks=tasks, n_train=60, n_val=1, n_test=1, depth=1, device="cpu", **flags
    )
    data = train.prepare_data(config)
    run = train.Run(config, data, torch.device("cpu"))

    def tasks_of_a_step(progress):
        examples, micro_batches = run.next_batch(progress)
        assert len(micro_batches) == 2
        return {data.traces[e.row].task for e in examples}

    for _ in range(4):
        assert tasks_of_a_step(0.2) == {"object_counting"}
    later = set.union(*(tasks_of_a_step(0.25) for _ in range(4)))  # a batch may have one alone
    assert later == {"object_counting", "boolean_expressions"}
    assert (run.state.n_easy, run.state.n_all) == (8, 8)


def test_time_budget(tmp_path):
    flags = "--tasks object_counting --n_train 60 --n_val 4 --n_test 0 --depth 1 --minutes 0.02"
    train.main([*flags.split(), "--device", "cpu", "--out_dir", str(tmp_path)])
    steps = [m["step"] for m in read_jsonl(tmp_path / "metrics.jsonl")]
    assert 0 < max(steps) < train.TrainConfig.max_steps  # the minutes ended it
    assert (tmp_path / "ckpt.pt").exists()


def test_a_new_run_leaves_nothing_of_an_earlier_one(tmp_path, monkeypatch):
    """Neither its results, should the new run be stopped, nor its best student, which would win."""
    results = ["result.json", "traces.jsonl", "report.html", "curves.png", "annotation.png"]
    parts = ["best.pt.123.part", "ckpt.pt.123.part", "result.json.123.part"]
    for name in ("best.pt", *parts, *results):
        (tmp_path / name).write_bytes(b"of an earlier run")
    monkeypatch.setattr(train, "finish", lambda run, start: None)  # as if it were stopped
    flags = "--n_train 60 --n_test 0 --max_steps 1".split()
    train.main([*TINY, *flags, "--out_dir", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"ckpt.pt", "metrics.jsonl"}


def test_a_resumed_run_keeps_its_best_student(tmp_path):
    for name in ("best.pt", "best.pt.123.part", "ckpt.pt.123.part", "result.json.123.part"):
        (tmp_path / name).write_bytes(b"of this run")
    clear_folder(train.TrainConfig(out_dir=str(tmp_path), resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_run_that_is_built_and_not_begun_removes_nothing(tmp_path):
    """As in tests, whose --out_dir is the default one: what lies there is a user's."""
    (tmp_path / "report.html").write_text("of an earlier run")
    config = train.TrainConfig(n_train=30, n_val=1, n_test=0, depth=1, out_dir=str(tmp_path))
    train.Run(config, train.prepare_data(config), torch.device("cpu"))
    assert (tmp_path / "report.html").exists()


def test_no_step_is_larger_than_clip_allows(tmp_path):
    """Scaled down to nothing, gradients leave the weights as they are."""
    flags = "--n_train 60 --n_test 0 --clip 0 --max_steps 2".split()
    train.main([*TINY, *flags, "--out_dir", str(tmp_path)])
    metrics = read_jsonl(tmp_path / "metrics.jsonl")
    losses = [m["token_loss"] for m in metrics if m["split"] == "val"]
    assert len(losses) == 2
    assert losses[0] == losses[1]


def test_show_prints_an_encoded_example(tmp_path, capsys):
    train.main([*TINY, "--show", "1", "--out_dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert "|\n[Personal Opinion and Recall]" in out
    assert "<|end|>" in out
    assert not (tmp_path / "ckpt.pt").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU: torch.compile and bf16 run only there"
)
def test_compiled_training_on_cuda(tmp_path):
    flags = "--device cuda --n_train 60 --n_test 5 --max_steps 10".split()
    train.main([*TINY, *flags, "--out_dir", str(tmp_path)])
    assert json.loads((tmp_path / "result.json").read_text())["questions"] == 5


# -------------------------------------------------------------------------------------- own traces
@pytest.mark.slow
def test_own_traces_from_annotation_to_evaluation(tmp_path, capsys):
    raw, annotated, out = tmp_path / "raw.jsonl", tmp_path / "annotated.jsonl", tmp_path / "out"
    pairs = prepare.rows(["object_counting"], "train", 40)
    pairs += prepare.rows(["object_counting"], "test", 5)
    fields = ("question", "trace", "answer")
    lines = [json.dumps({name: row[name] for name in fields}) for row, _ in pairs]
    raw.write_text("\n".join(lines) + "\n\n")  # an empty line is no row
    annotate.main([str(raw), str(annotated)])
    rows = read_jsonl(annotated)
    assert len(rows) == 45
    assert all(step["signal"] in SIGNAL_NAMES for row in rows for step in row["steps"])
    flags = "--method clone --depth 1 --max_steps 4 --device cpu".split()
    train.main(["--data", str(annotated), *flags, "--out_dir", str(out)])
    result = json.loads((out / "result.json").read_text())
    assert result["questions"] == 5
    assert result["signal_accuracy"] is None
    assert "accuracy: " in capsys.readouterr().out


# -------------------------------------------------------------------------------------- evaluation
def test_evaluation_scores_seen_and_unseen_apart(trained, tmp_path, capsys):
    questions, traces = tmp_path / "questions.jsonl", tmp_path / "traces.jsonl"
    pairs = prepare.rows(["object_counting", "boolean_expressions"], "train", 4)  # seen
    pairs += prepare.rows(["object_counting"], "test", 3)  # unseen
    bbh = [{"input": row["question"], "target": row["answer"]} for row, _ in pairs]
    bbh.append({"input": "What is the capital of France?", "target": "Paris"})
    write_jsonl(questions, bbh)
    argv = ["--eval", str(questions), "--ckpt", str(trained / "ckpt.pt"), "--out", str(traces)]
    sample.main([*argv, "--device", "cpu"])
    out = capsys.readouterr().out
    for line in ("questions: 8", "seen_in_training: 4", "signal_accuracy: n/a", "accuracy: 0"):
        assert line in out
    records = read_jsonl(traces)
    assert [r["seen"] for r in records] == [True] * 4 + [False] * 4
    assert records[0]["task"] == "object_counting"
    assert records[-1]["task"] == "other"
    assert records[-1]["erroneous"] is None
    assert all(isinstance(s["verdict"], str) for r in records[:-1] for s in r["steps"])


def test_scores_recomputed_by_hand():
    shared = {"question": "", "seen": False, "tokens": 10, "obeyed": [True, False, True, False]}
    right = {**shared, "correct": True, "given": "1", "gated": True}
    wrong = {**shared, "correct": False, "given": None}
    records = [
        {**right, "erroneous": False, "signals": (3, 4, 5)},
        {**right, "erroneous": True, "signals": (1, 4, 5)},
        {**wrong, "erroneous": True, "signals": None, "gated": True},
        {**wrong, "erroneous": None, "signals": None, "gated": False},
    ]
    scores = score(records)
    assert scores["gated"] == 3 / 4
    assert scores["gated_answered"] == 2 / 3
    assert scores["accuracy"] == 2 / 4
    assert scores["erroneous_paths"] == 2 / 3
    assert scores["signal_accuracy"] == (3 + 1) / (4 + 4)
    assert scores["signals_kept"] == (4 + 4) / (5 + 5)
    assert scores["obedience"] == 8 / 16
    nothing_kept = score([{**records[0], "signals": (0, 0, 5), "gated": False}])
    assert nothing_kept["signal_accuracy"] is None
    assert "gated" not in nothing_kept


def test_the_threshold_by_hand(monkeypatch):
    """With so many kept, the share is 1/5 ... 5/5 and the accuracy 1, 1, 2/3, 3/4, 3/5."""
    confidence, is_right = (
        torch.tensor([0.6, 0.9, 0.5, 0.8, 0.7]),
        torch.tensor([1, 1, 0, 1, 0]) > 0,
    )
    predictions = [(confidence[:2], is_right[:2]), (confidence[2:], is_right[2:])]
    monkeypatch.setattr(evaluation, "annotated_traces", lambda *_: {0: "trace", 1: "trace"})
    monkeypatch.setattr(evaluation, "boundary_predictions", lambda *_: predictions)
    tau = evaluation.choose_tau(None, [])
    assert tau == pytest.approx(0.6)
    hits = [evaluation.signal_hits(prediction, tau) for prediction in predictions]
    assert hits == [(2, 2, 2), (1, 2, 3)]


def test_thresholds_for_each_task(trained, tmp_path, capsys):
    tasks = ["object_counting", "boolean_expressions"]
    for name, split in (("q", "test"), ("v", "val")):
        write_jsonl(tmp_path / f"{name}.jsonl", [r for r, _ in prepare.rows(tasks, split, 10)])
    argv = ["--ckpt", str(trained / "ckpt.pt"), "--eval", str(tmp_path / "q.jsonl")]
    argv += ["--device", "cpu", "--out", str(tmp_path / "out.jsonl")]
    sample.main([*argv, "--tau_from", str(tmp_path / "v.jsonl")])
    out = capsys.readouterr().out
    taus = dict(re.findall(r"(\w+): tau (0\.\d+)", out))
    assert set(taus) == set(tasks)
    records = read_jsonl(tmp_path / "out.jsonl")
    for r in records:
        tau = float(taus[r["task"]])
        unsure = [step for step in r["steps"][:-1] if step["confidence"] < tau - 0.001]
        assert not unsure
        if r["gated"]:
            assert r["steps"][-1]["signal"] == "Response Generation"
    gated = [r for r in records if r["gated"]]
    assert gated
    assert f"gated: {len(gated) / 10:.4g}" in out
    assert any(r["given"] is not None for r in gated)  # the gate lets it answer
    write_jsonl(tmp_path / "v.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(UserError, match="traces"):
        sample.main([*argv, "--tau_from", str(tmp_path / "v.jsonl")])


def test_an_erroneous_path_has_a_wrong_answer_or_a_wrong_step():
    row, _ = prepare.rows(["object_counting"], "test", 1)[0]
    steps = [Step(REASONING, text) for text in row["trace"].split("\n\n")]
    probs = [[0.1] * len(SIGNALS)] * len(steps)
    right = Reasoning(steps, probs, finished=True)
    assert make_record(row, right)["erroneous"] is False
    assert make_record({**row, "answer": "99"}, right)["erroneous"] is True
    leap = Reasoning(steps[:1] + steps[2:], probs[1:], finished=True)
    assert make_record(row, leap)["correct"] is True
    assert make_record(row, leap)["erroneous"] is True


def test_obedience_by_hand(student):
    """The last step, which the annotator names for its place, does not count."""
    texts = ["But no.", "So it is 1.", "Also, 2.", "The answer is 1."]
    flow = [CONTRAST, CONCLUSION, RECALL, RESPONSE]
    steps = [Step(signal, text) for signal, text in zip(flow, texts, strict=True)]
    assert obedience(student, {5: Reasoning(steps)}) == {5: [True, True, False]}
    assert obedience(student, {0: Reasoning(steps[3:])}) == {0: []}


def test_a_gold_trace_is_right_and_without_a_step_it_is_not():
    """A right answer over a wrong path is an erroneous path."""
    row, _ = prepare.rows(["object_counting"], "test", 1)[0]
    steps = row["trace"].split("\n\n")
    assert not any(check(row["question"], steps))
    assert extract(steps[-1]) == row["answer"]
    assert any(check(row["question"], steps[:1] + steps[2:]))


def test_one_question_interactive_and_side_by_side(trained, capsys, monkeypatch):
    checkpoint = str(trained / "ckpt.pt")
    row, _ = prepare.rows(["object_counting"], "test", 1)[0]
    question = row["question"]
    sample.main([question, "--ckpt", checkpoint])
    once = capsys.readouterr().out
    assert any(f"[{name}" in once for name in SIGNAL_NAMES)
    lines = iter([question, ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    sample.main(["--ckpt", checkpoint])
    assert capsys.readouterr().out == once
    sample.main([question, "--compare", checkpoint, checkpoint])
    out = capsys.readouterr().out.splitlines()
    assert len(out) > 3
    assert all(" | " in line for line in out)


ASK = """
import sys
import sample
sample.main(sys.argv[1:])
not_needed = {"datasets", "huggingface_hub", "matplotlib", "torch._dynamo"}
print(*not_needed & set(sys.modules), file=sys.stderr)
"""


def test_a_question_waits_for_no_import_that_it_does_not_need(trained):
    command = [sys.executable, "-c", ASK, "Is Ada honest?", "--ckpt", str(trained / "ckpt.pt")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout and not process.stderr.strip()


# -------------------------------------------------------------------------------------- annotation
@pytest.mark.parametrize(
    ("step", "signal"),
    [
        ("But wait, that is wrong.", CONTRAST),
        ("So the total is 4.", CONCLUSION),
        ("Also, 3 more.", ADDITION),
        ("For example, take 2.", EXAMPLES),
        ("I recall that a < b.", RECALL),
        ("Let me check: 3.", REASONING),
        ("The answer is 4.", RESPONSE),
        ("**Final Answer** 4", RESPONSE),
        ("As a result, it is 4.", CONCLUSION),  # not "as", which is Reasoning
        ("- However, no.", CONTRAST),
        ("Wait—no", CONTRAST),
        ("Sometimes it rains.", None),
        ("Butter is yellow.", None),
        ("İf so.", None),  # a capital i with a dot is not the letter of "if"
        ("42", None),
        ("", None),
    ],
)
def test_annotation_against_hand_labels(step, signal):
    assert keyword_signal(step)[0] == signal


@pytest.mark.parametrize(
    "step, gives_it",
    [
        ("So the answer is 5.", True),
        ("Answer: $5$", True),
        ("That makes the answer } }.", True),
        ("Here is the answer:\n5", True),
        ("The final answer is hidden.", True),
        ("And that is my answer.", False),  # the answer itself is still to come
        ("It answers nothing.", False),
    ],
)
def test_a_step_gives_the_answer_where_something_follows_the_word(step, gives_it):
    assert hands_over(step) == gives_it


def test_annotation_counts_what_it_drops_and_closes_what_is_open():
    """A trace without a step is dropped; one without an answer gets it as its last step."""
    rows = [
        {"id": "a", "question": "q", "trace": "\n\n \n", "answer": "3"},
        {"id": "b", "question": "q", "trace": "So 1.\n\nWait, 2.\n \nIt is.", "answer": "3"},
    ]
    annotated, report = annotate.annotate(rows)
    assert report["dropped"] == {"empty trace": 1}
    assert report["steps"] == 4
    assert report["keyword_coverage"] == 3 / 4
    steps = annotated[0]["steps"]
    assert [s["text"] for s in steps] == ["So 1.", "Wait, 2.", "It is.", "The answer is 3."]
    assert steps[-1]["signal"] == "Response Generation"


def test_annotation_near_its_design_targets():
    pairs = prepare.rows(prepare.DEFAULT_TASKS.split(","), "train", 1500)
    rows = [row for row, _ in pairs]
    gold = {row["id"]: signals for row, signals in pairs}
    annotated, report = annotate.annotate(rows, gold)
    assert 0.68 < report["keyword_coverage"] < 0.80
    assert 0.82 < report["keyword_agreement"] < 0.95
    assert report["classifier_agreement"] > 0.5  # always the most frequent signal: about 0.25
    again, _ = annotate.annotate(rows[:50], weight=report["classifier"])
    assert again == annotated[:50]


def test_bags_hold_the_words_after_the_keyword_and_the_signal_before():
    """Each trace begins anew: its first step follows the question."""
    rows = [{"trace": "So it is 1.\n\nBut it is 1.\n\nThe answer is 1.", "answer": "1"}] * 2
    steps, _ = annotate.collect_steps(rows, [[], []])
    words = "it is 1.", "it is 1.", "1."
    before = "<question>", f"<{CONCLUSION}>", f"<{CONTRAST}>"
    expected = [annotate.bag_of(*pair) for pair in zip(words, before, strict=True)]
    assert steps.bags == expected * 2


def test_the_classifier_learns_from_nine_tenths(monkeypatch):
    trace = "\n\n".join(["So it is 1.", "But it is not."] * 10 + ["Hm.", "The answer is 1."])
    steps, _ = annotate.collect_steps([{"trace": trace, "answer": "1"}] * 2, [[], []])
    sizes = []  # of what it learns from

    def fit(bags, labels):
        sizes.append(len(labels))
        return torch.zeros(annotate.BUCKETS, len(SIGNALS))

    monkeypatch.setattr(annotate, "fit_classifier", fit)
    annotate.fit_on_keywords(steps)
    assert sizes == [38]  # of 42 steps with a keyword


def test_a_row_of_the_confusion_is_a_signal_of_the_judge():
    rows = [{"id": "a", "question": "q", "trace": "So 1.\n\nThe answer is 1.", "answer": "1"}]
    _, report = annotate.annotate(rows, gold={"a": [CONTRAST, RESPONSE]}, labeler="keywords")
    expected = torch.zeros(len(SIGNALS), len(SIGNALS), dtype=int)
    expected[CONTRAST, CONCLUSION] = 1  # "So" says Conclusion
    expected[RESPONSE, RESPONSE] = 1
    assert report["confusion"].tolist() == expected.tolist()


def test_agreement_is_from_before_the_chat_model_overrules():
    rows = [{"question": "q", "trace": "So 1.\n\nThe answer is 1.", "answer": "1"}]
    signals = [CONTRAST, RESPONSE]
    annotated, report = annotate.annotate(rows, llm=[signals], labeler="keywords")
    assert [SIGNAL_NAMES.index(s["signal"]) for s in annotated[0]["steps"]] == signals
    assert report["agreement"] == 0.5  # "So" says Conclusion


def test_keywords_are_judged_as_they_are():
    """The last step hands over the answer whatever opens it; that is not the keyword's merit."""
    rows = [{"id": "a", "question": "q", "trace": "But no.\n\nSo the answer is 1.", "answer": "1"}]
    _, report = annotate.annotate(rows, gold={"a": [CONTRAST, RESPONSE]})
    assert report["keyword_agreement"] == 0.5
    assert report["agreement"] == 1
