"""`facedb`: the group of commands, and what its errors exit with."""

from __future__ import annotations

import errno
import gc
import io
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module

import click

from facedb import __version__
from facedb.errors import FacedbError

_COMMANDS = {
    "index": "facedb.cli.index",
    "query": "facedb.cli.query",
    "enroll": "facedb.cli.index",
    "people": "facedb.cli.people",
    "compare": "facedb.cli.query",
    "evaluate": "facedb.cli.evaluate",
    "calibrate": "facedb.cli.calibrate",
    "train": "facedb.cli.train",
    "tune": "facedb.cli.train",
    "gallery": "facedb.cli.gallery",
}


_BEGIN_ANEW = frozenset(("query", "compare", "evaluate", "calibrate"))
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_PATIENCE = 2.0  # seconds after a Ctrl-C in which another says nothing new


class _Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(import_module(module), f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(name, _COMMANDS, 1)
            meant = "".join(f" Did you mean {command}?" for command in near)
            raise click.UsageError(error.message + meant, ctx) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="facedb")
def facedb() -> None:
    """Who is in this photo? Face identification, offline.

    \b
      facedb index data/train        enroll a folder that holds a folder per person
      facedb query photo.jpg         who is this, how close, accepted or not
      facedb evaluate data/val       how often that is right

    A gallery is a folder, by default ./facedb.gallery; name another with -g or FACEDB_GALLERY.

    Exit codes: 0 done, 1 failure, 2 usage, 3 not identified (with --exit-code), 4 input,
    5 gallery, 6 encoder.
    """


class _Interrupt:
    """What was computed is being committed after a Ctrl-C: pressed twice, it is still one."""

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, *_: object) -> None:
        before, self._last = self._last, time.monotonic()
        if self._last - before > _PATIENCE:
            raise KeyboardInterrupt


def main() -> None:
    """Run the command line and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, _Interrupt())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the output cannot show is no fault
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("facedb: %(message)s"))
    logging.getLogger("facedb").addHandler(handler)
    code = run()
    if isinstance(signal.getsignal(signal.SIGINT), _Interrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near
    gc.freeze()  # nothing for Python's last collection, which a short command would feel
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command, sys.argv's by default, and return its exit code."""
    try:
        result = facedb.main(arguments, prog_name="facedb", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and error.ctx and error.ctx.parent is None:
            click.echo(
                "Options come after the command: facedb query photo.jpg -g GALLERY", err=True
            )
        return error.exit_code
    except FacedbError as error:
        return _say(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _say(_interrupted(sys.argv[1:] if arguments is None else arguments), 1)
    except BrokenPipeError:  # the reader has gone
        _close_output()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _close_output()
            return _say(f"the output could not be written: {error.strerror}", 1)
        if os.environ.get("FACEDB_DEBUG"):
            raise
        fault = f"{type(error).__name__}: {error}"
        return _say(f"this is a fault in facedb: {fault} (FACEDB_DEBUG=1 shows where)", 1)


def _interrupted(arguments: Sequence[str]) -> str:
    goes_on = not _BEGIN_ANEW.intersection(arguments[:1])
    kept = "; what was committed is kept: run the same command to go on"
    return "interrupted" + kept * goes_on


def _close_output() -> None:
    # Python must not fail again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    click.echo(f"facedb: {message}", err=True)
    return code
