"""Tiny pretrained encoders as Hugging Face saves them, and what transformers computes with them.

    python3 tests/golden/pretrained.py        needs torch and transformers (made with torch 2.15, transformers 5.23)

The weights are random; no bias is 0 and no gain is 1. The models run in float64, without dropout, and the values are
written in float32. In pretrained/FAMILY/, for bert, distilbert, roberta, electra and modernbert:

    config.json, model.safetensors         by save_pretrained; some with a head that an encoder must pass over
    vocab.txt or tokenizer.json            with tokenizer_config.json
    goldens.safetensors, all F32, for single texts of N pieces
        ids.N                              [N], whole numbers
        states.N.L                         [N, width], after the embeddings for L = 0, else after layer L
        states.N.last                      [N, width], what the encoder gives: after the final norm where there is one
    tokens.json                            a list of {text, ids, offsets, special}, one text a line
        offsets                            [start, end) of each piece in bytes of the UTF-8 text
        special                            the positions of the pieces that the tokenizer added around the text
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModel, AutoTokenizer

ROOT = Path(__file__).with_suffix("")
LENGTHS = [1, 2, 7, 40, 512]
LONGEST = 512  # of it only the first and the last states, to keep the file small

SIZES = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 24}
DISTILBERT_SIZES = {"dim": 16, "n_heads": 4, "n_layers": 3, "hidden_dim": 24}
ROBERTA_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
MODERNBERT_SETTINGS = SIZES | {
    "num_hidden_layers": 4,
    "global_attn_every_n_layers": 3,
    "local_attention": 8,  # a window shorter than most texts
    "max_position_embeddings": 512,
    "bos_token_id": 296,
    "cls_token_id": 296,
    "eos_token_id": 297,
    "sep_token_id": 297,
    "pad_token_id": 298,
}

# family: (model class, config class, what differs from the defaults, seed)
FAMILIES = {
    "bert": ("BertForMaskedLM", "BertConfig", SIZES, 1),
    "distilbert": ("DistilBertModel", "DistilBertConfig", DISTILBERT_SIZES, 2),
    "roberta": ("RobertaModel", "RobertaConfig", SIZES | ROBERTA_IDS | {"max_position_embeddings": 514}, 3),
    "electra": ("ElectraForPreTraining", "ElectraConfig", SIZES | {"embedding_size": 8}, 4),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", MODERNBERT_SETTINGS, 5),
}

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MARKS = ",.!?'-()12中"
WORDS = "the cat sat on mat and play with new york flight un hello world it don they we what not".split()
ENDINGS = "##ing ##ed ##able ##ly ##1 ##2".split()
CASED = ["The", "New", "York", "T", "##T", "é", "##é", "##ï"]  # for the tokenizer that keeps case and accents

SENTENCES = [
    "The cat sat on the mat, and the other cat sat with it.",
    "Don't play that song: it's not what they've asked for!",
    "A flight to New York in the morning, then another to the café in Zürich.",
]

TEXTS = [
    "",
    "a",
    "the cat sat on the mat",
    "The cat SAT on a Mat, with New York!",
    "hello world. hello,world!? (hello) \"world\"",
    "café naïve Zürich",
    "cafe\u0301 nai\u0308ve",
    "中文 hello中world 日本語 한국어",
    "play 🎉 with 👩‍👩‍👧 cats😀",
    "two  spaces   and    four",
    "  leading",
    "trailing  ",
    " ",
    "tab\tand\nnewline\r\nhere\n\n",
    "don't it's they've I'll we'd O'Reilly's 'quoted'",
    "unplayable flights playing played 12 2121 1,2.1 $1.20 50%",
    "state-of-the-art e-mail@example.com https://example.com/a_b?c=d",
    "zero\u0000width\u200bjoin\u0007bell\u007f\ufffd\u00adsoft",
    "no\u00a0break\u3000ideographic\u2009thin\u2028line",
    "İstanbul ΣΟΦΟΣ straße ﬁne Ǆ ½ ²",
    "…“curly” – dash — ‘single’ «guillemets» • ¿qué?",
    "Привет мир שלום العربية ไทย हिन्दी",
    "a" * 100,
    "a" * 101 + " mat",
    "x" * 20 + "the" * 5,
    "THE CAT\u0301S UNABLE",
    "ünable ÄÖÜ áéíóú ñ ç å ø ł đ",
    "[MASK] the cat [SEP] <mask> </s> [mask] [UNK]",
]


BERT_ROLES = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
ROBERTA_ROLES = {"unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}


def write_tokenizer_config(folder, tokenizer_class, roles=BERT_ROLES, **more):
    config = {"tokenizer_class": tokenizer_class, "model_max_length": 512, **more}
    config |= {f"{role}_token": piece for role, piece in roles.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def word_pieces(lower_case):
    letters = [*LETTERS, *("##" + letter for letter in LETTERS)]
    return BERT_SPECIAL + letters + [*MARKS] + WORDS + ENDINGS + ([] if lower_case else CASED)


def write_vocabulary(folder):
    """The older form: vocab.txt, one piece a line, and no tokenizer.json."""
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in word_pieces(lower_case=True)), encoding="utf-8")
    write_tokenizer_config(folder, "BertTokenizer", do_lower_case=True)


def write_word_piece(folder, tokenizer_class, lower_case, cut):
    ids = {piece: i for i, piece in enumerate(word_pieces(lower_case))}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.add_special_tokens(BERT_SPECIAL)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = bert_template(tokenizer)
    tokenizer.decoder = decoders.WordPiece()
    if cut:  # published files may hold a length and padding: settings of their last use, to be passed over
        tokenizer.enable_truncation(16)
        tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tokenizer_config(folder, tokenizer_class, do_lower_case=lower_case)


def bert_template(tokenizer):
    special = [(piece, tokenizer.token_to_id(piece)) for piece in ["[CLS]", "[SEP]"]]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    return processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=special)


def byte_pairs(size, special):
    """A tokenizer over bytes, trained on SENTENCES; the special pieces have the first ids."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def write_roberta(folder):
    tokenizer = byte_pairs(299, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tokenizer_config(folder, "RobertaTokenizer", ROBERTA_ROLES, add_prefix_space=False)


def write_modernbert(folder):
    """As in the published files, runs of spaces are pieces of their own, and the special pieces come last."""
    tokenizer = byte_pairs(293, [])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("    ", normalized=True), AddedToken("  ", normalized=True)])
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True)])
    tokenizer.post_processor = bert_template(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tokenizer_config(folder, "PreTrainedTokenizerFast")


TOKENIZERS = {
    "bert": write_vocabulary,
    "distilbert": lambda folder: write_word_piece(folder, "DistilBertTokenizer", lower_case=False, cut=False),
    "roberta": write_roberta,
    "electra": lambda folder: write_word_piece(folder, "ElectraTokenizer", lower_case=True, cut=True),
    "modernbert": write_modernbert,
}


def write_model(family, folder):
    model_class, config_class, settings, seed = FAMILIES[family]
    torch.manual_seed(seed)
    vocabulary = len(AutoTokenizer.from_pretrained(folder))
    config = getattr(transformers, config_class)(vocab_size=vocabulary, **settings)
    model = getattr(transformers, model_class)(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            is_gain = name.endswith("weight") and values.dim() == 1
            values.normal_(1.0 if is_gain else 0.0, 0.2)
    model.save_pretrained(folder)


def random_ids(folder):
    """By length; without the padding piece, which would move the positions of roberta."""
    config = AutoConfig.from_pretrained(folder)
    allowed = torch.tensor([i for i in range(config.vocab_size) if i != config.pad_token_id])
    return {n: allowed[torch.randint(len(allowed), (n,))] for n in LENGTHS}


def states(model, ids):
    """[embedding output, after layer 1, …] before a final norm, and the last after it, each [N, width]."""
    before_norm = []
    norm = getattr(model, "final_norm", None)
    hook = norm.register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0])) if norm else None
    with torch.no_grad():
        output = model(input_ids=ids[None], output_hidden_states=True)
    layers = list(output.hidden_states)
    if hook:
        hook.remove()
        layers[-1] = before_norm[0]
    return [x[0] for x in layers], output.last_hidden_state[0]


