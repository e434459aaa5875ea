/* Floating point: a product of matrices in doubles, and arithmetic in the 80 bits of the x87. */
#include "bench.h"

#include <string.h>

/* The elements are small integers, so that the result is exact in any precision from 53 bits on. */
uint64_t run_matrix(void)
{
    enum { N = 200, ROUNDS = 4 };
    double *a = allocate(N * N * sizeof *a), *b = allocate(N * N * sizeof *b), *c = allocate(N * N * sizeof *c);
    uint64_t sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N * N; i++) {
            a[i] = (i * 7 + round) % 100 - 50;
            b[i] = (i * 13 + round) % 100 - 50;
        }
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double product = 0;
                for (int k = 0; k < N; k++)
                    product += a[i * N + k] * b[k * N + j];
                c[i * N + j] = product;
            }
        for (int i = 0; i < N * N; i++)
            sum = mix(sum, (uint64_t)(int64_t)c[i]);
    }
    return sum;
}

static uint64_t mix_long_double(uint64_t sum, long double value)
{
    uint64_t mantissa = 0;
    uint16_t exponent = 0;
    memcpy(&mantissa, &value, 8);
    memcpy(&exponent, (const char *)&value + 8, 2);
    return mix(mix(sum, mantissa), exponent);
}

/* Sums of series, a logistic map and square roots by Newton's method; every bit of the results counts. */
uint64_t run_x87(void)
{
    enum { STEPS = 1000000 };
    long double harmonic = 0, alternating = 0, map = 0.3L, roots = 0;
    for (int i = 1; i <= STEPS; i++) {
        long double x = i;
        harmonic += 1 / x;
        alternating += (i & 1 ? 4 : -4) / (2 * x - 1);
        map = 3.99L * map * (1 - map);
        long double guess = x * 0.5L + 0.5L;
        for (int step = 0; step < 3; step++)
            guess = (guess + x / guess) * 0.5L;
        roots += guess;
    }
    uint64_t sum = MIX_START;
    sum = mix_long_double(sum, harmonic);
    sum = mix_long_double(sum, alternating);
    sum = mix_long_double(sum, map);
    return mix_long_double(sum, roots);
}
