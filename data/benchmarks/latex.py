"""Do two LaTeX answers say the same? math-verify decides, where it is installed.

It works in a process of its own, which can be stopped from outside: an answer like 9^{9^{9}} keeps
it busy for hours, and its own time limit works in the main thread only.
"""

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from threading import Lock, Timer

# As prepare.py names the tasks of math (one for each subject), math500 and long.
MATH_TASKS = """
    math algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra
    precalculus math500 long
    """.split()
SECONDS = 10  # longest comparison, the start of the process included
ONE_AT_A_TIME = Lock()


@cache
def is_installed():
    """Is math-verify there? Says once where it is not."""
    if find_spec("math_verify"):
        return True
    print("math-verify is missing: LaTeX answers must be spelled alike (pip install math-verify)")
    return False


@cache
def verifier():
    """The process, which runs `main`."""
    command = [sys.executable, "-P", __file__]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def same_latex(given, right, task):
    r"""Does math-verify find two answers (str) to a task the same?

    It is asked for MATH_TASKS, and where the right answer has a backslash, as \frac{1}{2} has.
    False where math-verify is missing, fails or is slow.
    """
    if task not in MATH_TASKS and "\\" not in right or not is_installed():
        return False
    with ONE_AT_A_TIME:
        process = verifier()
        timer = Timer(SECONDS, process.kill)
        timer.start()
        reply = b""
        try:
            process.stdin.write(json.dumps([given, right]).encode() + b"\n")
            reply = process.stdout.readline()
        except OSError:  # the process has ended
            pass
        finally:
            timer.cancel()
            if not reply:
                process.kill()
                process.communicate()  # closes its pipes
                verifier.cache_clear()
    return reply.strip() == b"True"


def main():
    """Answer each line [given, right] with True or False."""
    from math_verify import LatexExtractionConfig, parse, verify  # only here: an extra install

    replies = sys.stdout
    sys.stdout = sys.stderr  # what its parsers print is no reply
    # Its other configs hand numbers to sympy's parse_expr, which runs text as Python.
    options = {"extraction_config": [LatexExtractionConfig()], "parsing_timeout": None}
    for line in sys.stdin:
        texts = [text.replace("°", r"^\circ").replace(r",\!", "") for text in json.loads(line)]
        try:
            given, right = [parse(f"${text}$", **options) for text in texts]
            verdict = verify(right, given, timeout_seconds=None)
        except Exception:  # whatever its parsers and sympy raise
            verdict = False
        print(verdict, file=replies, flush=True)


if __name__ == "__main__":
    main()
