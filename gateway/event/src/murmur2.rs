//! Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`), so that edge and cluster agree on a key's partition.

use crate::Partition;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The 32-bit murmur2 hash of `key` with Kafka's seed.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    // Java's length is an int: a key of 4 GiB can't occur.
    let mut hash = SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of `key` in a topic of `count` partitions, as Kafka's default partitioner chooses it
/// (`BuiltInPartitioner.partitionForKey`). A count of 0 is taken as 1.
#[must_use]
pub fn partition_of(key: &[u8], count: u16) -> Partition {
    let positive = murmur2(key) & 0x7fff_ffff;
    // The remainder is below a u16.
    Partition(u16::try_from(positive % u32::from(count.max(1))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own client tests (`UtilsTest.testMurmur2`).
    #[test]
    fn the_hash_is_that_of_kafkas_own_client() {
        let cases: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key:?}");
        }
    }

    #[test]
    fn a_partition_is_always_below_the_count() {
        for count in [0, 1, 3, 1024] {
            for n in 0..1000_u32 {
                assert!(partition_of(&n.to_le_bytes(), count).0 < count.max(1));
            }
        }
    }
}
