"""`engine data`: examples as the trainer sees them, the built-in fact world, and published files as rows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.cli.data_report import Item
    from engine.spec.models import PpoSpec, PreferenceData
    from engine.spec.ppo import PromptData
    from engine.spec.sections import Data

_SHARE = click.FloatRange(0.0, 1.0, min_open=True, max_open=True)


@click.group()
def data() -> None:
    """Look at training data; write the built-in fact world; make rows of published files."""


@data.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another world.")
@global_options
@pass_settings
def facts(settings: Settings, out: Path, seed: int) -> None:
    """Write the built-in fact world: corpus, training data, preferences, prompts, questions, judgements."""
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
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split and the order.")
@click.option("--held-out", type=_SHARE, default=0.25, show_default=True, help="Share of the questions, by articles.")
@click.option(
    "--sentences",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Read N sentences about the answer in training (default: the paragraph).",
)
@click.option(
    "--missing",
    type=click.FloatRange(0.0, 1.0),
    default=1.0,
    help="Most of the reading examples whose passage does not answer, as a share (default: all there are).",
)
@global_options
@pass_settings
def squad(
    settings: Settings, file: Path, *, out: Path, seed: int, held_out: float, sentences: int, missing: float
) -> None:
    """Make rows of SQuAD's FILE: corpus, training data, prompts, questions; whole articles are held out."""
    from engine.data.published.squad_files import Shares, squad_files

    shares = Shares(held_out=held_out, missing=missing)
    _write(settings, squad_files(file, seed=seed, sentences_read=sentences, shares=shares), file, out)


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split and the order.")
@click.option("--held-out", type=_SHARE, default=0.2, show_default=True, help="Share of the questions.")
@global_options
@pass_settings
def halueval(settings: Settings, file: Path, *, out: Path, seed: int, held_out: float) -> None:
    """Make rows of HaluEval's FILE: preference pairs, multiple-choice questions, passages."""
    from engine.data.published.halueval_files import halueval_files

    _write(settings, halueval_files(file, seed=seed, held_out=held_out), file, out)


def _write(settings: Settings, texts: Mapping[str, str], file: Path, out: Path) -> None:
    from engine.data.writing import write_files

    write_files(out, texts)
    rows = {name: text.count("\n") for name, text in texts.items()}
    if settings.json:
        print_json({"folder": str(out), "rows": rows})
    else:
        told = ", ".join(f"{name} ({number:,})" for name, number in rows.items())
        click.echo(f"Wrote the rows of {file} to {out}: {told}.")


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--number", type=click.IntRange(min=1), default=3, show_default=True, help="Examples to show.")
@click.option("--spec", type=click.Path(path_type=Path), help="Read and tokenise FILE as this spec does.")
@click.option("--model", type=click.Path(path_type=Path), help="With the tokenizer of this model folder.")
@global_options
@pass_settings
def show(settings: Settings, file: Path, number: int, spec: Path | None, model: Path | None) -> None:
    """Show tokenised examples of FILE, as the trainer sees them.

    Without --spec and --model it trains a word tokenizer on FILE. With the spec of a reward model the examples are
    preference pairs, with one of PPO they are prompts.
    """
    if spec is not None and model is not None:
        raise click.UsageError("give --spec or --model, one of the two.")
    if spec is not None:
        items, legend = _as_spec_says(settings, file, spec, number)
    else:
        items, legend = _as_examples(file, model, number)
    if settings.json:
        print_json([item.document for item in items])
        return
    columns = shutil.get_terminal_size((100, 24)).columns
    for item in items:
        for line in item.lines(columns, color=settings.color):
            click.echo(line)
        click.echo()
    if legend:
        say(settings, legend)


def _as_spec_says(settings: Settings, file: Path, spec_file: Path, number: int) -> tuple[list[Item], str]:
    from engine.cluster.hostfile import local_hostfile
    from engine.dispatch.readiness import look_up_references
    from engine.spec.loading import load_spec
    from engine.spec.models import PpoSpec, RmSpec, SftSpec
    from engine.spec.resolve import with_absolute_paths

    spec = with_absolute_paths(load_spec(spec_file), spec_file.resolve().parent)
    spec, _ = look_up_references(settings.records, spec, local_hostfile(), str(spec_file))
    if isinstance(spec, PpoSpec):
        return _prompts(spec, file, number), ""
    if not isinstance(spec, SftSpec | RmSpec):
        raise Refused(f"experiments of kind {spec.kind} have no training data.", where=str(spec_file))
    folder = Path(spec.model.path) if spec.model.path else None
    whole = {"train": str(file), "eval": None, "eval_fraction": 0.0}
    if isinstance(spec, SftSpec):
        examples = spec.data.model_copy(update=whole)
        return _examples(examples, _tokenizer(folder, spec.model.tokenizer, examples), number)
    pairs = spec.data.model_copy(update=whole)
    return _pairs(pairs, _tokenizer(folder, spec.model.tokenizer, pairs), number)


def _as_examples(file: Path, model: Path | None, number: int) -> tuple[list[Item], str]:
    from engine.spec.sections import Data

    read = Data(train=str(file))
    return _examples(read, _tokenizer(model, None, read), number)


def _examples(read: Data, tokenizer: Any, number: int) -> tuple[list[Item], str]:
    from engine.cli.data_report import example_item
    from engine.data.examples import load_examples

    examples = load_examples(read, tokenizer, "train", limit=number)
    return [example_item(example, tokenizer) for example in examples], "The tokens above ^ carry loss."


def _pairs(read: PreferenceData, tokenizer: Any, number: int) -> tuple[list[Item], str]:
    from engine.cli.data_report import pair_item
    from engine.data.pairs import load_pairs

    pairs = load_pairs(read, tokenizer, "train", limit=number)
    return [pair_item(pair, tokenizer) for pair in pairs], "The score is read at the token above ^."


def _prompts(spec: PpoSpec, file: Path, number: int) -> list[Item]:
    from engine.cli.data_report import prompt_item
    from engine.data.prompts import judged_ids, load_prompts

    read = spec.data.model_copy(update={"train": str(file), "eval": None})
    assert spec.model.path is not None
    tokenizer = _tokenizer(Path(spec.model.path), None, read)
    prompts = load_prompts(read, tokenizer, "train", limit=number)
    if not any(term.kind == "model" and term.evidence for term in spec.rewards.values()):
        return [prompt_item(prompt, None, tokenizer) for prompt in prompts]
    judged = judged_ids(prompts, tokenizer)
    return [prompt_item(prompt, ids, tokenizer) for prompt, ids in zip(prompts, judged, strict=True)]


def _tokenizer(folder: Path | None, settings: Any, read: Data | PreferenceData | PromptData) -> Any:
    from engine.spec.ppo import PromptData

    try:
        from engine.data.templates import set_template
        from engine.data.tokenizers import train_tokenizer
        from engine.generate.models import load_tokenizer, require_model_folder

        if folder is not None:
            require_model_folder(folder)
            tokenizer = load_tokenizer(folder)
        else:
            assert not isinstance(read, PromptData)  # a policy is not made from scratch
            tokenizer = train_tokenizer(settings, read)
    except ModuleNotFoundError as error:
        raise Refused(f"{error.name} is not installed here.", hint="pip install 'plumbline[train]'") from error
    set_template(tokenizer, read.template)
    return tokenizer
