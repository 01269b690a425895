"""What transformers computes with a real pretrained encoder, in the format of pretrained.py.

    python3 tests/golden/pretrained_real.py MODEL_DIR OUT_DIR [TEXTS.txt]        needs torch and transformers

TEXTS.txt has one text a line; without it the texts of pretrained.py are taken. Into OUT_DIR:

    goldens.safetensors    texts of 3, 5, 20, 100, 300 and 512 pieces, cut out of the texts one after another, with the
                           special pieces at both ends; the states of all layers
    tokens.json            the first 10,000 texts
"""

import itertools
import sys
from pathlib import Path

import torch
import transformers
from pretrained import TEXTS, write_states, write_tokens
from transformers import AutoTokenizer

LENGTHS = [3, 5, 20, 100, 300, 512]
MOST_TEXTS = 10_000


def real_ids(folder, texts):
    """By length, each from where the one before it ended."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start, end = tokenizer("")["input_ids"]
    pieces = (i for text in itertools.cycle(texts) for i in tokenizer(text, add_special_tokens=False)["input_ids"])
    return {n: torch.tensor([start, *itertools.islice(pieces, n - 2), end]) for n in LENGTHS}


def main():
    folder, out, *texts_path = (Path(argument) for argument in sys.argv[1:])
    texts = texts_path[0].read_text(encoding="utf-8").rstrip("\n").split("\n")[:MOST_TEXTS] if texts_path else TEXTS
    transformers.logging.set_verbosity_error()
    out.mkdir(parents=True, exist_ok=True)
    write_states(folder, out / "goldens.safetensors", real_ids(folder, texts), lambda n: True)
    write_tokens(folder, out / "tokens.json", texts)


if __name__ == "__main__":
    main()
