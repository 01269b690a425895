"""Makes entities.json: entities and scores of 1,000 random tag sequences, broken ones too, by seqeval 1.2.2.

    python make_entities.py
"""

import json
import pathlib
import random

from seqeval.metrics import classification_report, f1_score
from seqeval.metrics.sequence_labeling import get_entities

TYPES = ["PER", "LOC", "product", "order-id"]
ODD = ["B", "I", "B-", "E-LOC", "S-PER", "E-PER", "I-order-id"]
AVERAGES = ["micro avg", "macro avg", "weighted avg"]


def well_formed(rng):
    tags = []
    while len(tags) < rng.randint(1, 12):
        if rng.random() < 0.5:
            tags.append("O")
        else:
            kind = rng.choice(TYPES)
            tags += [f"B-{kind}"] + [f"I-{kind}"] * rng.choice([0, 0, 1, 2])
    return tags


def broken(rng):
    """Any tag after any other."""
    return [rng.choice(["O", f"B-{rng.choice(TYPES)}", f"I-{rng.choice(TYPES)}"]) for _ in range(rng.randint(1, 12))]


def noisy(rng, tags):
    """A prediction: some tags replaced by others, now and then by an odd one."""
    other = lambda: rng.choice(ODD) if rng.random() < 0.1 else broken(rng)[0]
    return [other() if rng.random() < 0.2 else tag for tag in tags]


def sequence(tags):
    return {"tags": " ".join(tags), "entities": get_entities(tags)}


def case(rng):
    gold = [well_formed(rng) if rng.random() < 0.7 else broken(rng) for _ in range(10)]
    predicted = [noisy(rng, tags) for tags in gold]
    report = classification_report(gold, predicted, output_dict=True, zero_division=0)
    row = lambda scores: [float(scores[k]) for k in ("precision", "recall", "f1-score")] + [int(scores["support"])]
    averages = [row(report.pop(average)) for average in AVERAGES]
    return {
        "gold": [sequence(tags) for tags in gold],
        "predicted": [sequence(tags) for tags in predicted],
        "f1": float(f1_score(gold, predicted, zero_division=0)),
        "classes": {label: row(scores) for label, scores in report.items()},
        "averages": averages,
    }


rng = random.Random(1)
golden = [case(rng) for _ in range(50)]
pathlib.Path(__file__).with_name("entities.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
