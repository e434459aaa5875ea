/* Memory: the C library's copies and fills, and loads that depend on each other all over 64 MiB. */
#include "bench.h"

#include <string.h>

/* Makes the compiler believe that `memory` was read and written. */
static inline void touch(void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Large blocks as programs move them, and many small ones of changing lengths. */
uint64_t run_copy(void)
{
    enum { LARGE = 4 << 20, LARGE_ROUNDS = 60, SMALL_ROUNDS = 3000000 };
    uint8_t *a = allocate(LARGE), *b = allocate(LARGE);
    uint64_t state = 3, sum = MIX_START;
    for (int i = 0; i < LARGE; i++)
        a[i] = (uint8_t)next_random(&state);
    for (int round = 0; round < LARGE_ROUNDS; round++) {
        memset(b, round, LARGE);
        touch(b);
        memcpy(b + round, a, LARGE - 64);
        touch(b);
        memcpy(a, b, LARGE / 2);
        touch(a);
    }
    for (int round = 0; round < SMALL_ROUNDS; round++) {
        uint32_t from = (uint32_t)round * 97 & 0xffff, length = (uint32_t)round * 31 & 0xff;
        memcpy(b + (from ^ 0x8000), a + from, length);
        touch(b);
        if ((round & 3) == 0)
            memset(a + from, round, length);
        touch(a);
    }
    for (int i = 0; i < LARGE; i += 64)
        sum = mix(mix(sum, a[i]), b[i]);
    return sum;
}

/* A random cycle through all cache lines of 64 MiB (Sattolo's algorithm), followed for a while. */
uint64_t run_chase(void)
{
    enum { BYTES = 64 << 20, LINE = 64, LINES = BYTES / LINE, STEPS = 3000000 };
    uint32_t *lines = allocate(BYTES);
    const size_t stride = LINE / sizeof *lines;
    uint64_t state = 11;
    for (uint32_t i = 0; i < LINES; i++)
        lines[i * stride] = i;
    for (uint32_t i = LINES - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_random(&state) >> 11) % i;
        uint32_t other = lines[j * stride];
        lines[j * stride] = lines[i * stride];
        lines[i * stride] = other;
    }
    uint32_t at = 0;
    uint64_t sum = MIX_START;
    for (int i = 0; i < STEPS; i++) {
        at = lines[at * stride];
        if ((i & 0xfff) == 0)
            sum = mix(sum, at);
    }
    return mix(sum, at);
}
