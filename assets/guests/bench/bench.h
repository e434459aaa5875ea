/* What the benchmark's programs share. Each is an ordinary function that returns a checksum of what it computed. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

uint64_t run_sieve(void);
uint64_t run_fib(void);
uint64_t run_xorshift64(void);
uint64_t run_crc32(void);
uint64_t run_qsort(void);
uint64_t run_sha256(void);
uint64_t run_compress(void);
uint64_t run_bytecode(void);
uint64_t run_matrix(void);
uint64_t run_x87(void);
uint64_t run_sse2(void);
uint64_t run_copy(void);
uint64_t run_chase(void);
uint64_t run_syscalls(void);
uint64_t run_forks(void);
uint64_t run_faults(void);
uint64_t run_pipes(void);

/* Ends the program with a message when something the benchmark needs does not work. */
_Noreturn void fail(const char *what);

/* Memory that is never given back; fails instead of returning NULL. */
void *allocate(size_t bytes);

/* The text that run_compress works on. */
const uint8_t *text(size_t *length);

/* One step of a generator of pseudo-random numbers (xorshift64, Marsaglia 2003). */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Mixes `value` into a checksum (FNV-1a on 64-bit words). */
static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x100000001b3ULL;
}

#define MIX_START 0xcbf29ce484222325ULL

#endif
