"""The chat model as teacher and labeller, against a real HTTP server that misbehaves on cue."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import annotate
from data.tools import chat
from data.tools.flags import UserError
from scaffold import CONCLUSION, CONTRAST, REASONING, RECALL, RESPONSE, SIGNAL_NAMES

ROOT = Path(annotate.__file__).parent


class Endpoint(ThreadingHTTPServer):
    """Speaks the chat protocol on the loopback.

    behave(request, how often this prompt was asked) returns a message (dict or text), an HTTP
    status, "slow", "half" (of a JSON text), or bytes to send as they are.
    """

    daemon_threads = True

    def __init__(self, behave):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.asked = Counter()  # by prompt
        self.now, self.most = 0, 0  # requests at a time
        self.keys = set()
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that was killed is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def do_POST(self):
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        with server.lock:
            server.keys.add(self.headers["Authorization"])
            server.asked[prompt] += 1
            nth = server.asked[prompt]
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self.answer(request, server.behave(request, nth))
        finally:
            with server.lock:
                server.now -= 1

    def answer(self, request, reply):
        if self.path != "/v1/chat/completions":
            reply = 404
        if reply == "slow":
            time.sleep(1.5)
            return
        status = reply if isinstance(reply, int) else 200
        if isinstance(reply, int):
            body = b"{}"
        elif isinstance(reply, bytes):
            body = reply
        else:
            body = completion(request, reply)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        if reply == "half":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)


def completion(request, message):
    """A whole reply of the protocol (bytes)."""
    if isinstance(message, str):
        message = {"role": "assistant", "content": message}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    reply = {"id": "1", "object": "chat.completion", "created": 1, "model": request["model"]}
    return json.dumps({**reply, "usage": usage, "choices": [choice]}).encode()


@pytest.fixture
def endpoint(monkeypatch):
    """A function that starts an Endpoint; all waiting takes milliseconds only."""
    monkeypatch.setattr(chat, "BACK_OFF", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    started = []

    def start(behave):
        started.append(Endpoint(behave))
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def number_in(request):
    return int(request["messages"][-1]["content"].split("number ")[1].split("?")[0])


def solve(request, nth=1):
    n = number_in(request)
    reasoning = f"We are told {n}.\n\nSo it is {2 * n}."
    content = f"The answer is {2 * n}."
    return {"role": "assistant", "content": content, "reasoning_content": reasoning}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def questions(path, n):
    """A file of n questions, the i-th of which asks for twice i."""
    rows = []
    for i in range(n):
        question = f"What is twice the number {i}?"
        rows.append({"id": f"q{i}", "question": question, "answer": str(2 * i)})
    return write_rows(path, rows)


def run(source, target, server, *flags):
    """Let the endpoint teach. Returns the annotated rows."""
    endpoint_flags = ["--teach", "--base_url", server.url, "--model", "m", "--timeout", "0.7"]
    annotate.main([str(source), str(target), *endpoint_flags, *flags])
    return read_rows(target)


def texts_of(row):
    return [step["text"] for step in row["steps"]]


def test_every_kind_of_trouble_is_got_over(tmp_path, endpoint, capsys):
    empty = {"role": "assistant", "content": ""}
    trouble = [429, 500, "slow", "half", b"<html>", 503, empty, b'{"choices": []}']

    def behave(request, nth):
        n = number_in(request)
        if nth == 3 or n >= len(trouble):
            return solve(request)
        return trouble[(n + nth) % len(trouble)]

    server = endpoint(behave)
    source, target = questions(tmp_path / "q.jsonl", 20), tmp_path / "out.jsonl"
    rows = run(source, target, server, "--concurrency", "4")
    assert [r["id"] for r in rows] == [f"q{i}" for i in range(20)]
    assert texts_of(rows[3]) == ["We are told 3.", "So it is 6.", "The answer is 6."]
    signals = [SIGNAL_NAMES.index(step["signal"]) for step in rows[3]["steps"]]
    assert signals == [RECALL, CONCLUSION, RESPONSE]
    assert sorted(server.asked.values()) == [1] * 12 + [3] * 8
    assert server.most <= 4
    assert server.keys == {"Bearer none"}  # no key of the user's goes to a stranger
    run(source, target, server)
    assert sum(server.asked.values()) == 12 + 3 * 8  # nothing is asked for again


def test_only_right_traces_are_kept(tmp_path, endpoint, capsys):
    reasoning = {"content": "The answer is 8.", "reasoning": "Let me see.\n\nTwice 4."}
    replies = [
        "<think>We try 0.\n\nIt is 0.</think>The answer is 0.",
        "Since 1 + 1 = 2.\n\nThe answer is \\boxed{2}.",
        "We are told 2.\n\nThe answer is 5.",
        "So we go on and on",
        {"role": "assistant", **reasoning},
        400,
    ]

    def behave(request, nth):
        return replies[number_in(request)]

    source = questions(tmp_path / "q.jsonl", 6)
    rows = run(source, tmp_path / "out.jsonl", endpoint(behave))
    assert {r["id"]: texts_of(r) for r in rows} == {
        "q0": ["We try 0.", "It is 0.", "The answer is 0."],
        "q1": ["Since 1 + 1 = 2.", "The answer is \\boxed{2}."],
        "q4": ["Let me see.", "Twice 4.", "The answer is 8."],
    }
    out = capsys.readouterr().out
    assert "dropped 2: wrong answer" in out and "dropped 1: HTTP 400" in out
    rows = run(source, tmp_path / "all.jsonl", endpoint(behave), "--keep", "all")
    assert len(rows) == 5
    assert {r["id"]: texts_of(r)[-1] for r in rows}["q2"] == "The answer is 5."


NO_PORT = ["--base_url", "http://127.0.0.1:9/v1"]


@pytest.mark.parametrize(
    "status, flags, says",
    [
        (401, [], "HTTP 401 ({}); check"),
        (503, [], "no reply in 3 tries (HTTP 503)"),
        (200, NO_PORT, "no reply in 3 tries"),
    ],
)
def test_an_endpoint_that_is_not_there(status, flags, says, tmp_path, endpoint):
    def behave(request, nth):
        return solve(request) if number_in(request) < 3 and status != 401 else status

    source, target = questions(tmp_path / "q.jsonl", 6), tmp_path / "out.jsonl"
    with pytest.raises(UserError) as e:
        run(source, target, endpoint(behave), "--tries", "3", "--concurrency", "1", *flags)
    assert says in str(e.value) and "\n" not in str(e.value)
    assert not target.exists()
    journal = tmp_path / "out.jsonl.replies.jsonl"
    if status == 503:
        assert len(journal.read_text().splitlines()) == 3
    else:  # where nothing came, nothing is left behind
        assert not journal.exists()


def test_one_question_that_never_comes_is_counted(tmp_path, endpoint, capsys):
    def behave(request, nth):
        return 500 if number_in(request) == 2 else solve(request)

    server = endpoint(behave)
    source, target = questions(tmp_path / "q.jsonl", 30), tmp_path / "out.jsonl"
    rows = run(source, target, server, "--tries", "3", "--concurrency", "2")
    assert len(rows) == 29 and "1 of 30 got no usable reply" in capsys.readouterr().out
    server.behave = solve
    assert len(run(source, target, server)) == 30
    assert sum(server.asked.values()) == 29 + 3 + 1


def test_replies_that_cannot_be_kept_are_not_asked_for(tmp_path, endpoint):
    server = endpoint(solve)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run(questions(tmp_path / "q.jsonl", 3), tmp_path / "file" / "out.jsonl", server)
    assert not server.asked


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_lost(tmp_path, endpoint):
    """kill -9 at any moment: what has come is never asked for again, what has not is.

    Half a line at the end of the journal is repaired.
    """

    def behave(request, nth):
        time.sleep(0.05)
        return solve(request)

    server = endpoint(behave)
    source, target = questions(tmp_path / "q.jsonl", 60), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.replies.jsonl"
    command = [sys.executable, str(ROOT / "annotate.py"), str(source), str(target), "--teach"]
    command += ["--base_url", server.url, "--model", "m", "--concurrency", "3"]
    kills, came = 0, set()  # came: the questions whose replies are in the journal
    while True:
        asked_before = {i: times_asked(server, i) for i in came}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
        )
        while process.poll() is None and count_lines(journal) < len(came) + 15:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        assert all(times_asked(server, i) == n for i, n in asked_before.items())
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        whole_lines = [x for x in journal.read_text().splitlines() if x.endswith("}")]
        for i in range(60):
            if any(f"We are told {i}." in line for line in whole_lines):
                came.add(i)
        with open(journal, "ab") as f:
            f.write(b'{"key": "torn')
    assert kills >= 3 and len(read_rows(target)) == 60
    assert sum(server.asked.values()) <= 60 + 3 * kills


def times_asked(server, i):
    return sum(n for prompt, n in server.asked.items() if f"number {i}?" in prompt)


def count_lines(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


# ----------------------------------------------------------------------------------------- labels
def label(tmp_path, server, traces, *flags):
    """Let the endpoint label traces. Returns the signals of each."""
    rows = []
    for i, trace in enumerate(traces):
        rows.append({"id": str(i), "question": f"number {i}?", "trace": trace, "answer": "1"})
    source, target = write_rows(tmp_path / "t.jsonl", rows), tmp_path / "out.jsonl"
    endpoint_flags = ["--labeler", "llm", "--base_url", server.url, "--model", "m"]
    limits = ["--timeout", "0.7", "--tries", "3"]
    annotate.main([str(source), str(target), *endpoint_flags, *limits, *flags])
    return [[SIGNAL_NAMES.index(s["signal"]) for s in row["steps"]] for row in read_rows(target)]


def test_labels_of_a_language_model(tmp_path, endpoint, capsys):
    """It corrects keywords and names the rest.

    A wrong form is asked for again; then the keyword's label stands.
    """
    trace = "So we begin.\n\nHmm.\n\nBut no.\n\nThe answer is 1."
    signals = [RECALL, REASONING, CONTRAST, RESPONSE]
    good = json.dumps({"signals": [SIGNAL_NAMES[i] for i in signals]})
    first = SIGNAL_NAMES[0]
    wrong = [
        "no JSON",
        json.dumps({"signals": [first] * 3}),
        json.dumps({"signals": ["Doubt"] * 4}),
        json.dumps({"signals": [[], {}, 1, None]}),
        json.dumps([first] * 4),
    ]

    def behave(request, nth):
        n = number_in(request)
        if n == 0:
            return good
        if n == 1:
            return wrong[nth % 5] if nth < 3 else f"<think>hm</think>```json\n{good}\n```"
        return wrong[nth + 1]

    server = endpoint(behave)
    found = label(tmp_path, server, [trace] * 3)
    assert found[0] == found[1] == signals
    assert found[2][0] == CONCLUSION and found[2][2:] == [CONTRAST, RESPONSE]
    assert sorted(server.asked.values()) == [1, 3, 3]
    out = capsys.readouterr().out
    assert "1 of 3 got no usable reply" in out
    # "So" is wrong; "But" and the answer are right.
    agreement = "agreement with the language model, which name 66.7% of the steps: keywords 66.7%"
    assert agreement in out


def test_long_traces_are_labelled_in_parts(tmp_path, endpoint):
    n_signals = len(SIGNAL_NAMES)

    def behave(request, nth):
        form = request["response_format"]
        array = form["json_schema"]["schema"]["properties"]["signals"]
        assert form["type"] == "json_schema" and array["items"]["enum"] == SIGNAL_NAMES
        n = array["minItems"]
        assert n == array["maxItems"]
        return json.dumps({"signals": [SIGNAL_NAMES[n % n_signals]] * n})

    server = endpoint(behave)
    (found,) = label(tmp_path, server, ["\n\n".join(f"step {i}" for i in range(60))])
    expected = [40 % n_signals] * 40 + [21 % n_signals] * 20
    assert found == [*expected, RESPONSE]  # the answer is the 61st step
    assert len(server.asked) == 2


def test_keywords_alone(tmp_path):
    row = {"question": "q", "trace": "So.\n\nHm hm.\n\nBut.", "answer": "1"}
    source, target = write_rows(tmp_path / "t.jsonl", [row]), tmp_path / "out.jsonl"
    annotate.main([str(source), str(target), "--labeler", "keywords"])
    signals = [SIGNAL_NAMES.index(s["signal"]) for s in read_rows(target)[0]["steps"]]
    assert signals == [CONCLUSION, REASONING, CONTRAST, RESPONSE]


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--teach"], "--model"),
        (["--labeler", "llm"], "--model"),
        (["--labeler", "gpt"], "invalid choice"),
        (["--concurrency", "0"], "between"),
    ],
)
def test_bad_flags(argv, says, tmp_path, capsys):
    source = questions(tmp_path / "q.jsonl", 1)
    with pytest.raises((UserError, SystemExit)) as e:
        annotate.main([str(source), str(tmp_path / "o.jsonl"), *argv])
    assert says in str(e.value) + capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["q.jsonl"]


def test_nothing_kept_is_an_error(tmp_path, endpoint):
    def behave(request, nth):
        return "I think so.\n\nThe answer is 99999."

    source, target = questions(tmp_path / "q.jsonl", 3), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"no trace is left \(3: wrong answer\)"):
        run(source, target, endpoint(behave))
    assert not target.exists()
