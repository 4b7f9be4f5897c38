"""The teacher client and the language model as labeller, against a real HTTP server on the loopback that misbehaves on cue."""
import json
import os
import signal as signals_of_the_system
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import annotate
from scaffold import SIGNALS, UserError

ROOT = Path(annotate.__file__).parent


class Endpoint(ThreadingHTTPServer):
    """Speaks the chat protocol. behave(request, nth time this prompt is asked) returns a message (dict or text), a status, "slow",
    "half" a JSON, or bytes to send as they are."""
    daemon_threads = True

    def __init__(self, behave):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave, self.asked, self.now, self.most, self.keys, self.lock = behave, Counter(), 0, 0, set(), threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        server, request = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
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

    def answer(self, request, what):
        if self.path != "/v1/chat/completions":
            what = 404
        if what == "slow":
            time.sleep(1.5)
            return
        status, body = (what, b"{}") if isinstance(what, int) else (200, what)
        if not isinstance(body, bytes):
            message = {"role": "assistant", "content": "x"} if body == "half" else {"role": "assistant", "content": body} if isinstance(body, str) else body
            body = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": request["model"], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
                               "choices": [{"index": 0, "message": message, "finish_reason": request.get("finish", "stop")}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if what == "half" else body)
        if what == "half":
            self.close_connection = True


@pytest.fixture
def endpoint(monkeypatch):
    """Start an Endpoint; everything waits for milliseconds only."""
    monkeypatch.setattr(annotate, "BACK_OFF", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    started = []
    yield lambda behave: started.append(Endpoint(behave)) or started[-1]
    for server in started:
        server.shutdown()
        server.server_close()


def number_in(request):
    return int(request["messages"][-1]["content"].split("number ")[1].split("?")[0])


def solve(request, nth=1):
    n = number_in(request)
    return {"role": "assistant", "content": f"The answer is {2 * n}.", "reasoning_content": f"We are told {n}.\n\nSo it is {2 * n}."}


def questions(path, n):
    path.write_text("".join(json.dumps({"id": f"q{i}", "question": f"What is twice the number {i}?", "answer": str(2 * i)}) + "\n" for i in range(n)))
    return path


def run(source, target, server, *flags):
    annotate.main([str(source), str(target), "--teach", "--base_url", server.url, "--model", "m", "--timeout", "0.7", *flags])
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_every_kind_of_trouble_is_got_over(tmp_path, endpoint, capsys):
    trouble = [429, 500, "slow", "half", b"<html>", 503, {"role": "assistant", "content": ""}, b'{"choices": []}']
    server = endpoint(lambda request, nth: solve(request) if nth == 3 or number_in(request) >= len(trouble) else trouble[(number_in(request) + nth) % len(trouble)])
    rows = run(questions(tmp_path / "q.jsonl", 20), tmp_path / "out.jsonl", server, "--concurrency", "4")
    assert [r["id"] for r in rows] == [f"q{i}" for i in range(20)]
    assert [s["text"] for s in rows[3]["steps"]] == ["We are told 3.", "So it is 6.", "The answer is 6."]
    assert [s["signal"] for s in rows[3]["steps"]] == [SIGNALS[2], SIGNALS[5], SIGNALS[6]]
    assert all(n == (3 if i < 8 else 1) for i, n in enumerate(server.asked.values())) or sorted(server.asked.values()) == [1] * 12 + [3] * 8
    assert server.most <= 4 and server.keys == {"Bearer none"}  # and no key of ours goes to a stranger
    run(tmp_path / "q.jsonl", tmp_path / "out.jsonl", server)
    assert sum(server.asked.values()) == 12 + 3 * 8  # nothing is asked for again


def test_only_right_traces_are_kept(tmp_path, endpoint, capsys):
    forms = {0: "<think>We try 0.\n\nIt is 0.</think>The answer is 0.", 1: "Since 1 + 1 = 2.\n\nThe answer is \\boxed{2}.", 2: "We are told 2.\n\nThe answer is 5.", 3: "So we go on and on",
             4: {"role": "assistant", "content": "The answer is 8.", "reasoning": "Let me see.\n\nTwice 4."}, 5: 400}
    server = endpoint(lambda request, nth: forms[number_in(request)])
    rows = run(questions(tmp_path / "q.jsonl", 6), tmp_path / "out.jsonl", server)
    texts = {r["id"]: [s["text"] for s in r["steps"]] for r in rows}
    assert texts == {"q0": ["We try 0.", "It is 0.", "The answer is 0."], "q1": ["Since 1 + 1 = 2.", "The answer is \\boxed{2}."], "q4": ["Let me see.", "Twice 4.", "The answer is 8."]}
    out = capsys.readouterr().out
    assert "dropped 2: wrong answer" in out and "dropped 1: HTTP 400" in out
    rows = run(tmp_path / "q.jsonl", tmp_path / "all.jsonl", endpoint(lambda request, nth: forms[number_in(request)]), "--keep", "all")
    assert {r["id"]: r["steps"][-1]["text"] for r in rows}["q2"] == "The answer is 5." and len(rows) == 5


@pytest.mark.parametrize("status, flags, says", [(401, [], "HTTP 401 ({}); check"), (503, [], "no reply in 3 tries (HTTP 503)"), (200, ["--base_url", "http://127.0.0.1:9/v1"], "no reply in 3 tries")])
def test_an_endpoint_that_is_not_there(status, flags, says, tmp_path, endpoint):
    server = endpoint(lambda request, nth: solve(request) if number_in(request) < 3 and status != 401 else status)
    with pytest.raises(UserError) as e:
        run(questions(tmp_path / "q.jsonl", 6), tmp_path / "out.jsonl", server, "--tries", "3", "--concurrency", "1", *flags)
    assert says in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / "out.jsonl").exists()
    journal = tmp_path / "out.jsonl.replies.jsonl"  # where nothing came, nothing is left behind
    assert len(journal.read_text().splitlines()) == 3 if status == 503 else not journal.exists()


