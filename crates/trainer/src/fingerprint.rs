//! A number that tells whether two runs read the same data.

use polytask_model::Example;
use polytask_task::Target;

use crate::{Prepared, Result};

/// A hash of everything that a run reads of its data: the tokenizer, the fitted tasks, and the pieces, word shapes and
/// targets of all examples. The same on every platform and in every version.
pub(crate) fn fingerprint(prepared: &Prepared) -> Result<u64> {
    let model = &prepared.model;
    let failed = |error: serde_json::Error| polytask_model::Error::Io {
        file: "model.json".into(),
        source: error.into(),
    };
    let mut config = serde_json::to_value(model.config()).map_err(failed)?;
    // Where an encoder came from, and how its gradients are computed, is not what is read.
    if let Some(encoder) = config["encoder"].as_object_mut() {
        encoder.retain(|key, _| key != "path" && key != "recompute_activations");
    }
    let config = config.to_string();
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    hash.add(model.tokenizer().to_json()?.bytes());
    hash.add(config.bytes());
    for examples in prepared.sets.iter().flat_map(|set| [&set.train, &set.dev]) {
        hash.add(examples.len().to_le_bytes());
        examples.iter().for_each(|example| hash.add_example(example));
    }
    Ok(hash.0)
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo 1991).
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.into_iter().fold(self.0, step);
    }

    /// The kind and the length tell apart what would otherwise be one run of the same numbers.
    fn add_numbers(&mut self, kind: u8, numbers: impl ExactSizeIterator<Item = u32>) {
        self.add([kind]);
        self.add(numbers.len().to_le_bytes());
        self.add(numbers.flat_map(u32::to_le_bytes));
    }

    fn add_example(&mut self, example: &Example) {
        self.add_numbers(b'p', example.encoded.ids.iter().copied());
        self.add_numbers(b'w', example.encoded.piece_offsets.iter().copied());
        self.add_numbers(b's', example.encoded.shapes.as_flattened().iter().copied());
        for target in &example.targets {
            match target {
                None => self.add([b'-']),
                Some(Target::Ids(ids)) => self.add_numbers(b'i', ids.iter().copied()),
                Some(Target::Values(values)) => {
                    self.add_numbers(b'v', values.iter().map(|value| value.to_bits()));
                }
            }
        }
    }
}
