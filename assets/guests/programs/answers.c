/*
 * Compiled and run inside a guest: computes answers that are known from elsewhere, by as different means as a small
 * program can hold.
 */
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The digits of pi with the spigot of Rabinowitz and Wagon: integer division again and again. */
static void print_pi(int digits)
{
    int length = digits * 10 / 3 + 2;
    int *remainders = malloc((size_t)length * sizeof *remainders);
    for (int i = 0; i < length; i++)
        remainders[i] = 2;
    int held = -1, nines = 0;
    for (int printed = 0; printed <= digits;) {
        int carry = 0;
        for (int i = length - 1; i >= 0; i--) {
            int value = remainders[i] * 10 + carry * (i + 1);
            remainders[i] = i == 0 ? value % 10 : value % (2 * i + 1);
            carry = i == 0 ? value / 10 : value / (2 * i + 1);
        }
        if (carry == 9) {
            nines++;
            continue;
        }
        if (held >= 0) {
            printf("%d", held + carry / 10);
            printed++;
        }
        for (; nines > 0; nines--, printed++)
            printf("%d", carry == 10 ? 0 : 9);
        held = carry % 10;
    }
    printf("\n");
    free(remainders);
}

static int queens(int size, unsigned columns, unsigned left, unsigned right)
{
    unsigned all = (1u << size) - 1;
    if (columns == all)
        return 1;
    int found = 0;
    for (unsigned free_places = all & ~(columns | left | right); free_places != 0; free_places &= free_places - 1) {
        unsigned place = free_places & -free_places;
        found += queens(size, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    return found;
}

static uint32_t crc32(const char *text)
{
    uint32_t crc = 0xffffffff;
    for (; *text != 0; text++) {
        crc ^= (uint8_t)*text;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static int by_length_then_text(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    size_t m = strlen(x), n = strlen(y);
    return m != n ? (m > n) - (m < n) : strcmp(x, y);
}

static jmp_buf escape;

static void descend(int depth)
{
    volatile char room[64];
    memset((char *)room, depth, sizeof room);
    if (depth == 1000)
        longjmp(escape, room[63] == (char)depth ? depth : -1);
    if (depth < 2000)
        descend(depth + 1);
}

int main(void)
{
    print_pi(60);
    printf("queens %d\n", queens(9, 0, 0, 0));
    printf("crc %08x\n", crc32("123456789"));

    int primes = 0;
    for (int n = 2; n < 30000; n++) {
        int divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        primes += divisor * divisor > n;
    }
    printf("primes %d\n", primes);

    const char *words[] = {"pear", "fig", "banana", "kiwi", "plum", "date", "lime", "apple"};
    qsort(words, sizeof words / sizeof *words, sizeof *words, by_length_then_text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        printf("%s%c", words[i], i + 1 < sizeof words / sizeof *words ? ' ' : '\n');

    unsigned __int128 factorial = 1;
    for (int i = 2; i <= 34; i++)
        factorial *= (unsigned)i;
    printf("34! %016llx%016llx\n", (unsigned long long)(factorial >> 64), (unsigned long long)factorial);

    double sum = 0;
    for (int i = 1; i <= 100000; i++)
        sum += 1.0 / ((double)i * i);
    long double root = sqrtl(2);
    printf("%.4f %.18Lf %a\n", sqrt(6 * sum), root, 0.1);

    int depth = setjmp(escape);
    if (depth == 0)
        descend(0);
    printf("escaped from %d\n", depth);
    return 0;
}