def test_one_question_that_never_comes_is_counted(tmp_path, endpoint, capsys):
    server = endpoint(lambda request, nth: 500 if number_in(request) == 2 else solve(request))
    rows = run(questions(tmp_path / "q.jsonl", 30), tmp_path / "out.jsonl", server, "--tries", "3", "--concurrency", "2")
    assert len(rows) == 29 and "1 of 30 got no usable reply" in capsys.readouterr().out
    server.behave = solve
    assert len(run(tmp_path / "q.jsonl", tmp_path / "out.jsonl", server)) == 30 and sum(server.asked.values()) == 29 + 3 + 1


def test_replies_that_cannot_be_kept_are_not_asked_for(tmp_path, endpoint):
    server = endpoint(solve)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run(questions(tmp_path / "q.jsonl", 3), tmp_path / "file" / "out.jsonl", server)
    assert not server.asked


def test_killed_again_and_again_nothing_is_lost(tmp_path, endpoint):
    """kill -9 at whatever moment: what has come is never asked for again, what has not is; half a line in the journal is repaired."""
    server = endpoint(lambda request, nth: time.sleep(0.05) or solve(request))
    source, target, journal = questions(tmp_path / "q.jsonl", 60), tmp_path / "out.jsonl", tmp_path / "out.jsonl.replies.jsonl"
    command = [sys.executable, str(ROOT / "annotate.py"), str(source), str(target), "--teach", "--base_url", server.url, "--model", "m", "--concurrency", "3"]
    kills, came = 0, set()
    while True:
        before = {p: n for p, n in server.asked.items() if any(f"number {i}?" in p for i in came)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
        while process.poll() is None and len(journal.read_bytes().splitlines() if journal.exists() else []) < len(came) + 15:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signals_of_the_system.SIGKILL)
            kills += 1
        out, err = process.communicate()
        assert all(server.asked[p] == n for p, n in before.items())
        if process.returncode == 0:
            break
        assert process.returncode == -9, err
        came = {number_in({"messages": [{"content": p}]}) for p in server.asked for line in journal.read_text().splitlines()
                if line.endswith("}") and f"We are told {number_in({'messages': [{'content': p}]})}." in line}
        with open(journal, "ab") as f:
            f.write(b'{"key": "torn')
    assert kills >= 3 and len(target.read_text().splitlines()) == 60
    assert sum(server.asked.values()) <= 60 + 3 * kills


