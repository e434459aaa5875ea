/* Integer work in SSE2 registers, as programs for pictures and video do it. */
#include "bench.h"

#include <emmintrin.h>

enum { WIDTH = 512, HEIGHT = 512, PIXELS = WIDTH * HEIGHT, ROUNDS = 200 };

/* The sum of absolute differences of two grey pictures. */
static uint64_t difference(const uint8_t *a, const uint8_t *b)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < PIXELS; i += 16) {
        __m128i x = _mm_load_si128((const __m128i *)(a + i)), y = _mm_load_si128((const __m128i *)(b + i));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(x, y));
    }
    uint64_t halves[2];
    _mm_storeu_si128((__m128i *)halves, sum);
    return halves[0] + halves[1];
}

/* out = (a * weight + b * (256 - weight)) / 256, in 16 bits. */
static void blend(uint8_t *out, const uint8_t *a, const uint8_t *b, int weight)
{
    __m128i zero = _mm_setzero_si128();
    __m128i wa = _mm_set1_epi16((short)weight), wb = _mm_set1_epi16((short)(256 - weight));
    for (int i = 0; i < PIXELS; i += 16) {
        __m128i x = _mm_load_si128((const __m128i *)(a + i)), y = _mm_load_si128((const __m128i *)(b + i));
        __m128i low = _mm_add_epi16(_mm_mullo_epi16(_mm_unpacklo_epi8(x, zero), wa),
                                    _mm_mullo_epi16(_mm_unpacklo_epi8(y, zero), wb));
        __m128i high = _mm_add_epi16(_mm_mullo_epi16(_mm_unpackhi_epi8(x, zero), wa),
                                     _mm_mullo_epi16(_mm_unpackhi_epi8(y, zero), wb));
        __m128i both = _mm_packus_epi16(_mm_srli_epi16(low, 8), _mm_srli_epi16(high, 8));
        _mm_store_si128((__m128i *)(out + i), both);
    }
}

/* Pixels above a threshold become white, the others half as bright. */
static void threshold(uint8_t *out, const uint8_t *in, int limit)
{
    __m128i at = _mm_set1_epi8((char)limit), seven = _mm_set1_epi8(0x7f);
    for (int i = 0; i < PIXELS; i += 16) {
        __m128i x = _mm_load_si128((const __m128i *)(in + i));
        __m128i above = _mm_cmpeq_epi8(_mm_max_epu8(x, at), x);
        __m128i half = _mm_and_si128(_mm_srli_epi16(x, 1), seven);
        _mm_store_si128((__m128i *)(out + i), _mm_or_si128(above, half));
    }
}

/* A dot product of 16-bit numbers. */
static uint32_t correlate(const int16_t *a, const int16_t *b)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < PIXELS / 2; i += 8) {
        __m128i x = _mm_load_si128((const __m128i *)(a + i)), y = _mm_load_si128((const __m128i *)(b + i));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x, y));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(sum);
}

uint64_t run_sse2(void)
{
    uint8_t *a = allocate(PIXELS), *b = allocate(PIXELS), *c = allocate(PIXELS);
    uint64_t state = 7, sum = MIX_START;
    for (int i = 0; i < PIXELS; i++) {
        a[i] = (uint8_t)next_random(&state);
        b[i] = (uint8_t)(i ^ i >> 9);
    }
    for (int round = 0; round < ROUNDS; round++) {
        blend(c, a, b, round & 0xff);
        sum = mix(sum, difference(a, c));
        threshold(b, c, 64 + round);
        sum = mix(sum, correlate((const int16_t *)b, (const int16_t *)c));
    }
    return sum;
}
