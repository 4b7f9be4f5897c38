"""Files: JSONL in, whole files out, and a look at the outputs before any work is done."""

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

from data.tools.flags import UserError


def parse_row(raw, where):
    """One line (bytes) of a JSONL file as a dict; an empty line is None. Raises UserError."""
    try:
        row = json.loads(
            raw.decode("utf-8-sig"), parse_constant=lambda name: None
        )  # NaN is no value
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as e:
        message = f"not UTF-8 (byte {e.start}); save the file as UTF-8"
        raise UserError(f"{where}: {message}") from None
    except UnicodeEncodeError:
        message = "a lone surrogate escape is no character; replace it"
        raise UserError(f"{where}: {message}") from None
    except json.JSONDecodeError as e:
        if not raw.strip():
            return None
        raise UserError(f"{where}: not JSON ({e.msg}); write one JSON object a line") from None
    except RecursionError:
        message = "not JSON (nested too deep); write one JSON object a line"
        raise UserError(f"{where}: {message}") from None
    except ValueError:
        message = "not JSON (a number of too many digits); write one JSON object a line"
        raise UserError(f"{where}: {message}") from None
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise UserError(f"{where}: a {kind}, not an object; write one JSON object a line")
    return row


def check_field(row, alternatives, where):
    """Raise UserError unless the first of the alternatives ("a|b") is a non-empty string."""
    names = alternatives.split("|")
    value = next((row[name] for name in names if name in row), None)
    if isinstance(value, str) and value.strip():
        return
    if value is None:
        problem = "is missing"
    elif isinstance(value, str):
        problem = "is empty"
    else:
        problem = f"is a {type(value).__name__}, not a string"
    quoted = " or ".join(f'"{name}"' for name in names)
    raise UserError(f"{where}: field {quoted} {problem}")


def read_jsonl(path, *required):
    """Rows (dicts) of a JSONL file, each with its "line" number.

    A required "a|b" is a non-empty string under a or b. Raises UserError with file, line and reason
    at the first row that is not such an object.
    """
    rows = []
    try:
        with open(path, "rb") as f:
            for number, raw in enumerate(f, 1):
                where = f"{path}, line {number}"
                row = parse_row(raw, where)
                if row is None:
                    continue
                for alternatives in required:
                    check_field(row, alternatives, where)
                rows.append({**row, "line": number})
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}") from None
    if not rows:
        raise UserError(f"{path}: no rows; write one JSON object a line")
    return rows


@contextmanager
def replacing(path):
    """Give the name of a new file beside path, which takes path's place once it is on the disk.

    What was there before stays until then. Raises UserError where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as e:  # torch.save says RuntimeError where the disk is full
        if part.is_file():
            part.unlink()
        reason = getattr(e, "strerror", None) or "is the disk full?"
        kept = "; what was there before is kept" if path.exists() else ""
        raise UserError(f"{path}: cannot be written ({reason}){kept}") from None


def write_text(path, text):
    """Write a text file, whole or not at all. Raises UserError."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_jsonl(path, rows):
    """Write one JSON object a line, the whole file or nothing. Raises UserError."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def check_outputs(outputs, *inputs):
    """Before any work is done, refuse an output that could not be written.

    Neither may it replace an input or another output. Raises UserError.
    """
    taken = {os.path.realpath(path) for path in inputs if path}
    for path in map(Path, outputs):
        if os.path.realpath(path) in taken:
            problem = "is also the input, or another output; name another file for the output"
            raise UserError(f"{path}: {problem}")
        taken.add(os.path.realpath(path))
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a folder or a device; name a file for the output")
        folder = next(p for p in path.absolute().parents if p.exists())  # the rest will be made
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            problem = f"cannot be written, {folder} is no folder that takes files"
            raise UserError(f"{path}: {problem}; name another file for the output")


def question_hash(question):
    """A question, white space aside, as a number of 64 bits: tells questions seen in training."""
    digest = hashlib.blake2b(" ".join(question.split()).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
