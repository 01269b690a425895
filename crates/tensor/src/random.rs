//! Counter-based random numbers: the same draw for the same place, whatever the thread or the device.

use ndarray_rand::rand::RngCore;
use ndarray_rand::rand::rand_core::impls;

use crate::lanes::vectorized;
use crate::ops::dropout;
use crate::{Result, Tensor};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Which random numbers to draw: a seed, and a stream of it that is used for one purpose only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomKey {
    /// The seed of the whole run.
    pub seed: u64,
    /// One of the 2⁶⁴ streams of the seed.
    pub stream: u64,
}

impl RandomKey {
    /// The four 32-bit numbers at place `index` of the stream: Philox4x32-10.
    ///
    /// Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011. The counter is (index, stream), low
    /// word first; the key is the seed.
    pub fn block(self, index: u64) -> [u32; 4] {
        let [block] = self.blocks(index);
        block
    }

    /// Numbers `4 · first_block …` of the stream, as many as `numbers` holds; the same that [`block`](Self::block)
    /// gives, drawn with the widest vector instructions that the processor has.
    pub fn fill(self, first_block: u64, numbers: &mut [u32]) {
        fill(self, first_block, numbers);
    }

    /// `N` neighbouring blocks at once, from block `first` on.
    ///
    /// Each word of a counter has the low half of a 64-bit lane to itself, which is where vector instructions multiply;
    /// what a product leaves in the upper half is never read.
    #[inline(always)]
    fn blocks<const N: usize>(self, first: u64) -> [[u32; 4]; N] {
        const LOW: u64 = u32::MAX as u64;
        let mut c0: [u64; N] = std::array::from_fn(|i| first.wrapping_add(i as u64));
        let mut c1 = c0.map(|index| index >> 32);
        let (mut c2, mut c3) = ([self.stream; N], [self.stream >> 32; N]);
        let mut key = [low(self.seed), high(self.seed)];
        for _ in 0..ROUNDS {
            let [k0, k1] = key.map(u64::from);
            for i in 0..N {
                let product_0 = MULTIPLIERS[0] * (c0[i] & LOW);
                let product_1 = MULTIPLIERS[1] * (c2[i] & LOW);
                (c0[i], c1[i]) = (product_1 >> 32 ^ c1[i] ^ k0, product_1);
                (c2[i], c3[i]) = (product_0 >> 32 ^ c3[i] ^ k1, product_0);
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let mut numbers = [[0; 4]; N];
        for i in 0..N {
            numbers[i] = [low(c0[i]), low(c1[i]), low(c2[i]), low(c3[i])];
        }
        numbers
    }

    /// The stream of this seed that belongs to a name, so that what others draw does not move it.
    ///
    /// Names have the upper half of the streams, [passes](Pass) the lower one: the two never meet.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits: stable across platforms and versions, unlike the standard hasher.
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { seed, stream: stream | NAMED }
    }
}

/// The bit that tells the streams of names from those of passes.
const NAMED: u64 = 1 << 63;

/// Blocks that are drawn at once: two of the widest vectors.
const LANES: usize = 16;

vectorized! {
    fn fill(key: RandomKey, first_block: u64, numbers: &mut [u32]) {
        let (whole, rest) = numbers.as_chunks_mut::<{ 4 * LANES }>();
        let mut first = first_block;
        for numbers in whole {
            numbers.copy_from_slice(key.blocks::<LANES>(first).as_flattened());
            first = first.wrapping_add(LANES as u64);
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&key.blocks::<LANES>(first).as_flattened()[..rest.len()]);
        }
    }
}

#[inline(always)]
fn low(x: u64) -> u32 {
    x as u32
}

#[inline(always)]
fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

/// The numbers of one stream in their order, as a generator for `rand`'s distributions.
#[derive(Clone, Debug)]
pub struct Philox {
    key: RandomKey,
    /// The next 32-bit number of the stream.
    position: u64,
}

