//! Randomness as a trait: one seed decides everything a simulated run draws.
//!
//! [`Rng`] is xoshiro256++ 1.0 (D. Blackman and S. Vigna, public domain, <https://prng.di.unimi.it/xoshiro256plusplus.c>)
//! with its state filled by SplitMix64 (S. Vigna, <https://prng.di.unimi.it/splitmix64.c>), as its authors advise. Both
//! are written out here so that a seed means the same on every version and platform. Neither is fit for secrets.
//!
//! Splitting: [`Rng::split`] gives a child that depends on how much the parent has drawn, for handing generators down
//! a tree; [`Rng::stream`] gives one that depends on seed and label alone, so that drawing more in one part of a run
//! does not change what another part sees.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// A source of random bits. Implementations need [`RandomSource::next_u64`]; the rest follows from it.
pub trait RandomSource: Send + fmt::Debug {
    /// 64 uniformly distributed bits.
    fn next_u64(&mut self) -> u64;

    /// A child generator whose draws are independent of this one's.
    fn split(&mut self) -> Rng {
        Rng::from_seed(self.next_u64())
    }

    /// A number in `0..bound`, without bias; 0 if `bound` is 0.
    ///
    /// Source: D. Lemire, "Fast Random Integer Generation in an Interval", 2019.
    fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        // The low half being below `bound` is necessary for a biased draw; only then is the exact threshold computed.
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// True with the given probability: never for 0 (or less, or NaN), always for 1 (or more).
    ///
    /// It draws once whatever the probability, so that changing a rate does not shift the draws that follow.
    fn chance(&mut self, probability: f64) -> bool {
        self.unit_f64() < probability
    }

    /// Overwrites `bytes` with random ones.
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// The deterministic generator: xoshiro256++ seeded by SplitMix64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    state: [u64; 4],
}

impl Rng {
    /// The generator that `seed` stands for; any seed is as good as any other.
    pub fn from_seed(seed: u64) -> Self {
        let mut mixer = seed;
        let state = std::array::from_fn(|_| split_mix(&mut mixer));
        Self { seed, state }
    }

    /// A generator seeded from the process's entropy; print [`Rng::seed`] to be able to repeat a run.
    ///
    /// The bits are those that the standard library draws from the operating system for its hash maps.
    pub fn from_entropy() -> Self {
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        Self::from_seed(hasher.finish())
    }

    /// The generator of a named part of the run that `seed` stands for.
    pub fn stream(seed: u64, label: &str) -> Self {
        // FNV-1a, 64 bit (http://www.isthe.com/chongo/tech/comp/fnv/): labels are short and chosen by us.
        let hash = label
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut mixer = seed ^ hash;
        Self::from_seed(split_mix(&mut mixer))
    }

    /// The seed this generator started from.
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

impl RandomSource for Rng {
    fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the task "Pseudo-random numbers/Splitmix64" on rosettacode.org, from the reference C code.
    #[test]
    fn split_mix_gives_the_published_sequence() {
        let mut state = 1_234_567;
        let drawn: Vec<u64> = (0..5).map(|_| split_mix(&mut state)).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    /// Values of rust-random/rngs: rand_xoshiro/src/xoshiro256plusplus.rs, which took them from the reference C code.
    #[test]
    fn xoshiro_gives_the_published_sequence() {
        let mut rng = Rng { seed: 0, state: [1, 2, 3, 4] };
        let drawn: Vec<u64> = (0..10).map(|_| rng.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386,
                9_228_616_714_210_784_205,
                9_973_669_472_204_895_162,
                14_011_001_112_246_962_877,
                12_406_186_145_184_390_807,
                15_849_039_046_786_891_736,
                10_450_023_813_501_588_000
            ]
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_and_others_differ() {
        let draw = |mut rng: Rng| (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(Rng::from_seed(7)), draw(Rng::from_seed(7)));
        assert_ne!(draw(Rng::from_seed(7)), draw(Rng::from_seed(8)));
        assert_eq!(draw(Rng::stream(7, "disk")), draw(Rng::stream(7, "disk")));
        assert_ne!(draw(Rng::stream(7, "disk")), draw(Rng::stream(7, "network")));
        assert_ne!(draw(Rng::stream(7, "disk")), draw(Rng::stream(8, "disk")));
        let mut parent = Rng::from_seed(7);
        assert_ne!(draw(parent.split()), draw(parent.split()));
        assert_ne!(draw(Rng::from_entropy()), draw(Rng::from_entropy()));
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = Rng::from_seed(1);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[usize::try_from(rng.below(7)).unwrap()] += 1;
        }
        // Six standard deviations of a binomial(70 000, 1/7) are about 556.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 556), "{counts:?}");
        let large = u64::MAX / 2 + 2;
        assert!((0..1_000).all(|_| rng.below(large) < large));
    }

    #[test]
    fn chance_knows_its_ends_and_its_middle() {
        let mut rng = Rng::from_seed(2);
        assert!((0..1_000).all(|_| !rng.chance(0.0) && !rng.chance(f64::NAN) && rng.chance(1.0)));
        let hits = (0..100_000).filter(|_| rng.chance(0.25)).count();
        assert!(hits.abs_diff(25_000) < 900, "{hits}");
    }

    #[test]
    fn bytes_are_filled_to_the_last_one() {
        for length in [0, 1, 7, 8, 9, 64] {
            let mut seen = vec![0_u8; length];
            let mut rng = Rng::from_seed(3);
            for _ in 0..32 {
                let mut bytes = vec![0_u8; length];
                rng.fill_bytes(&mut bytes);
                seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte);
            }
            assert!(seen.iter().all(|&byte| byte != 0), "a byte of {length} was never written");
        }
    }
}
