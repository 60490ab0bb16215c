/* core/hash.h - hashes of bytes, not for secrets
 *
 * Purpose   hash64() with a random seed keys the tables that peers can fill; without the seed
 *           nobody can choose colliding keys. hash64_stable() has a fixed seed: routing, file
 *           names and everything that two machines must agree on.
 * Spec      multiply-and-fold (64 x 64 -> 128 bits, halves xored) over 16 bytes a step, as in the
 *           wyhash family, with both factors keyed. Bytes are read as little-endian on any host.
 *           NB: the values are part of the tier protocol; a change moves every stream.
 * Thread    any; no state.
 * Tests     tests/unit/test_hash.c
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash64(const void *p, size_t n, uint64_t seed);
uint64_t hash64_stable(const void *p, size_t n);

/* One word to another, a bijection: spreads what is already unique. */
uint64_t hash_mix(uint64_t v);

#endif