# ----------------------------------------------------------------------------------------- labels
def labelled(tmp_path, server, traces, *flags):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"id": str(i), "question": f"number {i}?", "trace": t, "answer": "1"}) + "\n" for i, t in enumerate(traces)))
    annotate.main([str(tmp_path / "t.jsonl"), str(tmp_path / "out.jsonl"), "--labeler", "llm", "--base_url", server.url, "--model", "m", "--timeout", "0.7", "--tries", "3", *flags])
    return [[SIGNALS.index(s["signal"]) for s in json.loads(line)["steps"]] for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_labels_of_a_language_model(tmp_path, endpoint, capsys):
    """It corrects keywords and names the rest; a wrong form is asked for again, then the keyword's label stands."""
    trace = "So we begin.\n\nHmm.\n\nBut no.\n\nThe answer is 1."
    good = json.dumps({"signals": [SIGNALS[i] for i in (2, 4, 3, 6)]})
    wrong = ["no JSON", json.dumps({"signals": [SIGNALS[0]] * 3}), json.dumps({"signals": ["Doubt"] * 4}), json.dumps({"signals": [[], {}, 1, None]}), json.dumps([SIGNALS[0]] * 4)]
    replies = {0: lambda nth: good, 1: lambda nth: wrong[nth % 5] if nth < 3 else f"<think>hm</think>```json\n{good}\n```", 2: lambda nth: wrong[nth + 1]}
    server = endpoint(lambda request, nth: replies[number_in(request)](nth))
    found = labelled(tmp_path, server, [trace] * 3)
    assert found[0] == found[1] == [2, 4, 3, 6]
    assert found[2][0] == 5 and found[2][2:] == [3, 6]
    assert list(server.asked.values()) and sorted(server.asked.values()) == [1, 3, 3]
    out = capsys.readouterr().out
    assert "1 of 3 got no usable reply" in out
    assert "agreement with the language model, which name 66.7% of the steps: keywords 66.7%" in out  # So is wrong, But and the answer are right


def test_long_traces_are_labelled_in_parts(tmp_path, endpoint):
    def names(request):
        form = request["response_format"]
        array = form["json_schema"]["schema"]["properties"]["signals"]
        assert form["type"] == "json_schema" and array["items"]["enum"] == SIGNALS and array["minItems"] == array["maxItems"]
        return array["minItems"]

    server = endpoint(lambda request, nth: json.dumps({"signals": [SIGNALS[names(request) % 7]] * names(request)}))
    found, = labelled(tmp_path, server, ["\n\n".join(f"step {i}" for i in range(60))])
    assert found == [40 % 7] * 40 + [21 % 7] * 20 + [6] and len(server.asked) == 2  # the answer is the 61st


def test_keywords_alone(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"question": "q", "trace": "So.\n\nHm hm.\n\nBut.", "answer": "1"}) + "\n")
    annotate.main([str(tmp_path / "t.jsonl"), str(tmp_path / "out.jsonl"), "--labeler", "keywords"])
    assert [SIGNALS.index(s["signal"]) for s in json.loads((tmp_path / "out.jsonl").read_text())["steps"]] == [5, 4, 3, 6]


@pytest.mark.parametrize("argv, says", [(["--teach"], "--model"), (["--labeler", "llm"], "--model"), (["--labeler", "gpt"], "invalid choice"), (["--concurrency", "0"], "between")])
def test_bad_flags(argv, says, tmp_path, capsys):
    with pytest.raises((UserError, SystemExit)) as e:
        annotate.main([str(questions(tmp_path / "q.jsonl", 1)), str(tmp_path / "o.jsonl"), *argv])
    assert says in str(e.value) + capsys.readouterr().err and sorted(p.name for p in tmp_path.iterdir()) == ["q.jsonl"]


def test_nothing_kept_is_an_error(tmp_path, endpoint):
    server = endpoint(lambda request, nth: "I think so.\n\nThe answer is 99999.")
    with pytest.raises(UserError, match=r"no trace is left \(3: wrong answer\)"):
        run(questions(tmp_path / "q.jsonl", 3), tmp_path / "out.jsonl", server)
    assert not (tmp_path / "out.jsonl").exists()
