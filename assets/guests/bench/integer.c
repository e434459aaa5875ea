/* Integer arithmetic, branches, calls, and tables that fit into the caches. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* The number and sum of the primes below 4 million, four times. */
uint64_t run_sieve(void)
{
    enum { LIMIT = 4000000, ROUNDS = 4 };
    uint8_t *composite = allocate(LIMIT);
    uint64_t sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++) {
        memset(composite, 0, LIMIT);
        uint64_t count = 0, total = 0;
        for (uint32_t i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            count++;
            total += i;
            for (uint64_t j = (uint64_t)i * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
        sum = mix(mix(sum, count), total);
    }
    return sum;
}

static __attribute__((noinline)) uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

uint64_t run_fib(void)
{
    enum { ROUNDS = 6 };
    volatile uint32_t n = 34;
    uint64_t sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++)
        sum = mix(sum, fib(n));
    return sum;
}

uint64_t run_xorshift64(void)
{
    enum { STEPS = 200000000 };
    uint64_t state = 88172645463325252ULL, sum = 0;
    for (int i = 0; i < STEPS; i++)
        sum += next_random(&state);
    return sum;
}

/* CRC-32 (IEEE 802.3, reflected), one table look-up a byte, over 256 KiB again and again. */
uint64_t run_crc32(void)
{
    enum { LENGTH = 256 << 10, ROUNDS = 300 };
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
        table[i] = c;
    }
    uint8_t *data = allocate(LENGTH);
    uint64_t state = 1;
    for (int i = 0; i < LENGTH; i++)
        data[i] = (uint8_t)next_random(&state);
    uint32_t crc = 0xffffffff;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < LENGTH; i++)
            crc = table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* The C library's qsort, which calls back for every comparison. */
uint64_t run_qsort(void)
{
    enum { COUNT = 500000, ROUNDS = 3 };
    int32_t *numbers = allocate(COUNT * sizeof *numbers);
    uint64_t state = 42, sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++)
            numbers[i] = (int32_t)next_random(&state);
        qsort(numbers, COUNT, sizeof *numbers, by_value);
        for (int i = 0; i < COUNT; i += 1000)
            sum = mix(sum, (uint32_t)numbers[i]);
    }
    return sum;
}
