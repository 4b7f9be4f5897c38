"""Final answers, written arithmetic, and rows of the public benchmarks, from small local files."""

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import annotate
from data.algorithmic import prepare as algorithmic
from data.benchmarks import latex, prepare
from data.benchmarks.answers import extract, same
from data.benchmarks.arithmetic import arithmetic
from data.tools.evaluation import judge
from data.tools.flags import UserError
from data.tools.traces import read_questions

ROOT = Path(__file__).parent.parent

HANDED_OVER = [  # text, answer
    # the words that hand over
    ("The answer is No.", "No"),
    ("So the answer is (B).", "(B)"),
    ("Final answer: 12.", "12"),
    ("This gives the answer ] }.", "] }"),
    ("The answer is True", "True"),
    ("The answer: the answer is 3.", "3"),
    ("answer: (B)", "(B)"),
    ("Answer = 5", "5"),
    ("The answer is:\n\n42", "42"),
    ("6 + 1 = 7.\n#### 1,234", "1,234"),
    ("The answer must be 7.", "7"),
    # boxes
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{1}, no, \boxed{2}", "2"),
    (r"$\boxed{\text{(C)}}$", "(C)"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{5}, or rather: the answer is 6.", "6"),
    (r"The final answer is $\boxed{x^2}$. I hope it is correct.", "x^2"),
    (r"So \boxed{3", None),
    # what stands around the answer
    ("**Answer:** 42", "42"),
    ("**The answer is 42.**", "42"),
    ("The answer is **42**.", "42"),
    ("The answer is x**2", "x**2"),
    ("The answer is $42$.", "42"),
    ("<answer>42</answer>", "42"),
    ("<ANSWER>1</ANSWER>", "1"),
    # where the answer ends
    ("The answer is 42. I hope it is correct.", "42"),
    ("The answer is 3.5.", "3.5"),
    ("The answer is $18.", "$18"),
    ('The answer is "yes".', "yes"),
    ("The answer is −3.", "−3"),
    ("The answer is 5.\nThis answer makes sense.", "5"),
    ("The answer is $5$. Check: the answer is right.", "5"),
    ("The answer is 5, and that answer is correct.", "5, and that answer is correct"),
    # none, and long texts
    ("I do not know.", None),
    ("The answer is", None),
    ("", None),
    ("word " * 10**5 + "The answer is 7.", "7"),
    (r"\boxed{" * 10**5, None),
]

ANSWERS = [  # given, right, do they say the same
    # numbers and currencies
    ("18", "18", True),
    ("18.", "18", True),
    (" 18 ", "18", True),
    ("$18", "18", True),
    ("18 dollars", "$18", True),
    ("18 cents", "$18", False),
    ("€18", "$18", False),
    ("1,234", "1234", True),
    ("1234", "1,234", True),
    ("1,234.50", "1234.5", True),
    ("1,23", "123", False),
    ("1, 234", "1234", False),
    # percent
    ("12%", "12 %", True),
    ("12 percent", "12%", True),
    (r"12\%", "12%", True),
    ("12%", "12", True),
    ("12%", "0.12", False),
    ("0.12", "12%", False),
    ("12%", "$12", False),
    # signs and zeros
    ("-5", "5", False),
    ("−5", "-5", True),
    ("-5", "-5.0", True),
    ("+5", "5", True),
    ("--5", "5", False),
    ("-0", "0", True),
    ("3.0", "3", True),
    ("007", "7", True),
    # fractions
    ("3.14", "3.1", False),
    ("1/2", "0.5", True),
    ("2/4", "1/2", True),
    ("1 1/2", "1.5", True),
    ("3½", "3.5", True),
    ("3½", "31/2", False),
    ("5²", "52", False),
    ("1/3", "0.33", False),
    ("1/0", "0", False),
    # units
    ("5 apples", "5", True),
    ("5 apples", "5 pears", False),
    ("5 apples", "5 apple", True),
    ("5 km/h", "5", True),
    ("5 cm²", "5 cm", False),
    # more than a number and its unit
    ("5 million", "5", False),
    ("5 trillion", "5", False),
    ("5 sixteenths", "5", False),
    ("5 twenties", "5", False),
    ("5 bn", "5", False),
    ("5 fewer", "5", False),
    ("5 or more", "5", False),
    ("5 or 6", "5", False),
    ("3 fourths", "3", False),
    ("5 tenths", "5", False),
    ("5 below zero", "5", False),
    ("5 is wrong", "5", False),
    ("5 more apples", "5", False),
    ("5x", "5", False),
    ("5 x", "5", False),
    (r"5\pi", "5", False),
    ("5i", "5", False),
    ("1e5", "1", False),
    ("10^2", "10", False),
    ("2 1", "21", False),
    ("x = 5", "5", True),
    ("y = 5", "x = 5", False),
    ("five", "5", False),
    ("$5 million", "5", False),
    # options
    ("(B)", "(B)", True),
    ("B", "(B)", True),
    ("B.", "(B)", True),
    ("b)", "(B)", True),
    ("(b)", "B", True),
    ("option B", "(B)", True),
    ("option (B)", "(B)", True),
    ("choice (C)", "(C)", True),
    ("choice (C)", "(B)", False),
    ("(B) populated areas", "(B)", True),
    ("B: populated areas", "(B)", True),
    ("populated areas", "(B)", False),
    ("(C)", "(B)", False),
    ("A dog", "(A)", False),
    ("(B) is wrong", "(B)", False),
    ("B. is not right", "(B)", False),
    ("(B) isn't right", "(B)", False),
    ("(B) is right", "(B)", True),
    ("(A) or (B)", "(A)", False),
    ("B or C", "(B)", False),
    ("(B), (C)", "(B)", False),
    ("(B) rather than (A)", "(B)", False),
    ("(B) orange", "(B)", True),
    ("AB", "(A)", False),
    ("", "(B)", False),
    # yes, no, true, false
    ("Yes", "yes", True),
    ("So yes, it can.", "Yes", True),
    ("So yes, it can.", "No", False),
    ("No, because it can't.", "No", True),
    ("No, because it can't.", "Yes", False),
    ("Yes and no", "Yes", False),
    ("Yes and no", "No", False),
    ("Yes, and no.", "Yes", False),
    ("No, wait, yes.", "No", False),
    ("No trees", "No", False),
    ("No-one", "No", False),
    ("No - it can't.", "No", True),
    ("No - one of them lies", "No", True),
    ("noble", "No", False),
    ("not true", "Yes", False),
    ("It is not true", "True", False),
    ("Yes, there is no doubt.", "Yes", True),
    ("True", "Yes", True),
    ("no", "False", True),
    ("True", "False", False),
    ("True", "1", False),
    ("yes", "valid", False),
    ("true north", "True", False),
    # brackets
    ("] )", "] )", True),
    ("])", "] )", True),
    ("] ) }", "] )", False),
    (") ]", "] )", False),
    ("> ]", "> }", False),
    # other text
    ("(1,2)", "(2,1)", False),
    (r"2\sqrt{3}", r"2\sqrt{5}", False),
    (r"\text{Evelyn}", "evelyn", True),
    ("x+1", "1+x", False),
    ('"Moby  Dick"', "moby dick.", True),
    ("ab c", "a bc", False),
    # none, and long answers
    (None, "3", False),
    ("3", None, False),
    ("", "", False),
    ("9" * 5000, "9" * 5000, True),
    ("9" * 5000, "9", False),
    ("9" * 900, "9" * 899 + "8", False),
    # the right answer in a solution of GSM8K
    ("72", "48/2 = <<48/2=24>>24 clips\n#### 72", True),
    ("24", "48/2 = <<48/2=24>>24 clips\n#### 72", False),
]

LATEX = [  # the same, where math-verify decides
    ("1{,}000", "1000", True),
    (r"\frac{1}{2}", "0.5", True),
    (r"\dfrac12", "1/2", True),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", True),
    (r"1\frac{1}{2}", "3/2", True),
    ("90°", r"90^\circ", True),
    (r"\textbf{(B) }", "(B)", True),
    (r"\left(1, 2\right)", "(1,2)", True),
    ("x^{2}", "x^2", True),
    (r"2\sqrt{3}", r"2\sqrt3", True),
    (r"10\sqrt{2}\text{ cm}", r"10\sqrt{2}", True),
    (r"240\text{ ways.}", "240", True),
    (r"$\frac{3}{4}$", "0.75", True),
    ("1+x", "x+1", True),
    (r"(x-1)(x+1)", "x^2-1", True),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", True),
    (r"\frac{3}{4}", "0.74", False),
    (r"\{2,1\}", r"\{1,2\}", True),
    (r"[1,2)", r"[1,2]", False),
    (r"x \in (-\infty, 3]", r"(-\infty,3]", True),
    (r"29,\!322", "29322", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", False),
    (r"\frac{", "5", False),
    # its verdicts, not ours: it drops units and the case of a letter
    (r"10\sqrt{2}\text{ cm}", r"10\sqrt{2}\text{ m}", True),
    (r"\Delta", r"\delta", True),
]

BIG = "9" * 95  # an equation with two of them is just short enough to be read
SUMS = [  # step, errors
    # marks
    ("Natalia sold 48/2 = <<48/2=24>>24 clips.", []),
    ("Natalia sold 48/2 = <<48/2=25>>25 clips.", ["48/2 = 25: it is 24"]),
    ("<<48/2=24>>", []),
    ("<<0.2*50=11>>", ["0.2*50 = 11: it is 10"]),
    # signs, currencies, percentages
    ("12 x 3 = 36", []),
    ("12 × 3 = 35", ["12*3 = 35: it is 36"]),
    ("$5 + $3 = $8", []),
    ("$1,200 - $300 = $800.", ["1200-300 = 800: it is 900"]),
    ("48 ÷ 2 = 24", []),
    ("10% of 50 = 5", []),
    ("10% of 50 = 6", ["10%*50 = 6: it is 5"]),
    ("5/20 = 25%", []),
    ("5/20*100 = 25%", []),
    ("20% + 30% = 60%", ["20%+30% = 60%: it is 0.5"]),
    # several sides, parentheses
    ("2+3=5+1=6", []),
    ("2+3=6+1=7", ["2+3 = 6+1: it is 5"]),
    ("1+2+3 = 1+2 = 3", []),
    ("2*(3+4) - 6/3 = 12", []),
    ("2*(3+4) = 10", ["2*(3+4) = 10: it is 14"]),
    ("2 - -3 = 5", []),
    ("12 / -3 * 2 = -8", []),
    # rounding
    ("10/3 = 3.33", []),
    ("10/3 = 3.34", ["10/3 = 3.34: it is 3.3333"]),
    ("10/3 = 3", []),
    ("10/3 = 4", ["10/3 = 4: it is 3.3333"]),
    (".5 * 4 = 2", []),
    ("3 – 1 = 1", ["3-1 = 1: it is 2"]),
    # sentences
    ("So 5 + 3 = 8, and 8 - 2 = 5.", ["8-2 = 5: it is 6"]),
    ("5/0 = 3", ["5/0 = 3: it divides by zero"]),
    ("8 = 5 + 3", []),
    # what is left alone
    ("x + 5 = 12, 2x + 3 = 7, 3x = 12", []),
    ("twice 3 + 4 = 10", []),
    ("2^3 + 1 = 9", []),
    ("3 + 2 = 5y", []),
    ("5 apples + 3 apples = 9 apples", []),
    ("17/3 = 5 remainder 2", []),
    ("12 x 1 and 1/4 = 15", []),
    ("7:30 + 45 = 8:15", []),
    ("6 / 2/3 = 9", []),
    ("0.5 * 6 = 3 million", []),
    ("(2 + 3 = 5", []),
    ("f(3) = 9 and 3 > 2", []),
    # nonsense and long sums
    ("", []),
    ("= = =", []),
    ("9" * 10**5 + " + 1 = 2", []),
    (f"{BIG}*{BIG}=1", [f"{BIG}*{BIG} = 1: it is {int(BIG) ** 2}"]),
    ("2**9**9**9 = 1", []),
    ("(" * 10**5 + "1 = 2", []),
    ("1+" * 10**5 + "1 = 2", []),
    ("-" * 190 + "1 = 2", []),
]

MATH_ROW = {
    "problem": "Half of 1?",
    "level": "Level 1",
    "type": "Algebra",
    "solution": "Halve it.\n\nSo $\\boxed{\\frac12}$.",
}
HUB_ROWS = {  # name: (a row with the Hub's fields, the project's fields)
    "gsm8k": (
        {
            "question": "How many?",
            "answer": "It is 4/2 = <<4/2=2>>2.\nAnd 2+1 = <<2+1=3>>3.\n#### 3",
        },
        {
            "question": "How many?",
            "answer": "3",
            "trace": "It is 4/2 = <<4/2=2>>2.\n\nAnd 2+1 = <<2+1=3>>3.\n\nThe answer is 3.",
        },
    ),
    "math": (
        MATH_ROW,
        {
            "question": "Half of 1?",
            "answer": "\\frac12",
            "trace": "Halve it.\n\nSo $\\boxed{\\frac12}$.\n\nThe answer is \\frac12.",
        },
    ),
    "math500": (
        {**MATH_ROW, "answer": "\\frac{1}{2}"},
        {
            "question": "Half of 1?",
            "answer": "\\frac{1}{2}",
            "trace": "Halve it.\n\nSo $\\boxed{\\frac12}$.\n\nThe answer is \\frac{1}{2}.",
        },
    ),
    "strategyqa": (
        {"qid": "1", "question": "Can pigs fly?", "answer": False, "facts": "Pigs have no wings."},
        {"question": "Can pigs fly?", "answer": "No"},
    ),
    "commonsenseqa": (
        {
            "question": "Where do fish live?",
            "choices": {"label": ["A", "B"], "text": ["a tree", "water"]},
            "answerKey": "B",
        },
        {"question": "Where do fish live?\nOptions:\n(A) a tree\n(B) water", "answer": "(B)"},
    ),
    "truthfulqa": (
        {"question": "Why?", "mc1_targets": {"choices": ["so", "no"], "labels": [1, 0]}},
        {"question": "Why?\nOptions:\n(A) no\n(B) so", "answer": "(B)"},
    ),
    "bbh": (
        {"input": "not True is", "target": "False"},
        {"question": "not True is", "answer": "False"},
    ),
    "long": (
        {
            "problem": "1+1?",
            "answer": "2",
            "correctness_math_verify": [False, True],
            "generations": [
                "<think>\nIt is 3.\n</think>\n3",
                "<think>\nWait.\n\nIt is 2.\n</think>\n2",
            ],
        },
        {"question": "1+1?", "answer": "2", "trace": "Wait.\n\nIt is 2.\n\nThe answer is 2."},
    ),
    "short_cot": (
        {
            "instruction": "Q: Where is Dr. Who? Answer choices: A: home, B: out, away",
            "output": "<Solution Path>Dr. Who travels. So he is out. The answer is B",
        },
        {
            "question": "Where is Dr. Who?\nOptions:\n(A) home\n(B) out, away",
            "answer": "(B)",
            "trace": "Dr. Who travels.\n\nSo he is out.\n\nThe answer is (B).",
        },
    ),
}


def write_jsonl(path, *rows):
    """The path, as a str, of a new file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def error_of(function, *args, **options):
    """The UserError of a call, which must be one line."""
    with pytest.raises(UserError) as error:
        function(*args, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def library(monkeypatch, tmp_path):
    """The datasets library with its cache out of the way."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


# ---------------------------------------------------------------------------------------- answers
@pytest.mark.parametrize("text, answer", HANDED_OVER, ids=range(len(HANDED_OVER)))
def test_extract(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize("given, right, expected", ANSWERS, ids=range(len(ANSWERS)))
def test_same(given, right, expected):
    assert same(given, right) is expected


needs_math_verify = pytest.mark.skipif(
    find_spec("math_verify") is None, reason="math-verify is not installed"
)


@needs_math_verify
@pytest.mark.parametrize("given, right, expected", LATEX, ids=range(len(LATEX)))
def test_same_latex(given, right, expected):
    assert same(given, right, "math500") is expected


@needs_math_verify
def test_a_slow_comparison_is_stopped(monkeypatch):
    assert same("x+1", "1+x", "math")
    process = latex.verifier()
    monkeypatch.setattr(latex, "SECONDS", 0.5)
    assert not same("9^{9^{9}}", "5", "math")  # would take hours
    assert process.poll() is not None and latex.verifier() is not process
    monkeypatch.undo()
    assert same("x+1", "1+x", "math")  # by another process


def test_without_math_verify(monkeypatch, capsys):
    monkeypatch.setattr(latex, "find_spec", lambda name: None)
    latex.is_installed.cache_clear()
    assert not same("x+1", "1+x", "math") and not same("x+1", "1+x", "math")
    assert same("0.5", "1/2", "math")
    assert capsys.readouterr().out.count("pip install math-verify") == 1
    latex.is_installed.cache_clear()


def test_embedded_tasks_hand_over_their_answers():
    for row, _ in algorithmic.rows(list(algorithmic.FAMILIES), "train", 160):
        last_step = row["trace"].split("\n\n")[-1]
        answer = extract(last_step)
        assert answer == row["answer"], row
        assert same(answer, row["answer"]), row


NOISE = ["$", "{", "(", "\\frac", "\\text{", "\\boxed{", "<answer>", "answer ", "a ", " "]
NOISE += ["1/", "1,", "'", "*", "- ", "= "]


@pytest.mark.parametrize("noise", NOISE)
def test_long_nonsense_ends(noise):
    """A pattern that backtracks would take hours here."""
    for text in (noise * 10**5, "The answer is " + noise * (900 // len(noise))):
        assert not same(extract(text), "5")
        assert not same(text[:990], "5")
        assert not same("5", text[:990])
        assert not arithmetic(text)


# ------------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize("step, errors", SUMS, ids=range(len(SUMS)))
def test_arithmetic(step, errors):
    assert arithmetic(step) == errors


def test_gsm8k_paths_are_judged_by_their_arithmetic():
    texts = ["Then 2 + 3 = 6 apples, <<6*2=12>>12 halves.", "The answer is 12."]
    assert judge("How many?", texts, "gsm8k") == ["2+3 = 6: it is 5", ""]
    assert judge("How many?", texts) is None


# --------------------------------------------------------------------------------------- datasets
@pytest.mark.parametrize("name", prepare.BENCHMARKS)
def test_rows_of_every_benchmark(name, tmp_path):
    row, fields = HUB_ROWS[name]
    source = write_jsonl(tmp_path / "f.jsonl", row)
    expected = {"id": f"train-{name}-0", "task": name, **fields}
    assert list(prepare.rows(name, "train", source)) == [expected]


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("name", prepare.BENCHMARKS)
def test_other_files_go_through_the_library(name, suffix, tmp_path, library):
    row, fields = HUB_ROWS[name]
    path = tmp_path / f"f.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps([row, row]), encoding="utf-8")
    else:
        library.Dataset.from_list([row, row]).to_parquet(path)
    rows = list(prepare.rows(name, "test", str(path)))
    assert [{field: r[field] for field in fields} for r in rows] == [fields] * 2
    assert len(list(prepare.rows(name, "test", str(path), limit=1))) == 1


def test_tasks_splits_and_limits_on_the_hub(monkeypatch, library):
    requests = []

    def load_dataset(*args, **options):
        requests.append((args, options))
        return [HUB_ROWS["bbh"][0]] * 5

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    rows = list(prepare.rows("bbh", "test", limit=2))
    tasks = prepare.BENCHMARKS["bbh"].configs.split()
    assert len(tasks) == len(requests) == 27
    assert Counter(row["task"] for row in rows) == dict.fromkeys(tasks, 2)
    options = {"split": "test", "streaming": True}
    assert requests[0] == (("SaylorTwift/bbh", "boolean_expressions"), options)
    assert rows[1]["id"] == "test-boolean_expressions-1"
    assert len({row["id"] for row in rows}) == 54


def test_a_bbh_file_names_its_task(tmp_path):
    row = HUB_ROWS["bbh"][0]
    source = write_jsonl(tmp_path / "navigate.jsonl", row, row, row)
    rows = list(prepare.rows("bbh", "test", source, limit=2))
    assert [row["task"] for row in rows] == ["navigate"] * 2


def test_truthfulqa_is_shuffled_but_fixed(tmp_path):
    targets = {"choices": ["right", "x", "y", "z"], "labels": [1, 0, 0, 0]}
    questions = [{"question": f"Why {i}?", "mc1_targets": targets} for i in range(80)]
    source = write_jsonl(tmp_path / "t.jsonl", *questions)
    rows = list(prepare.rows("truthfulqa", "validation", source))
    assert rows == list(prepare.rows("truthfulqa", "validation", source))
    for row in rows:
        assert f"{row['answer']} right" in row["question"].split("\n")
    assert {row["answer"] for row in rows} == {"(A)", "(B)", "(C)", "(D)"}


def test_rows_without_an_answer_are_counted(tmp_path, capsys):
    row = HUB_ROWS["commonsenseqa"][0]
    unanswered = [{**row, "answerKey": ""}, {**row, "answerKey": None}]
    source = write_jsonl(tmp_path / "c.jsonl", row, *unanswered)
    out = tmp_path / "out.jsonl"
    prepare.main(["commonsenseqa", "--file", source, "--out", str(out)])
    assert capsys.readouterr().out == f"wrote 1 rows to {out}, dropped 2: no answer\n"
    assert len(out.read_text().splitlines()) == 1


def test_rows_without_a_right_generation_are_counted(tmp_path):
    row = {**HUB_ROWS["long"][0], "correctness_math_verify": [False, False]}
    source = write_jsonl(tmp_path / "l.jsonl", row)
    dropped = Counter()
    assert not list(prepare.rows("long", "train", source, dropped=dropped))
    assert dropped == {"no trace": 1}


def test_rows_that_a_program_leaves_out_are_named(monkeypatch, capsys):
    """commonsenseqa's test split has no answers: to evaluate nothing is no success."""
    row = HUB_ROWS["gsm8k"][0]
    rows = [row, {**row, "answer": "####"}]
    monkeypatch.setattr(prepare, "read", lambda *args: rows)
    assert len(read_questions("gsm8k:test")) == 1
    assert capsys.readouterr().out == "gsm8k:test: 1 rows, dropped 1: no answer\n"
    rows = [{**HUB_ROWS["commonsenseqa"][0], "answerKey": ""}]
    with pytest.raises(UserError, match="commonsenseqa: no rows, dropped 1: no answer"):
        read_questions("commonsenseqa:test")


# ------------------------------------------------------------------------------------ user errors
UNUSED_FIELDS = ("level", "type", "qid", "facts")


def bad_rows():
    """(benchmark, a row that it cannot have, what the error says)."""
    cases = [
        ("gsm8k", {"question": 3, "answer": "#### 3"}, "line 2: not a row of gsm8k"),
        ("strategyqa", {"question": "q", "answer": "false"}, "line 2: not a row"),
        ("commonsenseqa", {**HUB_ROWS["commonsenseqa"][0], "choices": "A"}, "line 2: not a row"),
        ("long", {**HUB_ROWS["long"][0], "generations": None}, "line 2: not a row of long"),
        ("bbh", ["input"], "line 2: a list"),
    ]
    targets = {"choices": ["a"], "labels": []}
    cases.append(("truthfulqa", {"question": "q", "mc1_targets": targets}, "line 2: not a row"))
    for name, (row, _) in HUB_ROWS.items():
        for field in row:
            if field not in UNUSED_FIELDS:
                others = {key: value for key, value in row.items() if key != field}
                cases.append((name, others, f'line 2: field "{field}" is missing'))
    return cases


BAD_ROWS = bad_rows()


@pytest.mark.parametrize("name, row, message", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_bad_rows_are_refused_with_their_line(name, row, message, tmp_path):
    source = write_jsonl(tmp_path / "f.jsonl", HUB_ROWS[name][0], row)
    argv = [name, "--file", source, "--out", str(tmp_path / "out.jsonl")]
    assert f"f.jsonl, {message}" in error_of(prepare.main, argv)
    assert [path.name for path in tmp_path.iterdir()] == ["f.jsonl"]


def test_bad_calls_are_refused(tmp_path, library):
    good = write_jsonl(tmp_path / "g.jsonl", HUB_ROWS["gsm8k"][0])
    broken = tmp_path / "b.parquet"
    broken.write_bytes(b"no parquet")
    missing = str(tmp_path / "none.jsonl")
    out = tmp_path / "out.jsonl"
    calls = [
        (["nothing"], "no benchmark 'nothing': choose from gsm8k"),
        (["truthfulqa"], "no split 'test': choose from validation"),
        (["short_cot", "--split", "train"], "--file"),
        (["gsm8k", "--file", missing], "No such file"),
        (["gsm8k", "--file", str(broken)], "b.parquet: cannot be read"),
        (["gsm8k", "--file", "x.csv"], "x.csv: cannot be read"),
        (["gsm8k", "--file", good, "--out", good], "is also the input"),
    ]
    for argv, message in calls:
        assert message in error_of(prepare.main, ["--out", str(out), *argv])
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["gsm8k", "--limit", "-1"])
    assert not out.exists()


def offline(*args, **options):
    """In place of load_dataset: no connection."""
    raise ConnectionError("Couldn't reach the Hub\n(a long story)")


def breaks_off(*args, **options):
    """In place of load_dataset: the connection is lost after a row."""
    yield HUB_ROWS["gsm8k"][0]
    offline()


@pytest.mark.parametrize("load_dataset, limit", [(offline, 0), (offline, 3), (breaks_off, 3)])
def test_an_unreachable_hub_says_what_to_do(load_dataset, limit, library, monkeypatch):
    monkeypatch.setattr(library, "load_dataset", load_dataset)

    def read_all():
        list(prepare.rows("gsm8k", "test", limit=limit))

    assert error_of(read_all) == (
        "gsm8k: the Hub cannot be reached (ConnectionError: Couldn't reach the Hub); "
        "download the file and name it with --file"
    )


# ---------------------------------------------------------------------------------- command lines
SCRIPT = """
import runpy, sys
sys.argv = ["prepare.py", *sys.argv[1:]]
try:
    runpy.run_module("data.benchmarks.prepare", run_name="__main__")
except SystemExit as e:
    assert not e.code, e
assert "datasets" not in sys.modules
"""


def test_the_script_runs_without_importing_datasets(tmp_path):
    source = write_jsonl(tmp_path / "f.jsonl", HUB_ROWS["bbh"][0])
    out = tmp_path / "out.jsonl"
    argv = ["bbh", "--file", source, "--out", str(out)]
    subprocess.run([sys.executable, "-c", SCRIPT, *argv], cwd=ROOT, check=True)
    assert json.loads(out.read_text())["answer"] == "False"


def test_the_script_refuses_in_one_line():
    command = [sys.executable, "-m", "data.benchmarks.prepare", "nothing"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("error: no benchmark 'nothing'")
    assert process.stderr.count("\n") == 1


def test_annotate_reads_benchmarks_by_name(tmp_path, monkeypatch):
    rows = {
        "gsm8k": [{"question": "How many?", "trace": "So 1 + 1 = 2.", "answer": "2"}],
        "strategyqa": [{"question": "Is it?", "answer": "Yes"}],
    }

    def rows_of(name, split, *_):
        assert split == "train"
        return iter(rows[name])

    monkeypatch.setattr(prepare, "rows", rows_of)
    out = tmp_path / "a.jsonl"
    annotate.main(["gsm8k:train", str(out)])
    steps = json.loads(out.read_text())["steps"]
    assert [step["text"] for step in steps] == ["So 1 + 1 = 2.", "The answer is 2."]
    bad_sources = [
        ("strategyqa:train", "--teach"),
        ("gsm9k:train", "gsm9k:train: No such file"),
    ]
    for source, message in bad_sources:
        assert message in error_of(annotate.main, [source, str(tmp_path / "b.jsonl")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.png"]


def test_a_benchmarks_row_without_steps_is_left_out_and_counted(tmp_path, monkeypatch, capsys):
    row = {"question": "How many?", "trace": "So 1 + 1 = 2.", "answer": "2"}

    def rows(name, split, *_):
        assert (name, split) == ("gsm8k", "train")
        return [row, {**row, "trace": ""}]

    monkeypatch.setattr(prepare, "rows", rows)
    annotate.main(["gsm8k:train", str(tmp_path / "a.jsonl")])
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1
    assert "dropped 1: empty trace" in capsys.readouterr().out
