"""The command `plumbline`: open the terminal UI."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ExitCode, PlumblineError

if TYPE_CHECKING:
    from tui.notices.wishes import Wishes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plumbline",
        description="Watch, launch and stop experiments in the terminal; engine does the same headless.",
        epilog="Leaving the program changes nothing: what runs goes on.",
    )
    parser.add_argument(
        "experiment", nargs="?", metavar="EXP", help="open this experiment: an id, its prefix, or a name"
    )
    parser.add_argument("--db", type=Path, metavar="PATH", help="database (default: $ENGINE_DB, else ./experiments.db)")
    parser.add_argument(
        "--hostfile", type=Path, action="append", default=[], metavar="H", help="offer this hostfile for launches, too"
    )
    parser.add_argument(
        "--readonly", action="store_true", help="look only: nothing can be launched, stopped or changed"
    )
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="keys of your own (default: ~/.config/plumbline/keys.yaml)"
    )
    parser.add_argument(
        "--notify",
        type=Path,
        metavar="FILE",
        help="what to be told of, and how (default: ~/.config/plumbline/notify.yaml)",
    )
    parser.add_argument("--demo", action="store_true", help="look round in generated experiments; nothing runs")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a fault")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "error: plumbline needs a terminal; engine does the same without one: engine ls, engine watch EXP.",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    _bind_keys(arguments.keys)
    wishes = _wishes(arguments.notify, usual=not arguments.demo)
    from tui.allocator import share_memory
    from tui.turns import give_way

    share_memory()
    give_way()
    from tui.app import PlumblineApp
    from tui.showcase.opening import IdleIntents, generated_experiments

    with generated_experiments() if arguments.demo else nullcontext() as generated:
        database = generated or arguments.db or Path(os.environ.get("ENGINE_DB") or "experiments.db")
        app = PlumblineApp(
            database.expanduser().absolute(),
            hostfiles=arguments.hostfile,
            experiment=arguments.experiment,
            readonly=arguments.readonly,
            debug=arguments.debug,
            intents=IdleIntents(database) if generated else None,
            wishes=wishes,
        )
        app.run()
        return app.return_code or ExitCode.DONE


def _bind_keys(named: Path | None) -> None:
    """Take keys from the file that was named, or from the usual one if it is there; before the screens are loaded."""
    from tui.actions import keymap

    if named is not None or keymap.usual_file().is_file():
        keymap.apply(named or keymap.usual_file())


def _wishes(named: Path | None, *, usual: bool) -> Wishes | None:
    """Return what the file says that was named, or the usual one if it is there and asked for."""
    from tui.notices import wishes
    from tui.own_files import own_file

    file = named or own_file("notify.yaml")
    return wishes.read(file) if named is not None or (usual and file.is_file()) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.version:
            from importlib.metadata import version

            print(f"plumbline {version('plumbline')}")
            sys.exit(ExitCode.DONE)
        sys.exit(_run(parsed))
    except PlumblineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("error: interrupted; what runs goes on.", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as fault:
        if parsed.debug:
            raise
        print(
            f"error: plumbline has a fault, {type(fault).__name__}: {fault}. Run it again with --debug.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.RUN_FAILED)


if __name__ == "__main__":
    main()
