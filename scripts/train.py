"""Train a model: `python -m scripts.train --recipe quick --data FOLDER`.

Every key of a recipe is also an option: `--epochs 300 --learning-rate 1e-3`.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from msgspec.structs import replace
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from scripts.frontend import ESC50, EXTRA, bar, needs_train, plainly, run_script, say_next_script

with needs_train():
    import torch
    from threadpoolctl import threadpool_limits
    from transformers.utils.logging import disable_progress_bar

    from tinyast.data.datasets import Dataset, Numbers, read_dataset
    from tinyast.data.none import none_clips
    from tinyast.data.pretrained import PRETRAINED
    from tinyast.data.spectrograms import Spectra, spectra_of
    from tinyast.data.splits import (
        check_kinds,
        few_of_each,
        leave_out_classes,
        split_by_fold,
        split_few,
    )
    from tinyast.evaluation.held_out import DATA
    from tinyast.evaluation.plots import training_curves
    from tinyast.features.presets import PRESETS
    from tinyast.model.modeling import TinyASTForAudioClassification
    from tinyast.training.distillation import Teacher, load_teacher
    from tinyast.training.extending import Extension, extend, find_model, remapped
    from tinyast.training.loop import Clips, Metrics, predict, train
    from tinyast.training.pretrained import Weights, read_pretrained
from tinyast.features.log_mel import FeatureSettings
from tinyast.training.recipe import Recipe, RecipeError, load_recipe

CONFIG = Path(__file__).resolve().parent.parent / "config"


class Start(NamedTuple):
    """Where a training finds what it does not make by itself."""

    pretrained: Path
    none: Path
    teachers: list[Path]
    begin: Path | None
    model: str | None  # whose kinds are kept, unless `only_mine`
    only_mine: bool

    def extension(self, data: Path) -> Extension | None:
        """The model of --from, with room for the kinds in `data`. Raises RecipeError."""
        if self.only_mine and self.model is None:
            raise RecipeError("--only-mine goes with --from: it drops the kinds of that model")
        if self.model is not None and (self.begin or self.teachers):
            raise RecipeError(
                "--from says what to start from and to learn from; leave out --start and --teacher"
            )
        if self.model is None:
            return None
        return extend(find_model(self.model), read_dataset(data).labels, self.only_mine)


RecipeName = Annotated[
    str | None,
    typer.Option(
        help="Name of a recipe in config/, or a TOML file; default: quick, or mine with --from."
    ),
]
FromModel = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Teach the kinds in --data to this model: one that ships (esc50, esc50-fine), a "
        "checkpoint or a run. It keeps those that it knows.",
    ),
]
OnlyMine = Annotated[
    bool, typer.Option("--only-mine", help="With --from: drop the kinds that it knows.")
]


def command(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with the clips and their CSV.")] = ESC50,
    recipe: RecipeName = None,
    hold_out: Annotated[int | None, typer.Option(help="Fold to hold out and test on.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; resumed if it exists.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder for cached spectra.")] = Path(
        "data/processed"
    ),
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Also learn from this run's scores; may be repeated.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Start from the final model of this run.")
    ] = None,
    from_model: FromModel = None,
    only_mine: OnlyMine = False,
    pretrained: Annotated[
        Path, typer.Option(help="Weights to start from, as `download --pretrained` fetches them.")
    ] = Path("data/raw") / PRETRAINED,
    none: Annotated[
        Path, typer.Option(help="Sounds of no kind, as `download --extra` makes them.")
    ] = EXTRA,
    threads: Annotated[
        int, typer.Option(help="Processor threads; 0: torch and numpy decide.", min=0)
    ] = 0,
) -> None:
    """Train on the clips in --data. All other options set keys of the recipe.

    \b
    Examples:
      python -m scripts.train --recipe quick
      python -m scripts.train --recipe full --hold-out 4 --run runs/full-4
      python -m scripts.train --recipe full --data my-sounds --epochs 100
      python -m scripts.train --recipe full --teacher runs/fine-4 --hold-out 4
      python -m scripts.train --recipe robust --start runs/fine-4 --teacher runs/fine-4 --hold-out 4
      python -m scripts.train --from esc50 --data my-sounds --hold-out 2
    """
    with plainly("Run the same command to resume after the last whole epoch."):
        given = Start(pretrained, none, teacher or [], start, from_model, only_mine)
        chosen = recipe or ("quick" if from_model is None else "mine")
        _train(context.args, data, chosen, hold_out, run, cache, given, threads)


@dataclass(frozen=True)
class Material:
    """What one training learns from and is tested on."""

    dataset: Dataset
    testing: Numbers  # of the held-out clips in `dataset`
    clips: Clips
    tests: Clips
    pretrained: Weights | None

    def extended(self, labels: tuple[str, ...]) -> Material:
        """The same with targets among more labels."""
        mine, data = self.dataset.labels, self.dataset
        clips, tests = (
            Clips(each.spectra, remapped(each.targets, mine, labels))
            for each in (self.clips, self.tests)
        )
        targets = remapped(data.targets, mine, labels)
        dataset = Dataset(data.paths, targets, data.folds, labels)
        return Material(dataset, self.testing, clips, tests, self.pretrained)


def _train(
    extra: list[str],
    data: Path,
    recipe_name: str,
    hold_out: int | None,
    run: Path | None,
    cache: Path,
    start: Start,
    threads: int,
) -> None:
    recipe = load_recipe(_recipe_file(recipe_name), read_overrides(extra))
    extension = start.extension(data)
    recipe = recipe if extension is None else extension.recipe(recipe)
    settings = PRESETS[recipe.picture]
    if threads:
        torch.set_num_threads(threads)
        threadpool_limits(threads, "blas")  # numpy's threads would wait for each other too
    fold = "all" if hold_out is None else f"fold{hold_out}"
    folder = run or Path("runs") / f"{Path(recipe_name).stem}-{fold}-seed{recipe.seed}"
    material = _gather(data, recipe, hold_out, cache, start, folder)
    if extension is not None:
        material = material.extended(extension.labels)
    held_out = len(material.testing) > 0
    load = partial(load_teacher, settings=settings, labels=material.dataset.labels)
    with _reporting(recipe.epochs) as report:
        model = train(
            folder,
            recipe,
            settings,
            material.dataset.labels,
            material.clips,
            material.tests if held_out else None,
            [load(each) for each in start.teachers] if extension is None else [extension.begin],
            report=report,
            pretrained=material.pretrained,
            begin=_begin(start, load) if extension is None else extension.begin,
            kept=None if extension is None else extension.kept,
        )
    training_curves(folder / "metrics.csv", folder / "curves.png")
    (folder / DATA).write_text(f"{data}\n", encoding="utf-8")
    if held_out:
        testing = material.dataset.subset(material.testing)
        _show(model, settings, testing, material.tests, folder)
    typer.echo(f"Model: {folder / 'model'}")
    if held_out:
        say_next_script("evaluate", "--data", data, "--run", folder)
    else:
        output = Path("checkpoints") / folder.name
        say_next_script("export", "--model", folder / "model", "--output", output)


def _begin(start: Start, load: Callable[[Path], Teacher]) -> Teacher | None:
    return None if start.begin is None else load(start.begin)


def _gather(
    data: Path, recipe: Recipe, hold_out: int | None, cache: Path, start: Start, folder: Path
) -> Material:
    """Read and split the data set, and read the spectra of its clips."""
    settings = PRESETS[recipe.picture]
    everything = read_dataset(data)
    own = recipe.stem == "mobilenet" and start.model is None
    weights = read_pretrained(start.pretrained) if own else None
    dataset, numbers = leave_out_classes(everything, recipe.leave_out, recipe.seed)
    training, testing = _split(dataset, recipe, hold_out)
    check_kinds(dataset, training)
    typer.echo(
        f"{len(training)} clips to train on, {len(testing)} held out, {len(dataset.labels)} kinds. "
        f"Run folder: {folder}"
    )
    # Runs that hold out or leave out different clips share one file of spectra; a run with a limit
    # has a separate one.
    used = np.union1d(numbers[training], numbers[testing])
    places = used if recipe.limit else np.arange(len(everything))
    spectra = _spectra(everything.subset(places).paths, recipe, settings, cache)
    clips, tests = (
        Clips(spectra.take(np.searchsorted(places, numbers[chosen])), dataset.targets[chosen])
        for chosen in (training, testing)
    )
    if recipe.none_clips:
        others = _spectra(none_clips(start.none), replace(recipe, variants=2), settings, cache)
        clips = clips.with_none(others)
    return Material(dataset, testing, clips, tests, weights)


@contextmanager
def _reporting(epochs: int) -> Iterator[Callable[[Metrics], None]]:
    """Shows each epoch: on a progress bar, or as a line if there is no terminal."""
    with _bar("training") as bar:
        task = bar.add_task("training", total=epochs, note="")
        begun = time.perf_counter()

        def report(row: Metrics) -> None:
            note = f"loss {row.loss:.3f}, accuracy {row.train_accuracy:.1%}"
            if row.test_accuracy is not None:
                note += f", held out {row.test_accuracy:.1%}"
            bar.update(task, completed=row.epoch, note=note)
            if not bar.console.is_terminal:
                spent = time.perf_counter() - begun
                typer.echo(f"epoch {row.epoch}/{epochs}: {note}, {spent:.0f} s")

        yield report


def _recipe_file(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = CONFIG / f"recipe-{name}.toml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem.removeprefix("recipe-") for p in CONFIG.glob("recipe-*")))
        raise RecipeError(f"no recipe is called {name!r}; there is {there}, or a .toml file of own")
    return path


def read_overrides(extra: list[str]) -> dict[str, str]:
    """`["--epochs", "3", "--mix=0.5"]` as `{"epochs": "3", "mix": "0.5"}`."""
    overrides: dict[str, str] = {}
    words = iter(extra)
    for word in words:
        name, has_value, value = word.partition("=")
        if not name.startswith("--"):
            raise RecipeError(f"unexpected argument {word!r}")
        if not has_value:
            value = next(words, "")
        overrides[name[2:].replace("-", "_")] = value
    return overrides


def _split(dataset: Dataset, recipe: Recipe, hold_out: int | None) -> tuple[Numbers, Numbers]:
    if hold_out is None and recipe.held_out_clips:
        return split_few(dataset, recipe.limit, recipe.held_out_clips, recipe.seed)
    training, testing = split_by_fold(dataset, hold_out)
    if recipe.limit:
        shuffled = np.random.default_rng(recipe.seed).permutation(training)
        training = few_of_each(dataset, shuffled, recipe.limit)
    return training, testing


def _spectra(
    paths: Sequence[Path], recipe: Recipe, settings: FeatureSettings, cache: Path
) -> Spectra:
    with _bar("spectra") as bar:
        task = bar.add_task("spectra", total=len(paths), note="")
        spectra = spectra_of(
            paths,
            settings.unpooled(),
            recipe.variation(),
            cache,
            progress=lambda done: bar.update(task, completed=done),
        )
        bar.update(task, completed=len(paths))
    return spectra


def _show(
    model: TinyASTForAudioClassification,
    settings: FeatureSettings,
    testing: Dataset,
    clips: Clips,
    folder: Path,
) -> None:
    """Print predictions for some held-out clips, and write all of them to predictions.csv."""
    found = predict(model, clips.spectra, settings).argmax(axis=1)
    rows = [
        (path.name, testing.labels[actual], testing.labels[predicted])
        for path, actual, predicted in zip(testing.paths, testing.targets, found, strict=True)
    ]
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("filename", "actual", "predicted"))
        writer.writerows(rows)
    typer.echo(f"\n{'actual':<18} {'predicted':<18} clip")
    for name, actual, predicted in rows[:: max(1, len(rows) // 10)][:10]:
        typer.echo(f"{actual:<18} {predicted:<18} {name}{'' if actual == predicted else '  x'}")
    right = int((found == clips.targets).sum())
    typer.echo(f"\n{right} of {len(rows)} held-out clips right ({right / len(rows):.1%})")


def _bar(title: str) -> Progress:
    return bar(title, MofNCompleteColumn(), TextColumn("{task.fields[note]}"))


def main() -> None:
    disable_progress_bar()  # transformers shows one even for tiny files
    keys = ", ".join(Recipe.__struct_fields__)
    lenient = {"allow_extra_args": True, "ignore_unknown_options": True}
    run_script(command, context_settings=lenient, epilog=f"Keys of a recipe: {keys}.")


if __name__ == "__main__":
    main()
