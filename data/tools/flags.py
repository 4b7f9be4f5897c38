"""Command lines from dataclasses, and errors of the user as one line."""

import argparse
import dataclasses
import gc
import sys
from dataclasses import dataclass, field

from data.tools.terminal import one_line


class UserError(Exception):
    """A mistake of the user's: printed as one line, exit code 2."""


@dataclass
class Positional:
    """An argument without a flag; nargs as in argparse."""

    name: str
    help: str
    nargs: str | None = None


def flag(default, help, **limits):
    """A dataclass field that is a command-line flag. Limits: choices=..., low=..., high=..."""
    return field(default=default, metadata={"help": help, **limits})


class Parser(argparse.ArgumentParser):
    def error(self, message):
        """One line in place of argparse's usage."""
        self.exit(2, f"error: {one_line(message)} (see --help)\n")


def number_between(kind, low, high):
    """A parser of numbers (kind: int or float) from low to high."""

    def parse(text):
        value = kind(text)
        if not low <= value <= high:  # also refuses nan and inf
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number
    return parse


def add_flag(parser, f):
    """Add one dataclass field to the parser; the type of the flag is that of its default."""
    limits = f.metadata
    options = {"default": f.default, "help": limits["help"]}
    if isinstance(f.default, bool):
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"choices": limits.get("choices"), "nargs": limits.get("nargs")}
        options["type"] = str if isinstance(f.default, tuple) else type(f.default)
        if options["type"] in (int, float):
            low, high = limits.get("low", 0), limits.get("high", 10**9)
            options["type"] = number_between(options["type"], low, high)
    parser.add_argument(f"--{f.name}", **options)


def parse_flags(config_class, argv, description, *positionals):
    """Fill a dataclass, each field of which is a flag, from the command line.

    Returns the dataclass, then the value of every Positional. A bad flag ends the program with
    one line and exit code 2.
    """
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = Parser(description=description, formatter_class=formatter, allow_abbrev=False)
    for p in positionals:
        parser.add_argument(p.name, help=p.help, nargs=p.nargs)
    fields = dataclasses.fields(config_class)
    for f in fields:
        add_flag(parser, f)
    values = vars(parser.parse_args(argv))
    config = config_class(**{f.name: values[f.name] for f in fields})
    return config, *(values[p.name] for p in positionals)


def run_program(main):
    """Run main() and exit. A UserError or an OSError is one line and exit code 2, no traceback."""
    # The data is many small objects without cycles. Looking for cycles after every 700 new objects,
    # as Python does, would cost a second.
    gc.set_threshold(100_000, 50, 50)
    for stream in (sys.stdout, sys.stderr):  # a terminal without some character must not stop a run
        stream.reconfigure(errors="replace")
    try:
        sys.exit(main())
    except UserError as e:
        print(f"error: {one_line(e)}", file=sys.stderr)
        sys.exit(2)
    except OSError as e:  # a full disk, or a folder that may not be written
        reason = e.strerror or one_line(e)
        print(f"error: {one_line(e.filename or 'output')}: {reason}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as e:
        print(str(e) or "stopped", file=sys.stderr)
        sys.exit(130)
