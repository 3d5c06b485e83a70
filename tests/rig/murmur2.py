"""Kafka's murmur2 once more, from the description of the algorithm and independent of the gateway's own, so that the two
check each other (org.apache.kafka.common.utils.Utils.murmur2: seed 0x9747b28c, 32 bits)."""

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    state = 0x9747B28C ^ len(key)
    whole = len(key) - len(key) % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        state = (state * _M & _MASK) ^ word
    if whole < len(key):
        state = (state ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    state = (state ^ state >> 13) * _M & _MASK
    return state ^ state >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own producer chooses for `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
