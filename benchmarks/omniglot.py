"""Omniglot's two published tasks for an encoder, without training on them; and the training of the encoder.

    python benchmarks/omniglot.py images_background.zip --train DIR
    python benchmarks/omniglot.py images_evaluation.zip --model DIR --runs all_runs

FOLDER is a folder or a zip file of drawings `<alphabet>/character<nn>/<drawing>_<person>.png`. Results of the two tasks
are not comparable with each other:

- Within an alphabet (B. Lake et al., "Human-level concept learning through probabilistic program induction", 2015): for
  20 characters of one alphabet, one drawing each by one person is the example, and 20 drawings by another person are
  classified; the error is reported. `--runs` takes the published runs, `run01/class_labels.txt` and so on; without it,
  such tasks are drawn from the folder.
- Between alphabets (O. Vinyals et al., "Matching Networks for One Shot Learning", 2016): characters and their rotations
  by 90° are classes; in each of 1,000 episodes, 15 drawings of each of 5 or 20 classes are classified from 1 or 5
  examples of each, as in J. Snell et al., "Prototypical Networks for Few-shot Learning", 2017; the accuracy is
  reported.

A drawing is classified by the nearest mean of examples, by the cosine of vectors that join the keys of the memory and
embeddings, and are means over the drawing and its warped copies, as in teaching. `--train` trains the encoder on all
alphabets except some, on which it is then measured.

The last lines concern refusing. In each of 30 draws, 10 characters are taught from a few drawings each. The share of
their other drawings that is refused should be about `reject`; of the drawings of other characters, as many as possible
should be refused.
"""

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
import torch.nn.functional as F
from held_out_classes import auroc
from torch import Generator, Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomDegradation, RandomWarp
from grapheme_pyg.datasets import Omniglot, Split, read_image, read_omniglot
from grapheme_pyg.image_pooling import pool_examples
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.vision.pixels import resized

# Alphabets of the background set on which settings were chosen.
HELD_OUT = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin", "N_Ko")
WAYS, SHOTS, QUERIES, ROTATIONS, WITHIN = (5, 20), (1, 5), 15, 4, 20
# Characters that are taught, drawings of each, draws, and shares that may be refused.
TAUGHT, TAUGHT_SHOTS, DRAWS, REJECTS = 10, (1, 2, 3, 5), 30, (0.02, 0.05, 0.1)
LABELS = "class_labels.txt"
# Settings of the encoder and its training.
SIZE, EMBEDDING, DROPOUT, EPOCHS = 48, 128, 0.1, 24
# One in so many drawings has strokes as thick as a pen's: each pixel becomes the brightest of so many pixels a side.
THICK, PEN = 4, 5
# With thousands of classes, templates of the usual length turn too slowly, and the usual temperature is too low.
TEMPLATE_LENGTH, TEMPERATURE = 0.05, 20.0
# Settings of the tuning: steps, tasks in each, and the peak of the learning rate, to which it rises in so many steps.
TUNING_STEPS, TUNING_TASKS, TUNING_LR, TUNING_RISE = 600, 3, 5e-4, 50
# Of so many drawings, one calibrates what is refused.
APART = 10
# Drawings that are scaled or embedded together.
AT_ONCE = 1000


