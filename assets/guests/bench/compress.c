/*
 * Compression of text in the manner of Lempel and Ziv (1977): a hash table finds the last place where the next four
 * bytes occurred; matches become (length, distance), everything else is copied. What was written is expanded again and
 * compared.
 */
#include "bench.h"

#include <string.h>

enum { HASH_BITS = 15, MIN_MATCH = 4, MAX_MATCH = 255 + MIN_MATCH, MAX_DISTANCE = 65535, MAX_LITERALS = 255, ROUNDS = 5 };

static inline uint32_t four_bytes(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

/* The format: number of literals, the literals, length - MIN_MATCH, distance in two bytes (0: no match). */
static size_t pack(const uint8_t *in, size_t length, uint8_t *out)
{
    static uint32_t places[1 << HASH_BITS];
    memset(places, 0, sizeof places);
    uint8_t *start = out;
    size_t literals = 0, i = 0;
    while (i < length) {
        size_t match = 0, distance = 0;
        if (i + MIN_MATCH <= length) {
            uint32_t word = four_bytes(in + i);
            uint32_t *place = &places[word * 2654435761u >> (32 - HASH_BITS)];
            size_t candidate = *place;
            *place = (uint32_t)i + 1;
            if (candidate != 0 && i - (candidate - 1) <= MAX_DISTANCE && four_bytes(in + candidate - 1) == word) {
                const uint8_t *a = in + candidate - 1, *b = in + i;
                size_t limit = length - i < MAX_MATCH ? length - i : MAX_MATCH;
                match = MIN_MATCH;
                while (match < limit && a[match] == b[match])
                    match++;
                distance = i - (candidate - 1);
            }
        }
        if (match == 0) {
            literals++;
            i++;
        }
        if (match != 0 || literals == MAX_LITERALS || i == length) {
            *out++ = (uint8_t)literals;
            memcpy(out, in + i - literals, literals);
            out += literals;
            *out++ = (uint8_t)(match == 0 ? 0 : match - MIN_MATCH);
            *out++ = (uint8_t)distance;
            *out++ = (uint8_t)(distance >> 8);
            i += match;
            literals = 0;
        }
    }
    return (size_t)(out - start);
}

static size_t unpack(const uint8_t *in, size_t length, uint8_t *out)
{
    const uint8_t *end = in + length;
    uint8_t *start = out;
    while (in < end) {
        size_t literals = *in++;
        memcpy(out, in, literals);
        out += literals;
        in += literals;
        size_t match = in[0] + MIN_MATCH, distance = in[1] | in[2] << 8;
        in += 3;
        if (distance != 0)
            for (const uint8_t *from = out - distance; match > 0; match--)
                *out++ = *from++;
    }
    return (size_t)(out - start);
}

uint64_t run_compress(void)
{
    size_t length;
    const uint8_t *source = text(&length);
    uint8_t *packed = allocate(length * 2), *again = allocate(length);
    uint64_t sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++) {
        size_t size = pack(source, length, packed);
        if (unpack(packed, size, again) != length || memcmp(source, again, length) != 0)
            fail("the text does not come out of its compressed form");
        sum = mix(sum, size);
        for (size_t i = 0; i < size; i += 101)
            sum = mix(sum, packed[i]);
    }
    return sum;
}
