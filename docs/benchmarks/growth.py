#!/usr/bin/env python3
"""How speed grows: tokens/s of training and of answering against text length, batch size, number of tasks, threads.

    cargo build --release -p polytask-cli -p polytask-examples
    python3 docs/benchmarks/growth.py --model DIR --work DIR

Texts are made of words that the tokenizer.json of --model (a Hugging Face folder) keeps whole, all of one length, one
token a word; tasks are copies of a classifier into 7 classes. One thing is varied at a time, all else is as in the
first line. Training is examples/training_step.rs, answering examples/inference.rs from text to answer. Needs Python
3.11 and nothing else. Tables are printed as Markdown, --json FILE keeps every number of every round.
"""

import argparse
import json
import pathlib
import random

from measuring import (
    BUILD, PLAIN_ENCODER, PROGRAMS, encoder_size, in_turn, inference, is_missing, machine, median, polytask_train,
    print_failures, print_machine, print_table, single_pieces, training_step, write_json,
)

AXES = {
    "length": [8, 16, 32, 64, 128, 256, 512],
    "batch": [1, 4, 16, 32, 64, 128, 256],
    "tasks": [1, 2, 4, 8, 16],
    "threads": [1, 2],
}
CLASSES = 7

# Tokens that one measurement goes through, and the fewest and the most batches it may take for them.
TOKENS = 40_000
BATCHES = (4, 30)


def made_texts(arguments, length, count):
    """A file of so many texts of so many words, as text and as token ids."""
    path = arguments.work / f"texts-{length}-{count}.json"
    if not path.exists():
        words = single_pieces(arguments.model)
        texts = [random.Random(place).choices(words, k=length) for place in range(count)]
        text = {"texts": [" ".join(word for word, _ in text) for text in texts]}
        path.write_text(json.dumps(text | {"train": [[id for _, id in text] for text in texts]}), encoding="utf-8")
    return path


def made_model(arguments, tasks):
    """A model folder with so many classifiers, after one step."""
    out = arguments.work / f"model-{arguments.size}-{tasks}"
    if is_missing(out):
        names = [f"task{task}" for task in range(tasks)]
        rows = [{"text": "a word"} | {name: f"class {row % CLASSES}" for name in names} for row in range(2 * CLASSES)]
        data = arguments.work / "growth.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
        config = arguments.work / "growth.toml"
        tables = ['[encoder]\ntype = "transformer"', f'[[data]]\nname = "made"\ntrain = "{data.name}"']
        tables += [f'[[tasks]]\nname = "{name}"\ntype = "classification"\nlabel = "made.{name}"' for name in names]
        config.write_text("\n".join(tables) + "\n", encoding="utf-8")
        tokenizer = f"tokenizer.path={(arguments.model / 'tokenizer.json').resolve()}"
        sets = [*PLAIN_ENCODER, *encoder_size(arguments.size), tokenizer, "tokenizer.max_tokens=512", "trainer.epochs=1"]
        polytask_train(config, out, sets)
    return out


def measure(arguments, point):
    """Tokens/s of training and of answering at one point: a value for each axis."""
    tokens = point["length"] * point["batch"]
    batches = min(max(TOKENS // tokens, BATCHES[0]), BATCHES[1])
    path = made_texts(arguments, point["length"], point["batch"] * batches)
    warm = max(batches // 4, 2)
    options = {"batch": point["batch"], "classifiers": point["tasks"], "steps": batches, "warm": warm}
    step = training_step(path, arguments.size, point["threads"], **options)
    answers = inference(made_model(arguments, point["tasks"]), path, point["threads"], batch=point["batch"], passes=3)
    assert answers["pieces"] == point["length"] * answers["texts"], "the tokenizer cut a word"
    return {
        "training": step["tokens_per_s"],
        "answering": answers["in_order"]["texts_per_s"] * point["length"],
        "logits": answers["in_order"]["logits_texts_per_s"] * point["length"],
        "training_mb": step["peak_rss_mb"],
        "answering_mb": answers["peak_rss_mb"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["--model", "--work"]:
        parser.add_argument(name, required=True, type=pathlib.Path)
    parser.add_argument("--size", default="2,128,4", help="layers,width,heads")
    parser.add_argument("--axes", type=lambda text: text.split(","), default=list(AXES))
    for name, value in {"length": 24, "batch": 32, "tasks": 4, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="while another axis is varied")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    if not (PROGRAMS / "inference").exists():
        parser.error(f"build the programs first: {BUILD}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    facts = machine(arguments.threads)
    fixed = {axis: getattr(arguments, axis) for axis in AXES}
    variants = {
        f"{axis} {value}": lambda point=fixed | {axis: value}: measure(arguments, point)
        for axis in arguments.axes
        for value in AXES[axis]
    }
    results = in_turn(variants, arguments.rounds)
    write_json(arguments.json, facts | fixed | {"size": arguments.size}, results)
    print_machine(facts)
    print(f"\nEncoder {arguments.size} (layers, width, heads); unless varied: {fixed}. Tokens/s, peak resident MiB.")
    for axis in arguments.axes:
        keys = ["training", "answering", "logits", "training_mb", "answering_mb"]
        rows = [[str(value), *(median(results[f"{axis} {value}"], key) for key in keys)] for value in AXES[axis]]
        print_table([axis, "training", "text to answer", "ids to logits", "training, MiB", "answering, MiB"], rows)
    print_failures(results)


if __name__ == "__main__":
    main()