class Task(NamedTuple):
    """Indices of drawings: examples ``[num_classes, shots]``, and queries and their classes, both ``[N]``."""

    examples: Tensor
    queries: Tensor
    classes: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, metavar="DIR", help="measure the encoder in this folder")
    what.add_argument("--train", type=Path, metavar="DIR", help="train an encoder, save it there, and measure it")
    parser.add_argument(
        "--alphabets",
        nargs="*",
        metavar="NAME",
        help=f"alphabets to measure on (all), or, with --train, to hold out ({' '.join(HELD_OUT)})",
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="the published runs of the task within an alphabet")
    parser.add_argument("--tasks", type=int, default=4000, help="tasks within an alphabet, without --runs")
    parser.add_argument("--episodes", type=int, default=1000, help="episodes of each kind between alphabets")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = read_omniglot(arguments.folder)
    chosen = arguments.alphabets
    if arguments.train is None:
        model = ImageClassificationModel.from_pretrained(arguments.model)
        data = data if chosen is None else part(data, chosen)
    else:
        chosen = HELD_OUT if chosen is None else chosen
        model = train(part(data, [name for name in data.alphabets if name not in chosen]), arguments)
        model.save_pretrained(arguments.train)
        if not chosen:
            return
        data = part(data, chosen)
    started = time.perf_counter()
    for line in measure(model, data, arguments):
        print(line, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


def part(data: Omniglot, alphabets: Sequence[str]) -> Omniglot:
    """Returns the drawings of some alphabets, with renumbered classes.

    Raises:
        ValueError: An alphabet does not exist, or none is given.
    """
    if unknown := [name for name in alphabets if name not in data.alphabets]:
        raise ValueError(f"alphabets: expected some of {', '.join(data.alphabets)}, got {unknown[0]!r}")
    names = tuple(sorted(set(alphabets)))
    if not names:
        raise ValueError("alphabets: expected at least one, got none")
    kept = torch.isin(data.alphabet, torch.tensor([data.alphabets.index(name) for name in names]))
    old, labels = data.train.labels[kept].unique(return_inverse=True)
    images = data.train.images[kept]
    return Omniglot(
        data.name,
        Split(images, labels),
        Split(images[:0], labels[:0]),
        tuple(data.classes[i] for i in old.tolist()),
        alphabets=names,
        alphabet=data.alphabet[kept].unique(return_inverse=True)[1],
        person=data.person[kept],
    )


def turned(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Adds rotations by 90° to drawings, as separate classes."""
    count = int(labels.max()) + 1
    return (
        torch.cat([images.rot90(turn, (1, 2)) for turn in range(ROTATIONS)]),
        torch.cat([labels + turn * count for turn in range(ROTATIONS)]),
    )


def training_images(data: Omniglot) -> tuple[Tensor, Tensor]:
    """Returns small drawings and their rotations as separate classes; each drawing is thick in one of them."""
    images = data.train.images
    thin = shrunk(images, SIZE)
    thick = shrunk(F.max_pool2d(images[:, None].half(), PEN, 1, PEN // 2)[:, 0].byte(), SIZE)
    turns = torch.arange(len(images)) % THICK
    rotated, labels = turned(thin, data.train.labels)
    for turn, some in enumerate(rotated.split(len(images))):
        some[turns == turn] = thick[turns == turn].rot90(turn, (1, 2))
    return rotated, labels


def train(data: Omniglot, arguments: argparse.Namespace) -> ImageClassificationModel:
    """Trains an encoder to distinguish all characters and their rotations by 90°, and tunes it with tasks."""
    torch.manual_seed(arguments.seed)
    images, labels = training_images(data)
    model = ImageClassificationModel(
        VisionBrain(resize=SIZE),
        int(labels.max()) + 1,
        embedding_channels=EMBEDDING,
        templates_per_class=1,
        dropout=DROPOUT,
    )
    with torch.no_grad():
        model.classifier.templates.mul_(TEMPLATE_LENGTH)
        model.classifier.log_temperature.fill_(TEMPERATURE).log_()
    settings = TrainingSettings(epochs=arguments.epochs, precision="bf16-mixed", seed=arguments.seed, batch_size=128)
    fit(model, images, labels, settings=settings)
    # Templates are useless for other characters.
    encoder = model.with_classes([]).eval()
    upright = images[: len(data.train.labels)]
    whiten(encoder, upright, data.train.labels)
    tune(encoder, upright, data, torch.Generator().manual_seed(arguments.seed))
    remember(encoder, images, labels)
    return encoder


def remember(encoder: ImageClassificationModel, images: Tensor, labels: Tensor) -> None:
    """Gives a tuned encoder a new key space, calibrated on every tenth drawing."""
    pooled = encoder.pool_images(images)
    apart = torch.arange(len(labels)) % APART == APART - 1
    memory = Memory.of(pooled[~apart], labels[~apart])
    memory.calibrate(pooled[apart])
    encoder.classifier.memory = memory.without_keys()


def tune(encoder: ImageClassificationModel, images: Tensor, data: Omniglot, generator: Generator) -> None:
    """Tunes an encoder with tasks within alphabets, in which each drawing has to find the one of its character.

    This is the second stage of Y. Chen et al., "Meta-Baseline: Exploring Simple Meta-Learning for Few-Shot Learning",
    2021. Statistics of batches stay as they are, because those of a single alphabet would be others.
    """
    warp, degrade = RandomWarp(), RandomDegradation()
    parameters = [*encoder.dag.parameters(), *encoder.classifier.project.parameters()]
    optimizer = torch.optim.AdamW(parameters, TUNING_LR, betas=(0.9, 0.98))
    tasks = within_alphabets(data, TUNING_STEPS * TUNING_TASKS, generator)
    targets = torch.arange(WITHIN).repeat(TUNING_TASKS, 1)
    for step in range(TUNING_STEPS):
        some = tasks[step * TUNING_TASKS : (step + 1) * TUNING_TASKS]
        turns = torch.randint(ROTATIONS, (TUNING_TASKS,), generator=generator).tolist()
        shown = torch.cat(
            [
                images[torch.cat([task.examples[:, 0], task.queries])].rot90(turn, (1, 2))
                for task, turn in zip(some, turns, strict=True)
            ]
        )
        shown = warp(shown, warp.draw(len(shown), generator))
        shown = degrade(shown, degrade.draw(len(shown), generator))
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = encoder.embed(encoder.vision.batch(shown))
        examples, queries = F.normalize(embeddings.float(), dim=1).view(TUNING_TASKS, 2, WITHIN, -1).unbind(1)
        logits = TEMPERATURE * examples @ queries.mT
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.mT, targets)) / 2
        for group in optimizer.param_groups:
            group["lr"] = TUNING_LR * min(1.0, (step + 1) / TUNING_RISE) * (1 - step / TUNING_STEPS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


@torch.no_grad()
def whiten(encoder: ImageClassificationModel, images: Tensor, labels: Tensor) -> None:
    """Whitens embeddings within classes, as the library's memory does with pooled states."""
    embeddings = encoder.embed_images(images)
    project = encoder.classifier.project.weight
    project.copy_(Memory.of(embeddings, labels).whitening.t() @ project)


def shrunk(images: Tensor, size: int) -> Tensor:
    """Scales images ``[N, H, W]`` as a brain with this ``resize`` does, in parts, which take less memory."""
    return torch.cat([resized(some[:, None], size)[:, 0] for some in images.split(AT_ONCE)])


def measure(model: ImageClassificationModel, data: Omniglot, arguments: argparse.Namespace) -> list[str]:
    """Measures both tasks, and returns lines to print; each drawing is embedded once."""
    generator = torch.Generator().manual_seed(arguments.seed)
    images, labels = turned(data.train.images, data.train.labels)
    embeddings = embed(model, images)
    if arguments.runs is None:
        tasks, drawn = within_alphabets(data, arguments.tasks, generator), embeddings
        made = f"{len(tasks)} tasks made of {len(data.alphabets)} alphabets"
    else:
        drawings, tasks = published_runs(arguments.runs)
        drawn, made = embed(model, drawings), f"{len(tasks)} published runs"
    error = 1 - accuracy(drawn, tasks)
    lines = [f"within an alphabet, {made}: error {100 * error:.2f} %"]
    for way in WAYS:
        for shots in SHOTS:
            episodes = between_alphabets(labels, way, shots, arguments.episodes, generator)
            right = accuracy(embeddings, episodes)
            lines.append(f"between alphabets, {way}-way, examples {shots}: accuracy {100 * right:.2f} %")
    return lines + refusals(model, data, generator)


def refusals(model: ImageClassificationModel, data: Omniglot, generator: Generator) -> list[str]:
    """Returns lines with the shares of refused drawings of taught and of other characters, and the AUROC."""
    memory = model.classifier.memory
    assert memory is not None, "memory: expected that of the encoder"
    pooled = model.pool_images(shrunk(data.train.images, model.vision.longer_side or max(data.train.images.shape[1:])))
    members = [(data.train.labels == label).nonzero().flatten() for label in range(len(data.classes))]
    lines = []
    for shots in TAUGHT_SHOTS:
        refused, accepted, areas = [], [], []
        for _ in range(DRAWS):
            taught, own, others = copy.deepcopy(memory), [], []
            for place, number in enumerate(torch.randperm(len(members), generator=generator).tolist()):
                rows = members[number][torch.randperm(len(members[number]), generator=generator)]
                if place < TAUGHT:
                    taught.add(pooled[rows[:shots]])
                    own.append(rows[shots:])
                else:
                    others.append(rows[:TAUGHT])
            known, unknown = (taught.familiarity(pooled[torch.cat(rows)]) for rows in (own, others))
            thresholds = torch.stack([taught.threshold(reject) for reject in REJECTS])[:, None]
            refused.append((known < thresholds).double().mean(dim=1))
            accepted.append((unknown >= thresholds).double().mean(dim=1))
            areas.append(torch.tensor(auroc(known, unknown)))
        shares = [
            " / ".join(f"{100 * share:.1f}" for share in torch.stack(some).mean(dim=0).tolist())
            for some in (refused, accepted)
        ]
        area = torch.stack(areas).mean()
        asked = f"{TAUGHT} characters taught, examples {shots}, reject {' / '.join(map(str, REJECTS))}"
        told = f"refused {shares[0]} %, others not refused {shares[1]} %, AUROC {area:.4f}"
        lines.append(f"{asked}: {told}")
    return lines


@torch.no_grad()
def embed(model: ImageClassificationModel, images: Tensor) -> Tensor:
    """Returns unit vectors of drawings, ``[N, channels]``, means over each drawing and its warped copies."""
    small = shrunk(images, model.vision.longer_side or max(images.shape[1:]))
    memory = model.classifier.memory
    assert memory is not None, "memory: expected that of the encoder"
    found = []
    for some in small.split(AT_ONCE):
        pooled = pool_examples(model, some, 256)
        joined = torch.cat([memory.keys_of(pooled), F.normalize(model.classifier.embed(pooled), dim=2)], dim=2)
        found.append(F.normalize(joined.sum(dim=1), dim=1))
    return torch.cat(found)


def within_alphabets(data: Omniglot, number: int, generator: Generator) -> list[Task]:
    """Draws one-shot tasks of 20 characters of one alphabet and two people, from each large alphabet in turn.

    Raises:
        ValueError: No alphabet has 20 characters, or no two people drew them all.
    """
    labels = data.train.labels
    members = [labels[data.alphabet == i].unique() for i in range(len(data.alphabets))]
    large = [some for some in members if len(some) >= WITHIN]
    if not large:
        raise ValueError(f"folder: expected an alphabet of at least {WITHIN} characters, got {max(map(len, members))}")
    drawing = {pair: i for i, pair in enumerate(zip(labels.tolist(), data.person.tolist(), strict=True))}
    tasks = []
    for turn in range(number):
        some = large[turn % len(large)]
        characters = some[torch.randperm(len(some), generator=generator)[:WITHIN]].tolist()
        # Some people may not have drawn every character.
        people = [i for i in data.person.unique().tolist() if all((label, i) in drawing for label in characters)]
        if len(people) < 2:
            raise ValueError(f"folder: expected two people who drew {WITHIN} characters each, got {len(people)}")
        teacher, pupil = (people[i] for i in torch.randperm(len(people), generator=generator)[:2].tolist())
        examples, queries = ([drawing[label, person] for label in characters] for person in (teacher, pupil))
        tasks.append(Task(torch.tensor(examples)[:, None], torch.tensor(queries), torch.arange(WITHIN)))
    return tasks


def published_runs(folder: Path) -> tuple[Tensor, list[Task]]:
    """Reads the drawings of the published runs, uint8 ``[N, H, W]``, and the tasks.

    Each line of a run's `class_labels.txt` names a drawing in `test` and the one of its class in `training`.

    Raises:
        ValueError: There are no runs in the folder, or a line does not name two drawings.
    """
    images: list[Tensor] = []
    tasks = []
    for path in sorted(folder.rglob(LABELS)):
        pairs = [line.split() for line in path.read_text().splitlines() if line.strip()]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"{path}: expected lines of two names of drawings, got another")
        queries, answers = zip(*pairs, strict=True)
        examples = sorted(set(answers))
        first = len(images)
        # Names begin with the name of the run.
        places = [path.parent / PurePosixPath(*PurePosixPath(name).parts[-2:]) for name in (*examples, *queries)]
        images += [read_image(place, 1)[0] for place in places]
        numbers = torch.arange(first, len(images))
        tasks.append(
            Task(
                numbers[: len(examples), None],
                numbers[len(examples) :],
                torch.tensor([examples.index(answer) for answer in answers]),
            )
        )
    if not tasks:
        raise ValueError(f"runs: expected a folder of runs with {LABELS}, got {folder}")
    return torch.stack(images), tasks


def between_alphabets(labels: Tensor, way: int, shots: int, number: int, generator: Generator) -> list[Task]:
    """Draws episodes of classes of any alphabets, from the labels of all drawings, including rotated ones."""
    members = [(labels == label).nonzero().flatten() for label in range(int(labels.max()) + 1)]
    members = [some for some in members if len(some) >= shots + QUERIES]
    if len(members) < way:
        expected = f"{way} classes of at least {shots + QUERIES} drawings"
        raise ValueError(f"folder: expected {expected}, got {len(members)}")
    classes = torch.arange(way).repeat_interleave(QUERIES)
    tasks = []
    for _ in range(number):
        some = [members[i] for i in torch.randperm(len(members), generator=generator)[:way].tolist()]
        drawn = [rows[torch.randperm(len(rows), generator=generator)[: shots + QUERIES]] for rows in some]
        numbers = torch.stack(drawn)
        tasks.append(Task(numbers[:, :shots], numbers[:, shots:].flatten(), classes))
    return tasks


def accuracy(embeddings: Tensor, tasks: Sequence[Task]) -> float:
    """Returns the mean share of queries whose nearest mean of examples is that of their class."""
    shares = []
    for examples, queries, classes in tasks:
        means = F.normalize(embeddings[examples].mean(dim=1), dim=1)
        nearest = (embeddings[queries] @ means.t()).argmax(dim=1)
        shares.append((nearest == classes).double().mean())
    return float(torch.stack(shares).mean())


if __name__ == "__main__":
    main()
