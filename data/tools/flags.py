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


def flag(default, help, low=0, high=10**9, **options):
    """A dataclass field that is a command-line flag of its default's type.

    Numbers lie between low and high. Options (choices=..., nargs=...) are those of argparse.
    """
    options["help"] = help
    if isinstance(default, bool):
        options["action"] = argparse.BooleanOptionalAction
    elif isinstance(default, (int, float)):
        options["type"] = number_between(type(default), low, high)
    return field(default=default, metadata=options)


def number_between(kind, low, high):
    """A parser of numbers (kind: int or float) from low to high."""

    def parse(text):
        value = kind(text)
        if not low <= value <= high:  # also refuses nan and inf
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number
    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        """One line in place of argparse's usage."""
        self.exit(2, f"error: {one_line(message)} (see --help)\n")


def as_flags(values):
    """A dict as it would be written on the command line."""
    return " ".join(f"--{name}" if v is True else f"--{name} {v:g}" for name, v in values.items())


def parse_flags(config_class, argv, description, *positionals, defaults=None):
    """Fill a dataclass, each field of which is a flag, from the command line.

    defaults: values (dict) in place of some of the dataclass's own. Returns the dataclass, then
    the value of every Positional. A bad flag ends the program with one line and exit code 2.
    """
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = Parser(description=description, formatter_class=formatter, allow_abbrev=False)
    for p in positionals:
        parser.add_argument(p.name, help=p.help, nargs=p.nargs)
    for f in dataclasses.fields(config_class):
        parser.add_argument(f"--{f.name}", default=f.default, **f.metadata)
    parser.set_defaults(**defaults or {})
    values = vars(parser.parse_args(argv))
    positional_values = [values.pop(p.name) for p in positionals]
    return config_class(**values), *positional_values


def run_program(main):
    """Run main() and exit. A UserError or an OSError is one line and exit code 2, no traceback."""
    # The data is many small objects without cycles. Looking for cycles after every 700 new objects,
    # as Python does, would cost a second.
    gc.set_threshold(100_000, 50, 50)
    for stream in (sys.stdout, sys.stderr):  # a terminal without some character must not stop a run
        stream.reconfigure(errors="replace")
    try:
        sys.exit(main())
    except (UserError, OSError) as e:  # OSError: a full disk, or a folder that may not be written
        print(f"error: {one_line(e)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as e:
        print(str(e) or "stopped", file=sys.stderr)
        sys.exit(130)
