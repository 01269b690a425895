"""Makes regression.json: figures of random numbers by scikit-learn 1.9.1 and NumPy.

    python make_regression.py
"""

import json
import pathlib
import random

import numpy
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error


def case(rng):
    gold = [round(rng.gauss(3, 2), 3) for _ in range(rng.randint(2, 20))]
    slope, noise = rng.choice([-0.5, 0.8, 1.0]), rng.choice([0.1, 2.0])
    predicted = [round(slope * g + rng.gauss(0, noise), 3) for g in gold]
    return {
        "gold": gold,
        "predicted": predicted,
        "r_squared": float(r2_score(gold, predicted)),
        "mean_absolute_error": float(mean_absolute_error(gold, predicted)),
        "root_mean_squared_error": float(root_mean_squared_error(gold, predicted)),
        "pearson": float(numpy.corrcoef(gold, predicted)[0, 1]),
    }


rng = random.Random(1)
golden = [case(rng) for _ in range(30)]
pathlib.Path(__file__).with_name("regression.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