def write_states(folder, path, ids_of_length, all_layers):
    """`goldens.safetensors` of the model in the folder; `all_layers` says for a length whether to keep every layer."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    single = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    file, difference = {}, 0.0
    for n, ids in ids_of_length.items():
        layers, last = states(model, ids)
        kept = layers if all_layers(n) else layers[:1]
        file |= {f"ids.{n}": ids, f"states.{n}.last": last}
        file |= {f"states.{n}.{i}": x for i, x in enumerate(kept)}
        difference = max(difference, (states(single, ids)[1] - last).abs().max().item())
    save_file({name: values.float().clone() for name, values in file.items()}, path)
    print(f"{path}: {len(file)} tensors, {path.stat().st_size} bytes, float32 differs by {difference:.1e}")


def tokens(tokenizer, text):
    encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    bytes_before = [0]
    for character in text:
        bytes_before.append(bytes_before[-1] + len(character.encode()))
    return {
        "text": text,
        "ids": encoding["input_ids"],
        "offsets": [[bytes_before[start], bytes_before[end]] for start, end in encoding["offset_mapping"]],
        "special": [i for i, added in enumerate(encoding["special_tokens_mask"]) if added],
    }


def write_tokens(folder, path, texts):
    """`tokens.json` of the tokenizer in the folder, checked against what tokenizer.json says alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    entries = [tokens(tokenizer, text) for text in texts]
    lines = [json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    if (folder / "tokenizer.json").exists():
        alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
        alone.no_truncation()
        alone.no_padding()
        for entry in entries:
            assert alone.encode(entry["text"]).ids == entry["ids"], f"{folder}: transformers reads {entry} otherwise"
    print(f"{path}: {len(entries)} texts, {path.stat().st_size} bytes")


def main():
    transformers.logging.set_verbosity_error()  # else it lists the heads' tensors, which are not wanted here
    transformers.logging.disable_progress_bar()
    for family in FAMILIES:
        folder = ROOT / family
        folder.mkdir(parents=True, exist_ok=True)
        TOKENIZERS[family](folder)
        write_model(family, folder)
        write_states(folder, folder / "goldens.safetensors", random_ids(folder), lambda n: n != LONGEST)
        write_tokens(folder, folder / "tokens.json", TEXTS)
    files = [path for path in ROOT.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes")


if __name__ == "__main__":
    main()
