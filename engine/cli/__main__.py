"""The command `engine`: find the command, run it, turn faults into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from engine.cli.lazy import LazyGroup
from engine.cli.settings import Settings, global_options
from engine.errors import ExitCode, PlumblineError

# Where each command lives; a module is imported when its command is called.
COMMANDS = {
    "archive": "bookkeeping:archive",
    "clone": "runs:clone",
    "cluster": "cluster:cluster",
    "compare": "compare:compare",
    "data": "data:data",
    "db": "database:db",
    "delete": "bookkeeping:delete",
    "demo": "demo:demo",
    "demo-cluster": "demo_cluster:demo_cluster",
    "dispatcher": "dispatcher:dispatcher",
    "eval": "eval:evaluate",
    "export": "export:export",
    "launch": "launch:launch",
    "logs": "logs:logs",
    "ls": "runs:ls",
    "metrics": "measurements:metrics",
    "new": "specs:new",
    "note": "bookkeeping:note",
    "pin": "bookkeeping:pin",
    "plan": "plan:plan",
    "priority": "bookkeeping:priority",
    "queue": "queue:queue",
    "rag": "rag:rag",
    "redo": "bookkeeping:redo",
    "rename": "bookkeeping:rename",
    "report": "report:report",
    "restore": "bookkeeping:restore",
    "resume": "runs:resume",
    "samples": "measurements:samples",
    "show": "show:show",
    "stop": "runs:stop",
    "tag": "bookkeeping:tag",
    "testbed": "testbed:testbed",
    "train": "train:train",
    "undo": "bookkeeping:undo",
    "validate": "specs:validate",
    "vote": "vote:vote",
    "watch": "watch:watch",
}


@click.group(
    cls=LazyGroup, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="plumbline", prog_name="engine")
@global_options
def engine() -> None:
    """Everything the terminal UI does, headless: train, launch, watch and compare experiments."""


def _report(settings: Settings, code: int, message: str, hint: str | None = None, where: str | None = None) -> int:
    if settings.json:
        from engine.cli.output import print_json

        print_json({"error": {"code": code, "message": message, "hint": hint, "where": where}})
    place = f"{where}: " if where else ""
    advice = f" {hint}" if hint else ""
    click.echo(f"error: {place}{message}{advice}", err=True)
    return code


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    settings = Settings(color="NO_COLOR" not in os.environ)
    code: int
    try:
        outcome = engine.main(
            args=None if arguments is None else list(arguments), prog_name="engine", standalone_mode=False, obj=settings
        )
        code = outcome if isinstance(outcome, int) else ExitCode.DONE
    except PlumblineError as error:
        code = _report(settings, error.exit_code, error.message, error.hint, error.where)
        if settings.debug:
            traceback.print_exc()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = ExitCode.USAGE
    except click.ClickException as error:
        code = _report(settings, ExitCode.USAGE, error.format_message())
    except (KeyboardInterrupt, click.Abort):
        code = _report(settings, ExitCode.INTERRUPTED, "interrupted.")
    except BrokenPipeError:
        # The reader of our output went away (`engine ls | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except Exception as error:
        message = f"internal error, {type(error).__name__}: {error}".rstrip(".") + "."
        code = _report(settings, ExitCode.RUN_FAILED, message, None if settings.debug else "Run again with --debug.")
        if settings.debug:
            traceback.print_exc()
    sys.exit(code)


if __name__ == "__main__":
    main()
