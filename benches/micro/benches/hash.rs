//! The frozen hash over a batch: an integer, a short string view, two columns.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{Int64Array, StringViewArray};
use criterion::Throughput;
use flumen_core::batch::Column;
use flumen_kernels::hash::{hash_columns, hash_columns_into};
use flumen_micro_benches::{BATCH_ROWS, criterion, scramble};

fn main() {
    let mut criterion = criterion();
    let numbers: Vec<i64> = (0..BATCH_ROWS as u64).map(|i| scramble(i) as i64).collect();
    let words: Vec<String> = numbers.iter().map(|n| format!("item-{:07}", n.unsigned_abs() % 10_000_000)).collect();
    let integer = Column::Array(Arc::new(Int64Array::from(numbers.clone())));
    let text = Column::Array(Arc::new(StringViewArray::from_iter_values(&words)));
    let cases: [(&str, Vec<&Column>); 3] = [
        ("i64", vec![&integer]),
        ("string view of 12 bytes", vec![&text]),
        ("i64 and string view", vec![&integer, &text]),
    ];
    let expected: [Vec<u64>; 3] = [
        numbers.iter().map(|n| row(&[*n as u64])).collect(),
        words.iter().map(|w| row(&[short_text(w)])).collect(),
        numbers.iter().zip(&words).map(|(n, w)| row(&[*n as u64, short_text(w)])).collect(),
    ];
    let mut group = criterion.benchmark_group("hash");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    for ((name, columns), expected) in cases.iter().zip(&expected) {
        assert_eq!(&hash_columns(columns, BATCH_ROWS, None), expected, "{name}");
        let mut hashes = Vec::new();
        group.bench_function(*name, |b| {
            b.iter(|| hash_columns_into(black_box(columns), BATCH_ROWS, None, black_box(&mut hashes)));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// A row of words, as `flumen_kernels::hash` defines it, one value at a time.
fn row(words: &[u64]) -> u64 {
    words.iter().fold(0x6a09_e667_f3bc_c908, |hash, word| {
        let mut x = hash ^ word;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

/// The word of a string of at most 16 bytes.
fn short_text(text: &str) -> u64 {
    let mut padded = [0; 16];
    padded[..text.len()].copy_from_slice(text.as_bytes());
    let half = |from: usize| u64::from_le_bytes(padded[from..from + 8].try_into().expect("eight bytes"));
    let product = u128::from(half(0) ^ 0xa54f_f53a_5f1d_36f1) * u128::from(half(8) ^ 0x510e_527f_ade6_82d1);
    (product as u64 ^ (product >> 64) as u64) ^ (text.len() as u64).wrapping_mul(0x5be0_cd19_137e_2179)
}
