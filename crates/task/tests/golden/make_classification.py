"""Makes classification.json: reports of random labels by scikit-learn 1.9.1.

    python make_classification.py
"""

import json
import pathlib
import random

from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error, precision_recall_fscore_support

LABELS = ["négatif", "neutre", "positif", "autre", "inconnu"]
AVERAGES = ["micro", "macro", "weighted"]


def scores(gold, predicted):
    """Rows of [precision, recall, F1, support]: one a class, and the three averages."""
    rows = precision_recall_fscore_support(gold, predicted, zero_division=0)
    classes = [[float(p), float(r), float(f), int(s)] for p, r, f, s in zip(*rows)]
    support = sum(row[3] for row in classes)
    averages = [
        [float(x) for x in precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)[:3]]
        + [support]
        for average in AVERAGES
    ]
    return {"accuracy": float(accuracy_score(gold, predicted)), "classes": classes, "averages": averages}


def single(rng):
    """Random labels; the gold and the predicted classes are drawn from subsets that differ."""
    labels = LABELS[: rng.randint(2, 5)]
    gold_classes = rng.sample(range(len(labels)), rng.randint(1, len(labels)))
    predicted_classes = rng.sample(range(len(labels)), rng.randint(1, len(labels)))
    gold = [rng.choice(gold_classes) for _ in range(rng.randint(2, 40))]
    predicted = [g if rng.random() < 0.6 else rng.choice(predicted_classes) for g in gold]
    everything = list(range(len(labels)))
    kappa = cohen_kappa_score(gold, predicted, labels=everything, weights="quadratic")
    return {
        "labels": labels,
        "gold": gold,
        "predicted": predicted,
        **scores(gold, predicted),
        "mean_absolute_error": float(mean_absolute_error(gold, predicted)),
        "kappa": 0.0 if kappa != kappa else float(kappa),
    }


def multi(rng):
    """Random rows of 0 and 1; some labels are never gold, some never predicted."""
    labels = LABELS[: rng.randint(2, 5)]
    often = [rng.choice([0.0, 0.3, 0.7]) for _ in labels]
    flip = [rng.choice([0.1, 0.5]) for _ in labels]
    blind = [rng.random() < 0.2 for _ in labels]
    gold = [[int(rng.random() < o) for o in often] for _ in range(rng.randint(2, 30))]
    predicted = [[0 if b else g ^ int(rng.random() < f) for g, f, b in zip(row, flip, blind)] for row in gold]
    return {"labels": labels, "gold": gold, "predicted": predicted, **scores(gold, predicted)}


rng = random.Random(1)
golden = {"single": [single(rng) for _ in range(60)], "multi": [multi(rng) for _ in range(40)]}
pathlib.Path(__file__).with_name("classification.json").write_text(
    json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n"
)
