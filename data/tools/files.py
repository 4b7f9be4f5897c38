"""Files: JSONL in, whole files out, and a look at the outputs before any work is done."""

import gzip
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

from data.tools.flags import UserError


def parse_row(raw, where):
    """One line (bytes) of a JSONL file as a dict. Raises UserError."""
    try:
        text = raw.decode("utf-8-sig")
        row = json.loads(text, parse_constant=lambda name: None)  # NaN is no value
        json.dumps(row, ensure_ascii=False).encode()
        if isinstance(row, dict):
            return row
        problem = f"a {type(row).__name__}, not an object; write one JSON object a line"
    except UnicodeDecodeError as e:
        problem = f"not UTF-8 (byte {e.start}); save the file as UTF-8"
    except UnicodeEncodeError:
        problem = "a lone surrogate escape is no character; replace it"
    except json.JSONDecodeError as e:
        problem = f"not JSON ({e.msg}); write one JSON object a line"
    except RecursionError:
        problem = "not JSON (nested too deep)"
    except ValueError:
        problem = "not JSON (a number of too many digits)"
    raise UserError(f"{where}: {problem}")


def check_field(row, alternatives, where):
    """Raise UserError unless the first of the alternatives ("a|b") is a non-empty string."""
    names = alternatives.split("|")
    value = next((row[name] for name in names if name in row), None)
    if not isinstance(value, str) or not value.strip():
        kind = type(value).__name__
        problem = {"NoneType": "missing", "str": "empty"}.get(kind, f"a {kind}, not a string")
        quoted = " or ".join(f'"{name}"' for name in names)
        raise UserError(f"{where}: field {quoted} is {problem}")


def read_jsonl(path, *required):
    """Rows (dicts) of a JSONL file, each with its "line" number; empty lines are skipped.

    A name that ends in .gz is that of a compressed file.

    A required "a|b" is a non-empty string under a or b. Raises UserError with file, line and reason
    at the first row that is not such an object.
    """
    rows = []
    try:
        with (gzip.open if is_gzip(path) else open)(path, "rb") as f:
            for number, raw in enumerate(f, 1):
                if not raw.strip():
                    continue
                where = f"{path}, line {number}"
                row = parse_row(raw, where)
                for alternatives in required:
                    check_field(row, alternatives, where)
                rows.append({**row, "line": number})
    except (OSError, EOFError) as e:  # a compressed file may be damaged or cut off
        raise UserError(f"{path}: {getattr(e, 'strerror', None) or e}") from None
    if not rows:
        raise UserError(f"{path}: no rows; write one JSON object a line")
    return rows


def is_gzip(path):
    return Path(path).suffix == ".gz"


@contextmanager
def replacing(path):
    """Give the name of a new file beside path, which takes path's place once it is on the disk.

    What was there before stays until then. Raises UserError where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # shared with no other process
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as e:  # torch.save says RuntimeError where the disk is full
        reason = getattr(e, "strerror", None) or "is the disk full?"
        raise UserError(f"{path}: cannot be written ({reason}); an older one is kept") from None
    finally:
        if part.is_file():  # something went wrong, or Ctrl-C
            part.unlink()


def write_text(path, text):
    """Write a text file, whole or not at all. Raises UserError."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_jsonl(path, rows):
    """Write one JSON object a line, compressed for a name in .gz. Raises UserError.

    The whole file is written, or nothing.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not is_gzip(path):
        return write_text(path, text)
    with replacing(path) as part:
        part.write_bytes(gzip.compress(text.encode()))


def check_outputs(outputs, *inputs):
    """Before any work is done, refuse an output that could not be written.

    Neither may it replace an input or another output. Raises UserError.
    """
    taken = {os.path.realpath(path) for path in inputs if path}
    for path in map(Path, outputs):
        if os.path.realpath(path) in taken:
            raise UserError(f"{path}: is also the input, or another output; name another file")
        taken.add(os.path.realpath(path))
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a folder or a device; name a file for the output")
        folder = next(p for p in path.absolute().parents if p.exists())  # the rest will be made
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError(f"{path}: cannot be written, {folder} is no folder that takes files")


def normal_form(question):
    """A question with one space for all white space: what is equal in it is one question."""
    return " ".join(question.split())


def question_hash(question):
    """A question's normal form as a number of 64 bits: tells questions seen in training."""
    digest = hashlib.blake2b(normal_form(question).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