impl Philox {
    /// The stream from its start.
    pub fn new(key: RandomKey) -> Self {
        Self { key, position: 0 }
    }
}

impl RngCore for Philox {
    fn next_u32(&mut self) -> u32 {
        let value = self.key.block(self.position / 4)[(self.position % 4) as usize];
        self.position += 1;
        value
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_u32(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        impls::fill_bytes_via_next(self, bytes);
    }
}

/// One pass through the model: whether it trains, and which random numbers it draws.
///
/// A training pass is a function of (seed, step): nothing else has to be saved to continue a run exactly.
#[derive(Clone, Debug)]
pub struct Pass {
    training: Option<(u64, u64)>,
    draws: u64,
}

impl Pass {
    /// A pass that draws nothing: dropout is the identity.
    pub fn inference() -> Self {
        Self { training: None, draws: 0 }
    }

    /// A training pass; `step` counts forward passes since the start of training.
    pub fn training(seed: u64, step: u64) -> Self {
        Self { training: Some((seed, step)), draws: 0 }
    }

    /// A fresh stream for one layer's use; `None` in inference.
    ///
    /// Each is used once as long as a pass draws fewer than 2¹⁶ times and a run takes fewer than 2⁴⁷ steps.
    pub fn next_key(&mut self) -> Option<RandomKey> {
        let (seed, step) = self.training?;
        self.draws += 1;
        Some(RandomKey { seed, stream: (step << 16) | self.draws })
    }

    /// [`dropout`] with a fresh mask in training, the input itself in inference.
    ///
    /// # Errors
    /// `probability` is not in [0, 1).
    pub fn dropout(&mut self, x: &Tensor, probability: f32) -> Result<Tensor> {
        match self.next_key() {
            Some(key) if probability > 0.0 => dropout(x, probability, key),
            _ => Ok(x.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 1.14 (`kat_vectors`, philox4x32 10 rounds).
    #[test]
    fn philox_gives_the_published_numbers() {
        let zero = RandomKey { seed: 0, stream: 0 };
        assert_eq!(zero.block(0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = RandomKey { seed: u64::MAX, stream: u64::MAX };
        assert_eq!(ones.block(u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let digits_of_pi = RandomKey { seed: 0x299f_31d0_a409_3822, stream: 0x0370_7344_1319_8a2e };
        assert_eq!(
            digits_of_pi.block(0x85a3_08d3_243f_6a88),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn filling_draws_the_same_numbers() {
        let key = RandomKey { seed: 3, stream: u64::MAX - 1 };
        for (first, length) in [(0, 0), (0, 3), (7, 64), (u64::from(u32::MAX) - 5, 203)] {
            let mut numbers = vec![0; length];
            key.fill(first, &mut numbers);
            let blocks: Vec<u32> = (first..).take(length.div_ceil(4)).flat_map(|i| key.block(i)).collect();
            assert_eq!(numbers, blocks[..length]);
        }
    }

    #[test]
    fn a_stream_reads_its_blocks_in_order() {
        let key = RandomKey { seed: 3, stream: 5 };
        let mut generator = Philox::new(key);
        let read: Vec<u32> = (0..8).map(|_| generator.next_u32()).collect();
        assert_eq!(read, [key.block(0), key.block(1)].concat());
    }

    #[test]
    fn each_draw_of_each_step_has_a_stream_of_its_own() {
        let (mut first, mut second) = (Pass::training(1, 1), Pass::training(1, 2));
        let keys = [first.next_key(), first.next_key(), second.next_key()];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(Pass::training(1, 1).next_key(), keys[0]);
        assert_eq!(Pass::inference().next_key(), None);
    }

    #[test]
    fn names_and_passes_share_no_stream() {
        let names = ["", "a", "encoder.embeddings.pieces.weight", "tasks.intent.head.weight"];
        assert!(names.iter().all(|name| RandomKey::named(1, name).stream >= 1 << 63));
        let last = Pass::training(1, (1 << 47) - 1).next_key().unwrap();
        assert!(last.stream < 1 << 63);
    }
}
