"""`engine data`: examples as the trainer sees them, and the built-in fact world."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, say, visible
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.data.examples import Example
    from engine.spec.sections import Data


@click.group()
def data() -> None:
    """Look at training data; write the built-in fact world."""


@data.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another world.")
@global_options
@pass_settings
def facts(settings: Settings, out: Path, seed: int) -> None:
    """Write the built-in fact world: corpus, training data, questions, preferences, judgements."""
    from engine.data.facts.files import write
    from engine.data.facts.world import FactWorld

    write(FactWorld(seed), out)
    files = sorted(path.name for path in out.iterdir() if path.is_file())
    if settings.json:
        print_json({"folder": str(out), "seed": seed, "files": files})
    else:
        click.echo(f"Wrote the fact world of seed {seed} to {out}: {', '.join(files)}.")


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--number", type=click.IntRange(min=1), default=3, show_default=True, help="Examples to show.")
@click.option("--spec", type=click.Path(path_type=Path), help="Read and tokenise FILE as this spec does.")
@click.option("--model", type=click.Path(path_type=Path), help="With the tokenizer of this model folder.")
@global_options
@pass_settings
def show(settings: Settings, file: Path, number: int, spec: Path | None, model: Path | None) -> None:
    """Show tokenised examples of FILE with their loss masks, as the trainer sees them.

    Without --spec and --model it trains a word tokenizer on FILE.
    """
    if spec is not None and model is not None:
        raise click.UsageError("give --spec or --model, one of the two.")
    read, tokenizer = _from_spec(file, spec) if spec is not None else _from_model(file, model)

    from engine.data.examples import load_examples
    from engine.data.templates import set_template

    set_template(tokenizer, read.template)
    examples = load_examples(read, tokenizer, "train", limit=number)
    shown = [_tokens(example, tokenizer) for example in examples]
    if settings.json:
        print_json(
            [
                {
                    "place": example.place,
                    "length": len(example.input_ids),
                    "prompt_length": example.prompt_length,
                    "loss_tokens": sum(example.loss_mask),
                    "tokens": [{"id": token, "text": text, "loss": loss} for token, text, loss in tokens],
                }
                for example, tokens in zip(examples, shown, strict=True)
            ]
        )
        return
    columns = shutil.get_terminal_size((100, 24)).columns
    for example, tokens in zip(examples, shown, strict=True):
        click.echo(f"{example.place}: {len(example.input_ids)} tokens, {sum(example.loss_mask)} with loss")
        for line in _marked_lines(tokens, columns, color=settings.color):
            click.echo(line)
        click.echo()
    say(settings, "The tokens above ^ carry loss.")


def _from_spec(file: Path, spec_file: Path) -> tuple[Data, Any]:
    from engine.spec.loading import load_spec
    from engine.spec.models import SftSpec
    from engine.spec.resolve import with_absolute_paths

    spec = with_absolute_paths(load_spec(spec_file), spec_file.resolve().parent)
    if not isinstance(spec, SftSpec):
        raise Refused(f"examples of kind {spec.kind} cannot be shown yet.", where=str(spec_file))
    read = spec.data.model_copy(update={"train": str(file), "eval": None, "eval_fraction": 0.0})
    return read, _tokenizer(Path(spec.model.path) if spec.model.path else None, spec.model.tokenizer, read)


def _from_model(file: Path, model: Path | None) -> tuple[Data, Any]:
    from engine.spec.sections import Data

    read = Data(train=str(file))
    return read, _tokenizer(model, None, read)


def _tokenizer(folder: Path | None, settings: Any, read: Data) -> Any:
    try:
        from engine.data.tokenizers import train_tokenizer
        from engine.train.models import load_tokenizer, require_model_folder

        if folder is None:
            return train_tokenizer(settings, read)
        require_model_folder(folder)
        return load_tokenizer(folder)
    except ModuleNotFoundError as error:
        raise Refused(f"{error.name} is not installed here.", hint="pip install 'plumbline[train]'") from error


def _tokens(example: Example, tokenizer: Any) -> list[tuple[int, str, bool]]:
    return [
        (token, str(tokenizer.decode([token])), loss)
        for token, loss in zip(example.input_ids, example.loss_mask, strict=True)
    ]


def _marked_lines(tokens: Sequence[tuple[int, str, bool]], columns: int, *, color: bool) -> Iterator[str]:
    """Yield lines of tokens, `|` between them, each with a line of `^` below those that carry loss."""
    from rich.cells import cell_len

    texts, marks, used = "", "", 0
    for _, text, loss in tokens:
        # A line break stays a token like any other.
        shown = visible(text).replace("\t", "␉") or "␀"
        size = cell_len(shown)
        if used and used + 1 + size > columns:
            yield from (line for line in (texts, marks.rstrip()) if line)
            texts, marks, used = "", "", 0
        if used:
            texts, marks, used = texts + "|", marks + " ", used + 1
        texts += click.style(shown, fg="green", bold=True) if color and loss else shown
        marks += ("^" if loss else " ") * size
        used += size
    yield from (line for line in (texts, marks.rstrip()) if line)
