/* tests/load/content.h - the bytes that every object of slow_origin is made of
 *
 * Purpose   a byte is a function of the object's path (without its query) and of its offset, so
 *           any client can check any range of any object without having seen the origin.
 *           seed = FNV-1a 64 of the path; word k (8 bytes, little endian, at offset 8k) =
 *           the splitmix64 output for seed + (k + 1) * 0x9e3779b97f4a7c15.
 * Units     offsets and sizes in bytes.
 * Thread    any; pure functions.
 * Tests     tests/unit/test_content.c
 */
#ifndef TESTS_LOAD_CONTENT_H
#define TESTS_LOAD_CONTENT_H

#include <stddef.h>
#include <stdint.h>

/* Stops at the first '?' or after len bytes. */
uint64_t content_seed(const char *path, size_t len);

void content_fill(uint64_t seed, uint64_t offset, uint8_t *dst, size_t n);

/* How many leading bytes are as they should be: n when all are. */
size_t content_match(uint64_t seed, uint64_t offset, const uint8_t *p, size_t n);

#endif
